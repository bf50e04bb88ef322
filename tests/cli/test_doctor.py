"""`doorbuster doctor`: every setting that voids a promise is found, named, and comes with what to do."""

import json
from pathlib import Path

import asyncpg
import pytest

from cli.commands import doorbuster
from doorbuster.cli.doctor import examine
from doorbuster.cli.findings import Mark
from doorbuster.config import load_settings
from helpers.servers import Servers

GOOD = {
    "admin_token": "0123456789abcdefABCDEF",
    "buyer_secret": "0123456789abcdefghijklmnopqrstuvwxyz",
    "payment_gateway": "simulated",
}


async def broken(data: Path, **settings: object) -> list[str]:
    """What does not hold, in the doctor's words."""
    found = await examine(load_settings(data_dir=data, **{**GOOD, **settings}))
    return [f"{finding.about}: {finding.detail}" for finding in found if finding.mark is Mark.BROKEN]


@pytest.mark.parametrize("name", ["fsync", "synchronous_commit", "full_page_writes"])
async def test_postgres_that_forgets_commits_is_found(
    tmp_path: Path, own_servers: Servers, valkey_url: str, name: str
) -> None:
    postgres = await own_servers.postgres(**{name: "off"})

    found = await broken(tmp_path, database_url=postgres.url, valkey_url=valkey_url)

    assert len(found) == 1
    assert f"{name} is off" in found[0]


@pytest.mark.parametrize(
    ("settings", "word"), [({"maxmemory_policy": "allkeys-lru"}, "noeviction"), ({"appendonly": "no"}, "appendonly")]
)
async def test_valkey_that_forgets_stock_is_found(
    tmp_path: Path, own_servers: Servers, database_url: str, settings: dict[str, str], word: str
) -> None:
    valkey = await own_servers.valkey(**settings)

    found = await broken(tmp_path, database_url=database_url, valkey_url=valkey.url)

    assert len(found) == 1
    assert word in found[0]


async def test_database_without_the_schema_is_found(tmp_path: Path, database_url: str, valkey_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("drop table alembic_version")
    await connection.close()

    found = await broken(tmp_path, database_url=database_url, valkey_url=valkey_url)

    assert found == ["schema: the database has no schema yet; run `doorbuster migrate`"]


async def test_servers_that_do_not_answer_are_found(tmp_path: Path) -> None:
    found = await broken(
        tmp_path,
        database_url=f"postgresql://doorbuster@/none?host={tmp_path}",
        valkey_url=f"unix://{tmp_path}/valkey.sock",
    )

    assert len(found) == 2
    assert all("cannot be reached" in line for line in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"buyer_secret": "x" * 31}, "shorter than 32 bytes"),
        ({"buyer_secret": "secret" * 6}, "can be guessed"),
        ({"admin_token": "admin"}, "shorter than 16 bytes"),
        ({"dev_identities": True, "host": "0.0.0.0"}, "may be any buyer"),
    ],
)
async def test_door_left_open_is_found(
    tmp_path: Path, database_url: str, valkey_url: str, settings: dict[str, object], words: str
) -> None:
    found = await broken(tmp_path, database_url=database_url, valkey_url=valkey_url, **settings)

    assert len(found) == 1
    assert words in found[0]


async def test_secret_that_others_can_read_is_found(tmp_path: Path, database_url: str, valkey_url: str) -> None:
    file = tmp_path / "buyer-secret"
    file.write_text(GOOD["buyer_secret"])
    file.chmod(0o644)

    found = await broken(tmp_path, database_url=database_url, valkey_url=valkey_url, buyer_secret="")

    assert len(found) == 1
    assert "chmod 600" in found[0]


async def test_published_keys_need_no_secret(tmp_path: Path, database_url: str, valkey_url: str) -> None:
    found = await broken(
        tmp_path,
        database_url=database_url,
        valkey_url=valkey_url,
        buyer_secret="",
        buyer_jwks_url="https://shop.example/keys",
    )

    assert found == []


async def test_good_servers_void_nothing(tmp_path: Path, database_url: str, valkey_url: str) -> None:
    settings = {f"DOORBUSTER_{name.upper()}": value for name, value in GOOD.items()}
    servers = {"DOORBUSTER_DATABASE_URL": database_url, "DOORBUSTER_VALKEY_URL": valkey_url}

    done = await doorbuster("doctor", "--json", "--data-dir", str(tmp_path), settings={**settings, **servers})

    assert done.code == 0, done
    assert json.loads(done.out)["verdict"] == "ok"


async def test_exit_code_tells_that_something_is_broken(tmp_path: Path) -> None:
    done = await doorbuster("doctor", "--data-dir", str(tmp_path / "none"))

    assert done.code == 1
    assert "to mend" in done.out
    assert not (tmp_path / "none").exists()
