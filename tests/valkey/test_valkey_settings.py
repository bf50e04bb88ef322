"""What the doctor says about a server."""

import pytest
from tests.valkey.images import raw_at
from tests.valkey.servers import Server, running

from doorbuster.adapters.valkey.settings import settings_problems
from doorbuster.engine.ports import StoreUnavailable


async def test_server_set_up_well_has_no_problems() -> None:
    with running(appendonly="yes", maxmemory_policy="noeviction") as server:
        assert await settings_problems(server.url) == []


async def test_evicting_server_is_named() -> None:
    with running(appendonly="yes", maxmemory_policy="allkeys-lru") as server:
        (problem,) = await settings_problems(server.url)

        assert "maxmemory-policy is allkeys-lru" in problem
        assert "noeviction" in problem


async def test_forgetful_server_is_named(server: Server) -> None:
    (problem,) = await settings_problems(server.url)

    assert problem.startswith("appendonly is no")


async def test_replica_is_named() -> None:
    with running(replicaof="127.0.0.1 1", appendonly="yes") as server:
        (problem,) = await settings_problems(server.url)

        assert "replica" in problem


async def test_hidden_settings_are_left_to_the_operator() -> None:
    with running() as server:
        async with raw_at(server.url) as raw:
            await raw.do("ACL", "SETUSER", "gate", "on", ">secret", "~*", "+@all", "-config")

        (problem,) = await settings_problems(server.url.replace("unix://", "unix://gate:secret@"))

        assert "hides its settings" in problem


async def test_server_that_hides_everything_is_unavailable() -> None:
    with running() as server:
        async with raw_at(server.url) as raw:
            await raw.do("ACL", "SETUSER", "gate", "on", ">secret", "~*", "+@all", "-info")

        with pytest.raises(StoreUnavailable, match="NOPERM"):
            await settings_problems(server.url.replace("unix://", "unix://gate:secret@"))


async def test_server_that_is_down_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="not connected"):
        await settings_problems("unix:///nowhere/at-all")


async def test_malformed_url_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with"):
        await settings_problems("http://host")
