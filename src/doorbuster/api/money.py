"""The operator's routes of money: give it back, and compare the books.

Owns: what each answers, in HTTP's words. Read next: `engine/refunding.py`, `engine/reconciling.py`.
"""

from collections.abc import Callable

import msgspec

from doorbuster.api.acting import actor_of
from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.reading import body_of, id_of
from doorbuster.api.routes import Caller, Handler, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import OrderView, VerbBody, order_view, stamp
from doorbuster.domain.balance import Reconciliation
from doorbuster.domain.outcomes import Code, Refusal

_REASON = {"reason": "the customer was promised a refund"}


class BreakView(msgspec.Struct, kw_only=True):
    """Where the two books differ. `repair` is what is done about it: refund, void, or operator: a person decides."""

    key: str
    order_id: str
    payment_id: str | None
    kind: str
    expected: str
    found: str
    repair: str
    repaired: bool


class ReconciliationView(msgspec.Struct, kw_only=True):
    """What comparing the gateway's book with the ledger found. `in_balance`: captured minus refunded is what the paid
    orders cost, charge by charge."""

    verdict: str
    sale_id: str
    gateway: str
    at: str
    charges: int
    captured: int
    captured_cents: int
    refunded_cents: int
    paid_orders: int
    paid_cents: int
    under_way: int
    quarantined: int
    breaks: list[BreakView]
    note: str


class MoneyRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def refund(self, request: Request) -> Reply | Refusal:
        """The whole amount of a paid order, and its units with it."""
        body = body_of(request, VerbBody, required=False)
        actor = actor_of(request, body.reason)
        order = await self._services.refunding.refund(id_of(request, "order_id"), actor)
        return order if isinstance(order, Refusal) else json_reply(200, order_view(order))

    async def reconcile(self, request: Request) -> Reply | Refusal:
        body = body_of(request, VerbBody, required=False)
        actor = actor_of(request, body.reason)
        return _reply(await self._services.reconciler.reconcile(id_of(request, "sale_id"), actor))

    async def reconciliation(self, request: Request) -> Reply | Refusal:
        return _reply(await self._services.reconciler.latest(id_of(request, "sale_id")))


def money_routes(services: Services, guarded: Callable[[Handler], Handler]) -> list[Route]:
    """`guarded` lets only the operator through."""
    on, sale = MoneyRoutes(services), "/v1/admin/sales/{sale_id}"
    return [
        Route(
            method="POST", path="/v1/admin/orders/{order_id}/refund", name="refund-order", caller=Caller.OPERATOR,
            summary="Give a paid order's money back, and its units; again: the same refund",
            handler=guarded(on.refund), body=VerbBody, body_required=False, example=_REASON,
            answers={200: OrderView}, codes=(Code.NOT_FOUND, Code.CONFLICT),
        ),
        Route(
            method="POST", path=f"{sale}/reconcile", name="reconcile-sale", caller=Caller.OPERATOR,
            summary="Compare the gateway's book with the ledger now, and repair what may be repaired",
            handler=guarded(on.reconcile), body=VerbBody, body_required=False,
            example={"reason": "before the books are closed"}, answers={200: ReconciliationView},
            codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="GET", path=f"{sale}/reconciliation", name="latest-reconciliation", caller=Caller.OPERATOR,
            summary="The latest stored reconciliation", handler=guarded(on.reconciliation),
            answers={200: ReconciliationView}, codes=(Code.NOT_FOUND,),
        ),
    ]  # fmt: skip


def _reply(found: Reconciliation | Refusal) -> Reply | Refusal:
    if isinstance(found, Refusal):
        return found
    fields = {name: getattr(found, name) for name in ReconciliationView.__struct_fields__ if name not in _MADE_HERE}
    breaks = [
        BreakView(
            **{name: getattr(one, name) for name in ("key", "order_id", "payment_id", "expected", "found", "repaired")},
            kind=one.kind.value,
            repair=one.repair.value,
        )
        for one in found.breaks
    ]
    return json_reply(
        200, ReconciliationView(at=stamp(found.at_ms), verdict=found.verdict.value, breaks=breaks, **fields)
    )


_MADE_HERE = frozenset({"at", "verdict", "breaks"})
