"""`doorbuster sale` and `doorbuster token`: exit codes, what is said, and that nothing changes on a refusal."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from cli.commands import Done, Up, doorbuster, up
from doorbuster.cli.times import instant_ms, rfc3339

SALE = ("--product", "sneaker", "--quantity", "5", "--price-cents", "100")
SECRET = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Up]:
    async with up(tmp_path / "data") as shop:
        await shop.ready()
        yield shop


async def sale(shop: Up, *arguments: str) -> Done:
    return await doorbuster("sale", *arguments, "--data-dir", str(shop.data))


async def units_are_set(shop: Up, sale_id: str, now: int) -> None:
    """With --to a repeat does nothing; what goes the other way is refused."""

    async def quantity(*command: str) -> int:
        done = await sale(shop, *command, "--json")
        assert done.code == 0, done
        return json.loads(done.out)["quantity_available"]

    assert await quantity("top-up", sale_id, "--to", str(now)) == now
    assert await quantity("cut", sale_id, "--to", str(now)) == now
    assert await quantity("cut", sale_id, "2") == now - 2
    for command, words in (
        (("top-up", sale_id, "--to", str(now - 3)), "`sale cut` takes some away"),
        (("cut", sale_id, "--to", str(now)), "`sale top-up` adds some"),
        (("cut", sale_id, str(now - 2)), "one has to stay"),
    ):
        done = await sale(shop, *command)
        assert (done.code, words in done.err) == (1, True), done
    acts = json.loads((await sale(shop, "log", sale_id, "--json")).out)["actions"]
    assert [(act["action"], act["detail"]["quantity_available"]) for act in acts[:2]] == [
        ("change", now - 2),
        ("change", now),
    ]


async def test_operator_runs_a_sale_from_the_shell(shop: Up) -> None:
    """One long story, because a shop takes seconds to start."""
    refused = await sale(shop, "create", "--product", "sneaker", "--quantity", "0", "--price-cents", "100")
    assert refused.code == 1
    assert "quantity_available" in refused.err
    assert json.loads((await sale(shop, "list", "--json")).out)["sales"] == []

    created = await sale(shop, "create", *SALE, "--title", "Sneaker [red]", "--start", "+1h", "--end", "+30m")
    assert created.code == 0, created
    sale_id = created.out.strip()
    shown = json.loads((await sale(shop, "show", sale_id, "--json")).out)
    assert (shown["status"], shown["title"]) == ("SCHEDULED", "Sneaker [red]")
    assert "Sneaker [red]" in (await sale(shop, "list")).out

    assert (await sale(shop, "resume", sale_id)).code == 1  # not paused
    assert (await sale(shop, "open", sale_id, "--reason", "early")).code == 0
    assert (await sale(shop, "pause", sale_id)).code == 0
    assert "PAUSED" in (await sale(shop, "show", sale_id)).out
    assert (await sale(shop, "resume", sale_id)).code == 0
    topped_up = json.loads((await sale(shop, "top-up", sale_id, "3", "--json")).out)
    assert topped_up["quantity_available"] == 8
    await units_are_set(shop, sale_id, 8)
    assert (await sale(shop, "rebuild", sale_id)).code == 0
    audit = await sale(shop, "audit", sale_id)
    assert audit.code == 0, audit
    assert "in_step" in audit.out
    assert (await sale(shop, "end", sale_id)).code == 0

    refused = await sale(shop, "open", sale_id, "--json")
    assert (refused.code, json.loads(refused.out)["code"]) == (1, "conflict")
    assert (await sale(shop, "abort", sale_id)).code == 1
    assert "ENDED" in (await sale(shop, "show", sale_id)).out


async def test_wrong_operator_token_is_refused(shop: Up) -> None:
    done = await doorbuster(
        "sale", "list", "--data-dir", str(shop.data), settings={"DOORBUSTER_ADMIN_TOKEN": "somebody else's"}
    )

    assert done.code == 1
    assert "unauthenticated" in done.err


async def test_nobody_there_is_another_exit_code(tmp_path: Path) -> None:
    no_address = await doorbuster("sale", "list", "--data-dir", str(tmp_path))
    no_answer = await doorbuster(
        "sale", "list", "--url", "http://127.0.0.1:1", settings={"DOORBUSTER_ADMIN_TOKEN": "token"}
    )
    no_token = await doorbuster("sale", "list", "--url", "http://127.0.0.1:1", "--data-dir", str(tmp_path))

    assert (no_address.code, no_answer.code, no_token.code) == (2, 2, 2)
    assert "no doorbuster is running" in no_address.err
    assert "does not answer" in no_answer.err
    assert "DOORBUSTER_ADMIN_TOKEN" in no_token.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--product", "sneaker"),
        ("create", *SALE, "--start", "tomorrow"),
        ("top-up", "some-sale", "0"),
        ("top-up", "some-sale"),
        ("cut", "some-sale", "3", "--to", "4"),
        ("list", "--url", "ftp://example"),
    ],
)
async def test_wrong_usage_is_another_exit_code(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = await doorbuster("sale", *arguments, settings={"DOORBUSTER_ADMIN_TOKEN": "token", "DOORBUSTER_URL": ""})

    assert done.code == 2, done


async def test_buyer_token_is_one_a_gate_takes() -> None:
    done = await doorbuster("token", "buyer", "bob", "--ttl", "60", settings={"DOORBUSTER_BUYER_SECRET": SECRET})

    claims = jwt.decode(done.out.strip(), SECRET, algorithms=["HS256"], audience="doorbuster")
    assert claims["sub"] == "bob"
    assert claims["exp"] - claims["iat"] == 60


@pytest.mark.parametrize(("user", "secret"), [("bob", "short"), ("", SECRET), ("x" * 201, SECRET), ("a\nb", SECRET)])
async def test_token_no_gate_would_take_is_not_made(user: str, secret: str) -> None:
    done = await doorbuster("token", "buyer", user, settings={"DOORBUSTER_BUYER_SECRET": secret})

    assert (done.code, done.out) == (2, "")


async def test_operator_token_is_shown_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text("of-the-operator\n")

    where = await doorbuster("token", "operator", "--data-dir", str(tmp_path))
    shown = await doorbuster("token", "operator", "--show", "--data-dir", str(tmp_path))
    missing = await doorbuster("token", "operator", "--data-dir", str(tmp_path / "none"))

    assert where.out.strip() == str(tmp_path / "admin-token")
    assert shown.out.strip() == "of-the-operator"
    assert missing.code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("now", 0), ("+90s", 90_000), ("+10m", 600_000), ("+2h", 7_200_000), ("1970-01-01T02:00:00+01:00", 3_600_000)],
)
def test_instants_can_be_written_in_short(text: str, expected: int) -> None:
    assert instant_ms(text, base_ms=0) == expected


@pytest.mark.parametrize("text", ["", "tomorrow", "+1w", "-5m", "2026-11-27T09:00:00", "+10"])
def test_instants_that_could_mean_two_things_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write now"):
        instant_ms(text, base_ms=0)


def test_instants_are_sent_in_utc() -> None:
    ms = int(datetime(2026, 11, 27, 9, 30, tzinfo=UTC).timestamp() * 1000) + 5

    assert rfc3339(ms) == "2026-11-27T09:30:00.005Z"
