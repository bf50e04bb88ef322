"""`doorbuster demo`: a whole sale in a minute, in any of the three modes, and the proof at the end.

Owns: the course of the demo. Everything is real: the servers, the HTTP, the crowd in a process of its own. What is
claimed at the end is counted by plain SQL on a connection of its own, not asked of the engine.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from rich.console import Console

from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.adapters.system import wall_ms
from doorbuster.api.auth import sign
from doorbuster.api.money import ReconciliationView
from doorbuster.api.shapes import AdminSaleView, AuditView, SaleView, stamp
from doorbuster.cli.demo_line import count_line, figures_of, prove_line
from doorbuster.cli.demo_proof import Proof, count_by_sql, prove, prove_balance
from doorbuster.cli.demo_view import DemoView, print_summary
from doorbuster.cli.settings import read
from doorbuster.cli.supervisor import Stack
from doorbuster.rehearsal.__main__ import Start
from doorbuster.rehearsal.crowd import Progress, Result
from doorbuster.rehearsal.plan import CrowdPlan

_OPENS_IN_S: Final = 4.0
_DRAW_OPENS_IN_S: Final = 10.0
"""Time to enter."""
_CHAOS: Final = ("none", "mild", "rough", "storm")
_HOLD_S: Final = 8
"""A hold ends soon here, so that what is abandoned is seen to come back and to be sold again."""
_SETTLE_S: Final = 90.0
_SETTLE_LINE_S: Final = 180.0
"""Who stands far back asks every half minute, so the last to hear are that much later."""
_LISTENERS_MAX: Final = 1_000
"""Sockets of one crowd: two files each, on one machine."""
_MODES: Final = ("race", "queue", "draw")
_LOOK_S: Final = 0.25
_HOLD_IN_CHAOS_S: Final = 20
"""A call that the gateway never answers takes three seconds, and a payment makes several."""
_REST_S: Final = 15.0
_REST_IN_CHAOS_S: Final = 75.0
"""An attempt whose worker has lost it is taken up after ten seconds and given up after thirty."""


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    units: int
    buyers: int
    abandon: float
    decline: float
    gateway_chaos: str = "none"
    seed: int
    keep: bool
    as_json: bool
    mode: str = "race"
    long_hold_s: int = 0
    """For crowds that need longer to pay than a demo takes; 0: the demo's own."""

    @property
    def hold_s(self) -> int:
        if self.long_hold_s:
            return self.long_hold_s
        return _HOLD_S if self.gateway_chaos == "none" else _HOLD_IN_CHAOS_S


def run(
    *,
    units: int,
    buyers: int,
    mode: str,
    abandon: float,
    decline: float,
    gateway_chaos: str,
    seed: int | None,
    keep: bool,
    port: int,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Returns the exit code: 0 every promise held, 1 one did not, 2 the demo could not be run."""
    options = DemoOptions(
        units=units,
        buyers=buyers,
        abandon=abandon,
        decline=decline,
        gateway_chaos=gateway_chaos,
        seed=random.SystemRandom().randrange(1_000_000) if seed is None else seed,
        keep=keep,
        as_json=as_json,
        mode=mode,
    )
    problem = _problem(options)
    if problem:
        print(f"doorbuster demo: {problem}", file=sys.stderr)
        return 2
    place = data_dir or Path(tempfile.mkdtemp(prefix="doorbuster-demo-"))
    if data_dir is None:
        place.chmod(0o755)  # root's servers run as another user; what they keep in it is theirs alone
    place.mkdir(parents=True, exist_ok=True)
    settings = read(
        port=port,
        data_dir=place,
        dev_identities=True,
        host="127.0.0.1",
        log_format="json",
        metrics_port=0,
        gateway_chaos=gateway_chaos,
        gateway_seed=options.seed,
    )
    try:
        return asyncio.run(_demo(options, Stack(settings, log_file=place / "doorbuster.log")))
    except EmbeddedError as error:
        print(f"doorbuster demo: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 130
    finally:
        if data_dir is None:
            shutil.rmtree(place, ignore_errors=True)


def _problem(options: DemoOptions) -> str:
    if options.mode not in _MODES:
        return f"--mode {options.mode}: it has to be race, queue or draw"
    if options.gateway_chaos not in _CHAOS:
        return f"--gateway-chaos {options.gateway_chaos}: it has to be {', '.join(_CHAOS[:-1])} or {_CHAOS[-1]}"
    if not 1 <= options.units <= 1_000_000 or not 1 <= options.buyers <= 1_000_000:
        return "--units and --buyers have to be from 1 to 1,000,000"
    shares = (options.abandon, options.decline)
    if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1:
        return "--abandon and --decline are shares from 0 to 1, together at most 1"
    return ""


async def _demo(options: DemoOptions, stack: Stack) -> int:
    console = Console(stderr=options.as_json)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # clean up as after Ctrl-C
    with console.status("starting Valkey, PostgreSQL, a gate, a worker and a payment gateway …"):
        await stack.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            shop = Shop(stack, session)
            sale = await shop.create(options)
            result, timeline = await sell(options, stack, shop, sale, console)
            proof = await wrap_up(options, stack, shop, sale, result)
        if options.as_json:
            print(msgspec.json.encode(_document(options, result, proof)).decode())
        else:
            print_summary(console, options, result, proof, timeline)
        if options.keep:
            await _keep(stack, sale, console)
        return 0 if proof.held else 1
    finally:
        await stack.stop()


class Shop:
    """The stack over HTTP, as an operator has it."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._session = session
        self._headers = {"Authorization": f"Bearer {stack.admin_token}"}

    async def create(self, options: DemoOptions) -> AdminSaleView:
        now = wall_ms()
        opens_in_s = _DRAW_OPENS_IN_S if options.mode == "draw" else _OPENS_IN_S
        body = {
            "mode": options.mode,
            "product_id": "demo-sneaker",
            "title": "Doorbuster demo",
            "quantity_available": options.units,
            "price_cents": 4999,
            "currency": "EUR",
            "start_time": stamp(now + int(opens_in_s * 1000)),
            "end_time": stamp(now + 3_600_000),
            "checkout_ttl_seconds": options.hold_s,
        }
        return msgspec.json.decode(await self.call("POST", "/v1/admin/sales", body), type=AdminSaleView)

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        async with self._session.request(method, self._stack.url + path, json=body, headers=self._headers) as response:
            content = await response.read()
            if response.status >= 400:
                raise EmbeddedError(f"{method} {path} answered {response.status}: {content[:300].decode()}")
            return content

    async def look(self, sale_id: str) -> SaleView:
        return msgspec.json.decode(await self.call("GET", f"/v1/sales/{sale_id}"), type=SaleView)


async def sell(
    options: DemoOptions,
    stack: Stack,
    shop: Shop,
    sale: AdminSaleView,
    console: Console,
    *,
    give_up_s: float | None = None,
) -> tuple[Result, dict[str, float]]:
    """The sale itself: the crowd in its own process, the view here. `give_up_s`: how long the crowd stays at most."""
    plan = CrowdPlan(
        seed=options.seed,
        buyers=options.buyers,
        abandon=options.abandon,
        decline=options.decline,
        listen=min(0.2, _LISTENERS_MAX / options.buyers),
    )
    race = options.mode == "race"
    opens_in_s = max(0.5, (_parse_ms(sale.start_time) - wall_ms()) / 1000)
    start = Start(
        url=stack.url,
        sale_id=sale.sale_id,
        plan=plan,
        buyer_secret=stack.buyer_secret,
        audience=stack.settings.buyer_audience,
        give_up_s=give_up_s or (_SETTLE_S if race else _SETTLE_LINE_S),
        mode=options.mode,
        opens_in_s=opens_in_s,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "doorbuster.rehearsal", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        limit=1 << 28,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(start) + b"\n")
    process.stdin.close()
    view = DemoView(console, options, opens_in_s, live=not options.as_json)
    latest = _Latest()
    reading = asyncio.create_task(_read(process, latest))
    try:
        with view:
            while not reading.done():
                await asyncio.wait([reading], timeout=_LOOK_S)
                seen = await shop.look(sale.sale_id)
                view.show(seen, latest.progress)
                if race and seen.availability.sold == options.units and process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.send_signal(signal.SIGTERM)  # sold out for good: nobody has to go on asking
        reading.result()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
    if latest.result is None:
        raise EmbeddedError("the crowd's process ended without a result; its output says why")
    return latest.result, view.timeline


class _Latest:
    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.result: Result | None = None


async def _read(process: asyncio.subprocess.Process, latest: _Latest) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        latest.progress = msgspec.json.decode(line, type=Progress)
        if latest.progress.done:
            latest.result = msgspec.json.decode(line, type=Result)


async def wrap_up(
    options: DemoOptions, stack: Stack, shop: Shop, sale: AdminSaleView, result: Result, *, told: set[str] | None = None
) -> Proof:
    """Let what is held end, end the sale, audit it, and count what is in PostgreSQL. `told` takes the charges that
    were looked at, so that the next sale on the same gateway is held against its own."""
    rest_s = _REST_S if options.gateway_chaos == "none" else _REST_IN_CHAOS_S
    end = asyncio.get_running_loop().time() + options.hold_s + rest_s
    while asyncio.get_running_loop().time() < end:
        seen = await shop.look(sale.sale_id)
        if seen.availability.held == 0:
            break
        await asyncio.sleep(_LOOK_S)
    await shop.call("POST", f"/v1/admin/sales/{sale.sale_id}/end", {"reason": "the demo is over"})
    audit = msgspec.json.decode(
        await shop.call("POST", f"/v1/admin/sales/{sale.sale_id}/audit", {"reason": "demo"}), type=AuditView
    )
    book = msgspec.json.decode(await shop.call("GET", "/v1/admin/gateways/simulated/book"))["charges"]
    if told is not None:
        book = [charge for charge in book if charge["idempotency_key"] not in told]
        told.update(charge["idempotency_key"] for charge in book)
    counted = await count_by_sql(stack.database_url, sale.sale_id)
    balance = msgspec.json.decode(
        await shop.call("POST", f"/v1/admin/sales/{sale.sale_id}/reconcile", {"reason": "demo"}),
        type=ReconciliationView,
    )
    proof = prove(counted, audit, book, result, units=options.units, price_cents=sale.price_cents)
    proof.checks.append(prove_balance(balance))
    if result.seen is not None:
        sold_all = counted.paid_units == options.units
        line = await count_line(stack.database_url, sale.sale_id)
        proof.line = figures_of(line, result.seen, units=options.units, sold_all=sold_all)
        proof.checks += prove_line(line, result, result.seen, proof.line, sold_all=sold_all)
    return proof


def _document(options: DemoOptions, result: Result, proof: Proof) -> dict[str, Any]:
    crowd = msgspec.structs.asdict(result)
    crowd.pop("acknowledged")
    crowd.pop("paid_orders")
    if result.seen is not None:
        crowd["seen"] = msgspec.structs.asdict(result.seen)
        crowd["seen"].pop("numbers")
        crowd["seen"].pop("grants_ms")
    return {
        "held": proof.held,
        "mode": options.mode,
        "seed": options.seed,
        "units": options.units,
        "buyers": options.buyers,
        "checks": [msgspec.structs.asdict(check) for check in proof.checks],
        "counted": msgspec.structs.asdict(proof.counted),
        "audit": proof.audit_verdict,
        "line": proof.line,
        "crowd": crowd,
    }


async def _keep(stack: Stack, sale: AdminSaleView, console: Console) -> None:
    token = sign(
        stack.buyer_secret, "visitor", audience=stack.settings.buyer_audience, now_s=wall_ms() // 1000, ttl_s=86_400
    )
    console.print(f"\nStill running at {stack.url} (documentation: {stack.url}/docs). Ctrl-C stops it.")
    console.print(f"  operator token  {stack.admin_token}", highlight=False, soft_wrap=True)
    console.print(f"  buyer token     {token}", highlight=False, soft_wrap=True)
    console.print(f"  try             curl {stack.url}/v1/sales/{sale.sale_id}", highlight=False, soft_wrap=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _parse_ms(text: str) -> int:
    from datetime import datetime  # noqa: PLC0415 - parsing a time the API wrote, not reading a clock

    return int(datetime.fromisoformat(text).timestamp() * 1000)
