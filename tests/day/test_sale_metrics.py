"""What Prometheus is told of sales: as the stores have it, and nothing that is over, old or cannot be read."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from doorbuster.bootstrap.metrics import Metrics
from doorbuster.bootstrap.world import World, open_world
from doorbuster.config import load_settings
from doorbuster.domain.alerts import Alert
from doorbuster.domain.rehearsal import Wish, shadow_terms
from doorbuster.domain.sale import SaleMode, SaleTerms
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.monitoring import SAMPLE_MS, Sample
from doorbuster.engine.ports import Actor
from helpers.servers import Servers

ACTOR = Actor(name="tester", reason="a test")
HOUR = 3_600_000


@contextlib.asynccontextmanager
async def a_world(database_url: str, valkey_url: str, folder: Path) -> AsyncGenerator[World]:
    settings = load_settings(
        database_url=database_url, valkey_url=valkey_url, gateway_url="http://127.0.0.1:1", data_dir=folder
    )
    async with open_world(settings) as world:
        yield world


@pytest.fixture
async def world(database_url: str, valkey_url: str, tmp_path: Path) -> AsyncGenerator[World]:
    async with a_world(database_url, valkey_url, tmp_path) as world:
        yield world


async def sale(world: World, **changes: Any) -> str:
    now = await world.sales.time_ms()
    terms = SaleTerms(
        product_id="p",
        title="Lamp",
        quantity_available=5,
        price_cents=0,
        currency="USD",
        start_ms=now,
        end_ms=now + HOUR,
    )
    made = await world.sales.create(world.ids.new_id(), msgspec.structs.replace(terms, **changes), ACTOR)
    return made.sale_id


async def told(world: World) -> dict[str, float]:
    """Values by name and labels, as they stand there."""
    lines = (await Metrics(world).exposition()).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


async def of_sale(world: World, sale_id: str) -> dict[str, float]:
    """The same of one sale, without its id."""
    mine = {name: value for name, value in (await told(world)).items() if sale_id in name}
    return {re.sub(r'sale_id="[^"]*",|,?sale_id="[^"]*"', "", name): value for name, value in mine.items()}


async def test_units_line_sample_and_alerts(world: World) -> None:
    sale_id = await sale(world, mode=SaleMode.QUEUE)
    now = world.clock.now_ms()
    await world.monitor.keep(sale_id, Sample(at_ms=now - 1, status="ACTIVE", free=5, held=0, sold=0, log_size=1))
    alert = Alert(rule="p99-ms", value=900, worst=900, opened_ms=now, fired_ms=now)
    await world.monitor.note_alerts(sale_id, [alert, msgspec.structs.replace(alert, rule="drift", fired_ms=None)])

    found = await of_sale(world, sale_id)

    assert found['doorbuster_sale_units{state="free"}'] == 5
    assert found["doorbuster_line_length{}"] == 0
    assert found['doorbuster_sale_sample{figure="unread"}'] == 0
    assert 'doorbuster_sale_sample{figure="p99_ms"}' not in found
    assert found['doorbuster_sale_alert{rule="p99-ms",severity="warning"}'] == 1
    assert found['doorbuster_sale_alert{rule="drift",severity="critical"}'] == 0


async def test_old_sample_says_nothing_of_now(world: World) -> None:
    sale_id = await sale(world)
    now = world.clock.now_ms()
    old = Sample(at_ms=now - 3 * SAMPLE_MS, status="ACTIVE", free=5, held=0, sold=0, log_size=1)
    await world.monitor.keep(sale_id, old)
    assert not [name for name in await of_sale(world, sale_id) if "sample" in name]


async def test_nothing_is_left_of_a_sale_that_is_over(world: World) -> None:
    sale_id = await sale(world)
    assert await of_sale(world, sale_id)
    await world.sales.move(sale_id, SaleStatus.ENDED, ACTOR)
    assert await of_sale(world, sale_id) == {}


async def test_rehearsal_is_said_and_not_counted(world: World) -> None:
    now = await world.sales.time_ms()
    sale_id = await sale(world, start_ms=now + 2 * HOUR, end_ms=now + 3 * HOUR)
    assert (await told(world))["doorbuster_rehearsal_running"] == 0
    await world.rehearsals.ask(world.ids.new_id(), sale_id, Wish(), ACTOR)
    claimed = await world.rehearsals.claim(lease := world.ids.new_id())
    real = await world.sales.get(sale_id)
    assert claimed is not None
    assert real is not None
    terms, _ = shadow_terms(real, now_ms=now, seconds=5)
    shadow = await world.rehearsals.create_shadow(claimed.rehearsal, lease, world.ids.new_id(), terms)
    assert shadow is not None

    assert (await told(world))["doorbuster_rehearsal_running"] == 1
    assert await of_sale(world, shadow.sale_id) == {}
    assert await of_sale(world, sale_id)


async def test_ledger_that_hangs_holds_up_nobody(own_servers: Servers, valkey_url: str, tmp_path: Path) -> None:
    """Prometheus gives up after ten seconds, and would say that nothing answers."""
    postgres = await own_servers.postgres()
    async with a_world(postgres.url, valkey_url, tmp_path) as world:
        await sale(world)
        assert any("sale_units" in name for name in await told(world))
        postgres.pause()
        try:
            found = await asyncio.wait_for(told(world), 5)
        finally:
            postgres.resume()
    assert "doorbuster_board_age_seconds" in found
    assert not any("sale_" in name or "rehearsal" in name for name in found)


async def test_line_that_cannot_be_read_takes_nothing_else_away(
    own_servers: Servers, database_url: str, tmp_path: Path
) -> None:
    valkey = await own_servers.valkey()
    async with a_world(database_url, valkey.url, tmp_path) as world:
        await sale(world, mode=SaleMode.QUEUE)
        await valkey.kill()
        found = await told(world)
    assert any("sale_units" in name for name in found)
    assert not any("line_length" in name for name in found)
