"""Enough gates, or somebody is called; and what those who start gates may answer."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from doorbuster.adapters.scaling import build_scaler
from doorbuster.adapters.scaling.ways import CommandScaler, FileScaler, WebhookScaler
from doorbuster.config import load_settings
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.domain.scaling import gates_wanted
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.day_ports import Asked, Detail, NotSent, PageCall, StepFailed, StepSkipped
from doorbuster.engine.paging import OnCall
from doorbuster.engine.scaling import STALE_MS, GateBeat, Scaling
from doorbuster.reference.fleet import ReferenceFleet, ReferencePages

# ---------------------------------------------------------------------------------------- the number


@pytest.mark.parametrize(
    ("crowds", "wanted"),
    [([], 1), ([0], 1), ([100], 1), ([666], 1), ([667], 2), ([20_000], 30), ([400, 400], 2), ([10**8], 50)],
)
def test_gates_for_a_crowd(crowds: Sequence[int], wanted: int) -> None:
    """At 1,000 requests a second each, half as much again as the crowd asks for."""
    assert gates_wanted(crowds, capacity=1_000.0, most=50) == wanted


# ---------------------------------------------------------------------------------------- the steps


class Recorded:
    """A scaler that does what it is told to: nothing, or refuse."""

    how = "recorded"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.refuses = False

    async def scale(self, gates: int, sale_id: str) -> Detail:
        assert sale_id
        self.asked.append(gates)
        if self.refuses:
            raise StepFailed("no machine is free")
        return {"told": True}


class Bell:
    """A pager that rings, or not."""

    configured = True

    def __init__(self) -> None:
        self.rung: list[PageCall] = []
        self.silent = False

    async def page(self, call: PageCall) -> Sequence[str]:
        if self.silent:
            raise NotSent("nobody there")
        self.rung.append(call)
        return ["bell"]


class Desk:
    """A ledger, gates that can be set, and somebody who is called."""

    def __init__(self, bench: LedgerBench, scaler: Recorded | None) -> None:
        self.bench = bench
        self.fleet = ReferenceFleet(bench.ledger.clock)
        self.bell = Bell()
        self.on_call = OnCall(ReferencePages(bench.ledger.clock), self.bell)
        self.scaling = Scaling(
            fleet=self.fleet,
            scaler=scaler,
            sales=bench.sales,
            timeline=bench.timeline,
            on_call=self.on_call,
            capacity=1_000.0,
            most=50,
        )

    async def sale(self, crowd: int, *, starts_in: int = HOUR) -> Sale:
        start = self.bench.now_ms() + starts_in
        sale = await self.bench.sale(start_ms=start, end_ms=start + HOUR)
        await self.bench.timeline.set_plan(sale.sale_id, Plan(expected_crowd=crowd), ACTOR)
        return sale

    async def asked(self, sale: Sale) -> Asked:
        plan = await self.bench.timeline.plan(sale.sale_id)
        return Asked(sale=sale, plan=plan, now_ms=self.bench.now_ms(), attempt=1)

    async def gates(self, count: int, *, ready: bool = True) -> None:
        for number in range(count):
            await self.fleet.beat(GateBeat(gate_id=f"g{number}", host="h", pid=1, ready=ready, clock_offset_ms=0))


async def test_asks_for_what_the_crowd_needs(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    sale = await desk.sale(4_000)
    await desk.gates(1)

    detail = await desk.scaling.scale_up(await desk.asked(sale))

    assert detail == {"wanted": 6, "ready": 1, "how": "recorded", "told": True}
    assert scaler.asked == [6]


async def test_sales_that_are_on_together_are_added(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    first, second = await desk.sale(2_000), await desk.sale(2_000)
    await desk.sale(40_000, starts_in=24 * HOUR)

    await desk.scaling.scale_up(await desk.asked(first))
    await bench.moved(second, SaleStatus.ENDED)
    await desk.scaling.stand_down(await desk.asked(first))

    assert scaler.asked == [6, 3]


async def test_nothing_is_guessed(bench: LedgerBench) -> None:
    scaler = Recorded()
    desk = Desk(bench, scaler)
    asked = await desk.asked(await desk.sale(0))

    for step in (desk.scaling.scale_up, desk.scaling.scale_check):
        with pytest.raises(StepSkipped, match="nobody said how many come"):
            await step(asked)

    assert await desk.scaling.stand_down(asked) == {}
    assert scaler.asked == []


async def test_without_anybody_who_starts_gates_the_number_is_said(bench: LedgerBench) -> None:
    desk = Desk(bench, None)
    with pytest.raises(StepSkipped, match="6 gates are wanted, 0 are ready"):
        await desk.scaling.scale_up(await desk.asked(await desk.sale(4_000)))


async def test_scaler_that_refuses_fails_the_step(bench: LedgerBench) -> None:
    scaler = Recorded()
    scaler.refuses = True
    desk = Desk(bench, scaler)
    with pytest.raises(StepFailed, match="no machine is free"):
        await desk.scaling.scale_up(await desk.asked(await desk.sale(4_000)))


async def test_scaler_that_never_delivers(bench: LedgerBench) -> None:
    """Somebody is called once, however often it is looked at; and told when the gates have come after all."""
    scaler = Recorded()
    desk = Desk(bench, scaler)
    sale = await desk.sale(4_000)
    await desk.gates(2)
    for _ in range(5):
        with pytest.raises(StepFailed, match="2 of 6 gates are ready") as problem:
            await desk.scaling.scale_check(await desk.asked(sale))
        assert problem.value.detail == {"wanted": 6, "ready": 2, "paged": ["bell"]}
    assert [call.resolved for call in desk.bell.rung] == [False]
    assert "begins soon" in desk.bell.rung[0].text
    assert scaler.asked == [6] * 5

    await desk.gates(6)
    assert await desk.scaling.scale_check(await desk.asked(sale)) == {"wanted": 6, "ready": 6}
    assert [call.resolved for call in desk.bell.rung] == [False, True]


async def test_scaler_that_refuses_keeps_nobody_from_being_called(bench: LedgerBench) -> None:
    scaler = Recorded()
    scaler.refuses = True
    desk = Desk(bench, scaler)
    await desk.gates(2)

    with pytest.raises(StepFailed, match="2 of 6 gates are ready; no machine is free") as problem:
        await desk.scaling.scale_check(await desk.asked(await desk.sale(4_000)))

    assert problem.value.detail == {"wanted": 6, "ready": 2, "paged": ["bell"]}


async def test_gates_that_are_dead_or_not_ready_do_not_count(bench: LedgerBench) -> None:
    desk = Desk(bench, None)
    sale = await desk.sale(600)
    await desk.gates(1, ready=False)
    with pytest.raises(StepFailed, match="0 of 1"):
        await desk.scaling.scale_check(await desk.asked(sale))
    await desk.gates(1)
    assert (await desk.scaling.scale_check(await desk.asked(sale)))["ready"] == 1
    await bench.ledger.advance_ms(STALE_MS)
    with pytest.raises(StepFailed, match="0 of 1"):
        await desk.scaling.scale_check(await desk.asked(sale))


async def test_person_who_cannot_be_reached_is_tried_again(bench: LedgerBench) -> None:
    desk = Desk(bench, None)
    desk.bell.silent = True
    call = PageCall(key="k", title="t", text="x")
    assert await desk.on_call.call(call) == ()
    desk.bell.silent = False
    assert await desk.on_call.call(call) == ()  # not at once
    await bench.ledger.advance_ms(MINUTE)

    assert await desk.on_call.run_once() == {"paged": 1, "missed": 0}

    await bench.ledger.advance_ms(15 * MINUTE)
    assert (await desk.on_call.run_once())["paged"] == 1  # still not mended
    await desk.on_call.resolve("k", "mended")
    await desk.on_call.resolve("k", "mended")
    await bench.ledger.advance_ms(60 * MINUTE)
    await desk.on_call.run_once()
    assert [(one.resolved, one.text) for one in desk.bell.rung] == [(False, "x"), (False, "x"), (True, "mended")]


# ---------------------------------------------------------------------------------------- who starts gates


async def test_command_is_told_the_number(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = (
        "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(' '.join(sys.argv[2:])); print('fine'); print('ok')"
    )
    scaler = CommandScaler([sys.executable, "-c", script, str(told), "--gates={gates}", "{sale_id}"])

    assert await scaler.scale(7, "$(reboot)") == {"said": "ok"}
    assert told.read_text() == "--gates=7 $(reboot)"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/nowhere/to/be/found"], "cannot be run"),
        ([sys.executable, "-c", "print('quota'); raise SystemExit(3)"], "ended with 3: quota"),
        ([sys.executable, "-c", "import signal; signal.pause()"], "was not done"),
    ],
)
async def test_command_that_fails(command: list[str], words: str) -> None:
    with pytest.raises(StepFailed, match=words):
        await CommandScaler(command, within_s=2.0 if "pause" in command[-1] else 30.0).scale(2, "s")


@asynccontextmanager
async def server(handler: Any) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)  # one handler never answers
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_webhook() -> None:
    bodies: list[Any] = []

    async def hear(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response(status=202 if len(bodies) == 1 else 500)

    async with server(hear) as url:
        scaler = WebhookScaler(url)
        assert await scaler.scale(3, "s") == {"status": 202}
        with pytest.raises(StepFailed, match="answered 500"):
            await scaler.scale(3, "s")
    with pytest.raises(StepFailed, match="does not answer"):
        await scaler.scale(3, "s")
    assert bodies[0] == {"gates": 3, "sale_id": "s"}


async def test_webhook_that_never_answers() -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with server(never) as url:
        with pytest.raises(StepFailed, match="does not answer"):
            await WebhookScaler(url, within_s=0.2).scale(1, "s")


async def test_file_of_up(tmp_path: Path) -> None:
    await FileScaler(tmp_path / "gates-wanted").scale(4, "s")
    assert (tmp_path / "gates-wanted").read_text() == "4\n"
    with pytest.raises(StepFailed, match="cannot be written"):
        await FileScaler(tmp_path / "no" / "folder").scale(4, "s")


class Cluster:
    """The two calls of Kubernetes' API that are needed."""

    def __init__(self) -> None:
        self.replicas = 2
        self.status = 200
        self.patches: list[Mapping[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        assert request.path == "/apis/apps/v1/namespaces/shop/deployments/gates/scale"
        if self.status != 200:
            return web.json_response({"kind": "Status", "reason": "Forbidden"}, status=self.status, reason="Forbidden")
        if request.method == "PATCH":
            self.patches.append(json.loads(await request.text()))
            self.replicas = self.patches[-1]["spec"]["replicas"]
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": "gates", "namespace": "shop"},
            "spec": {"replicas": self.replicas},
            "status": {"replicas": self.replicas},
        }
        return web.json_response(body)


def _kubeconfig(folder: Path, url: str) -> Path:
    file = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(json.dumps(config))
    return file


async def test_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    scaler = build_scaler(load_settings(scale="kubernetes", scale_kubernetes_deployment="shop/gates"))
    assert scaler is not None
    async with server(cluster.answer) as url:
        monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path, url)))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        assert await scaler.scale(6, "s") == {"replicas_before": 2}
        assert await scaler.scale(6, "s") == {"replicas_before": 6}
        cluster.status = 403
        with pytest.raises(StepFailed, match="403 Forbidden"):
            await scaler.scale(7, "s")
    assert cluster.patches == [{"spec": {"replicas": 6}}]
    with pytest.raises(StepFailed, match="does not answer"):
        await scaler.scale(7, "s")


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": "command"},
        {"scale": "webhook", "scale_webhook_url": "ftp://x"},
        {"scale": "kubernetes"},
        {"scale": "kubernetes", "scale_kubernetes_deployment": "gates"},
    ],
)
def test_half_a_configuration_is_refused(settings: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="DOORBUSTER_SCALE"):
        build_scaler(load_settings(**settings))
