"""`doorbuster up` while it runs: what dies comes back, what is killed takes nobody along, and data stays."""

import json
import os
import pwd
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from cli.commands import doorbuster, living, up
from faults.shop import free_port
from helpers.places import guarded_folder
from helpers.servers import Servers
from helpers.waiting import until

TITLES = ["doorbuster gate ", "doorbuster worker", "doorbuster gateway", "valkey-server", "bin/postgres"]
SALE = ("--product", "sneaker", "--quantity", "5", "--price-cents", "100")


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that other accounts may pass through."""
    with guarded_folder() as folder:
        yield folder


async def test_second_up_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as first:
        await first.ready()

        second = await doorbuster("up", "--port", "0", "--data-dir", str(first.data))

        assert second.code == 2
        assert second.err.count("\n") == 1
        assert f"process {first.process.pid}" in second.err
        assert (await doorbuster("sale", "list", "--data-dir", str(first.data))).code == 0


async def test_every_process_that_dies_comes_back(tmp_path: Path) -> None:
    """`ps` shows each as what it is, and each is replaced with one line in the log."""
    async with up(tmp_path / "data") as shop:
        await shop.ready()
        sale_id = (await doorbuster("sale", "create", *SALE, "--data-dir", str(shop.data))).out.strip()

        for title in TITLES:
            old = shop.pids(title)
            assert len(old) == 1, title
            os.kill(min(old), signal.SIGKILL)
            await until(lambda title=title, old=old: shop.pids(title) - old, within=30, what=title)

        async def in_step() -> bool:
            audit = await doorbuster("sale", "audit", sale_id, "--data-dir", str(shop.data))
            return audit.code == 0

        await until(in_step, within=60)
        assert shop.said().count("a process died; starting it again") == len(TITLES)


async def test_one_port_tells_of_all_processes_and_of_none_that_is_dead(tmp_path: Path) -> None:
    port = free_port()
    async with up(tmp_path / "data", {"DOORBUSTER_METRICS_PORT": str(port)}) as shop:
        await shop.ready()

        async def told() -> dict[str, float]:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
                return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

        async def all_of_them() -> bool:
            try:
                found = await told()
            except aiohttp.ClientError:
                return False  # a gate is being started
            # The worker has a clock, too: a 0 of a process that never says more would be the least of all.
            return (
                found.get("doorbuster_clock_trusted") == 1 and 'doorbuster_agent_passes_total{agent="expirer"}' in found
            )

        await until(all_of_them, within=30)
        for title in ("doorbuster worker", "doorbuster gate "):
            [old] = shop.pids(title)
            assert list((shop.data / "metrics").glob(f"gauge_live*_{old}.db"))
            os.kill(old, signal.SIGKILL)
            await until(lambda title=title, old=old: shop.pids(title) - {old}, within=30, what=title)
            assert not list((shop.data / "metrics").glob(f"gauge_live*_{old}.db"))
        await until(all_of_them, within=30)


async def test_gates_that_were_wanted_are_there_again_after_a_restart(tmp_path: Path) -> None:
    """In the middle of a sale nobody asks again."""
    async with up(tmp_path / "data") as shop:
        await shop.ready()
        (shop.data / "gates-wanted").write_text("2\n")
        await until(lambda: len(shop.pids("doorbuster gate ")) == min(2, os.cpu_count() or 1), within=30)
        await shop.stop()
        await shop.start()
        await shop.ready()
        await until(lambda: len(shop.pids("doorbuster gate ")) == min(2, os.cpu_count() or 1), within=30)
        (shop.data / "gates-wanted").write_text("1\n")
        await until(lambda: len(shop.pids("doorbuster gate ")) == 1, within=30)


async def test_port_for_metrics_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"DOORBUSTER_METRICS_PORT": str(taken.getsockname()[1])}
        done = await doorbuster("up", "--port", "0", "--data-dir", str(tmp_path / "data"), settings=settings)
    assert done.code == 2
    assert "choose another DOORBUSTER_METRICS_PORT" in done.err


async def test_killed_supervisor_takes_everything_along(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as shop:
        await shop.ready()
        port = int((shop.data / "address").read_text().rsplit(":", 1)[1])
        sale_id = (await doorbuster("sale", "create", *SALE, "--data-dir", str(shop.data))).out.strip()
        family = shop.family()
        assert len(living(family)) > len(TITLES)

        await shop.stop(signal.SIGKILL)

        await until(lambda: not living(family), within=30)
        with socket.create_server(("127.0.0.1", port)):
            pass  # nobody listens any more
        await shop.start()
        await until(lambda: f":{port}" not in (shop.data / "address").read_text(), within=60)
        shown = await doorbuster("sale", "show", sale_id, "--json", "--data-dir", str(shop.data))
        assert json.loads(shown.out)["quantity_available"] == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_signal_stops_everything_and_is_no_failure(tmp_path: Path, number: signal.Signals) -> None:
    async with up(tmp_path / "data") as shop:
        await shop.ready()
        family = shop.family()

        code = await shop.stop(number)

        assert code == 0, shop.said()
        assert not living(family)
        assert not (shop.data / "address").exists()
        assert "database system is shut down" in (shop.data / "logs" / "postgres.log").read_text()
        assert "Traceback" not in shop.said()


async def test_stop_while_starting_leaves_nothing(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as shop:
        await until((shop.data / "postgres.making").exists, within=30)
        family = shop.family()

        code = await shop.stop()

        assert code == 0, shop.said()
        assert not living(family)
        assert not (shop.data / "postgres.making").exists()
        assert "Traceback" not in shop.said()


async def test_given_servers_are_used_and_left_running(tmp_path: Path, own_servers: Servers) -> None:
    postgres, valkey = await own_servers.postgres(), await own_servers.valkey()
    given = {"DOORBUSTER_DATABASE_URL": postgres.url, "DOORBUSTER_VALKEY_URL": valkey.url}
    async with up(tmp_path / "data", given) as shop:
        await shop.ready()

        assert not shop.pids("bin/postgres") | shop.pids("valkey-server")

        assert await shop.stop() == 0
    assert not (tmp_path / "data" / "postgres").exists()
    assert postgres.pid is not None
    assert valkey.call("PING") == b"PONG"


async def test_secrets_stay_the_same_and_are_not_shown(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as shop:
        await shop.ready()
        made = [(shop.data / name).read_text().strip() for name in ("admin-token", "buyer-secret")]
        await shop.stop()

        await shop.start()
        await shop.ready()

        kept = [(shop.data / name).read_text().strip() for name in ("admin-token", "buyer-secret")]
        assert kept == made
        assert str(shop.data / "admin-token") in shop.said()
        assert not [secret for secret in made if secret in shop.said()]


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests show it for an ordinary user")
async def test_ordinary_user_runs_everything(place: Path) -> None:
    python = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no interpreter that another account may run")
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    own = [path for path in sys.path if path and not path.startswith(sys.base_prefix)]
    settings = {"PYTHONPATH": os.pathsep.join(own), "HOME": str(place)}
    options: dict[str, object] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    async with up(place / "data", settings, python=python, cwd=place, **options) as shop:
        await shop.ready()

        assert {process.username() for process in shop.family()} == {"nobody"}

        assert await shop.stop() == 0
