"""The operator's view of the gates there are.

Owns: its answer. Read next: `engine/scaling.py`.
"""

from collections.abc import Callable

import msgspec

from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.routes import Caller, Handler, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import stamp
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable


class GateView(msgspec.Struct, kw_only=True):
    """`clock_offset_ms`: how much the database's clock is ahead of this machine's; no sale goes by the latter."""

    gate_id: str
    host: str
    pid: int
    ready: bool
    clock_offset_ms: int
    busy: float
    """Share of a core it used in the last two seconds."""
    started_at: str
    beat_at: str


class GateList(msgspec.Struct, kw_only=True):
    ready: int
    gates: list[GateView]


def fleet_routes(services: Services, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """`guarded` lets only the operator through."""

    async def gates(request: Request) -> Reply | Refusal:
        del request
        try:
            found = await services.fleet.gates()
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer; ask again", 1000)
        views = [
            GateView(
                gate_id=gate.gate_id,
                host=gate.host,
                pid=gate.pid,
                ready=gate.ready,
                clock_offset_ms=gate.clock_offset_ms,
                busy=round(gate.busy, 3),
                started_at=stamp(gate.started_ms),
                beat_at=stamp(gate.beat_ms),
            )
            for gate in found
        ]
        return json_reply(200, GateList(ready=sum(gate.ready for gate in found), gates=views))

    return [
        Route(
            method="GET", path="/v1/admin/gates", name="list-gates", caller=Caller.OPERATOR,
            summary="The gates that were heard of in the last ten seconds", handler=guarded(gates),
            answers={200: GateList},
        ),
    ]  # fmt: skip
