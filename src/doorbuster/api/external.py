"""The routes of an existing shop: the keys its passes are checked with, and its reports.

Owns: what each answers, in HTTP's words. Read next: `engine/external.py`, `engine/passes.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from doorbuster.api.acting import actor_of
from doorbuster.api.external_shapes import (
    KeyList,
    PaidBody,
    PublishedKeyList,
    ReportedList,
    RotateKeysBody,
    key_view,
    reported_view,
)
from doorbuster.api.http import JSON, Reply, Request, json_reply
from doorbuster.api.reading import body_of, cursor_of, id_of, limit_of, query_of
from doorbuster.api.routes import Caller, Handler, Parameter, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import OrderView, order_view
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.passes import KEYS_MAX_AGE_S

_PUBLIC: Final = ((b"cache-control", b"public, max-age=%d" % KEYS_MAX_AGE_S),)
_PAID: Final = {"reference": "invoice 2030-117", "amount_cents": 4900, "currency": "EUR"}


class ExternalRoutes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def paid(self, request: Request) -> Reply | Refusal:
        """The shop has the money of an order."""
        body = body_of(request, PaidBody)
        order = await self._services.external.paid(
            id_of(request, "order_id"),
            reference=body.reference,
            amount_cents=body.amount_cents,
            currency=body.currency,
            actor=actor_of(request, body.reason),
        )
        return order if isinstance(order, Refusal) else json_reply(200, order_view(order))

    async def reports(self, request: Request) -> Reply | Refusal:
        query = query_of(request, "limit", "cursor")
        sale = await self._services.operating.read(id_of(request, "sale_id"))
        if isinstance(sale, Refusal):
            return sale
        cursor, limit = cursor_of(query), limit_of(query)
        page = await self._services.external.reports(sale.sale_id, cursor=cursor, limit=limit)
        if isinstance(page, Refusal):
            return page
        return json_reply(200, ReportedList([reported_view(row) for row in page.reports], page.next_cursor))

    async def keys(self, request: Request) -> Reply:
        del request
        found = await self._services.passes.keys()
        return json_reply(200, KeyList([key_view(key, state) for key, state in found]))

    async def rotate(self, request: Request) -> Reply:
        body = body_of(request, RotateKeysBody, required=False)
        found = await self._services.passes.rotate(actor_of(request, body.reason), leaked=body.leaked)
        return json_reply(200, KeyList([key_view(key, state) for key, state in found]))

    async def published(self, request: Request) -> Reply:
        """From memory: a shop can check passes while the ledger does not answer."""
        del request
        return Reply(200, self._services.passes.published, JSON, _PUBLIC)


def external_routes(
    services: Services, guarded: Callable[[Handler], Handler], paged: Mapping[str, Parameter]
) -> list[Route]:
    """`guarded` lets only the operator through; the shop's backend calls with the operator's token."""
    on, operator = ExternalRoutes(services), Caller.OPERATOR
    return [
        Route(
            method="GET", path="/.well-known/jwks.json", name="pass-keys", caller=Caller.ANYONE, handler=on.published,
            summary="The keys that passes are checked with (JWKS)", answers={200: PublishedKeyList},
            headers={200: {"Cache-Control": f"public, for {KEYS_MAX_AGE_S} seconds"}},
        ),
        Route(
            method="POST", path="/v1/admin/orders/{order_id}/paid", name="paid-order", caller=operator,
            summary="The shop has the money of a RESERVED order; again with the same reference: the same order",
            handler=guarded(on.paid), body=PaidBody, example=_PAID, answers={200: OrderView},
            codes=(Code.NOT_FOUND, Code.ORDER_CLOSED, Code.CONFLICT),
        ),
        Route(
            method="GET", path="/v1/admin/sales/{sale_id}/reports", name="list-reports", caller=operator,
            summary="The shop's reports that were refused, oldest first: each may be money to give back",
            handler=guarded(on.reports), query=paged, answers={200: ReportedList}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="GET", path="/v1/admin/keys", name="list-keys", caller=operator,
            summary="The keys of passes, the newest first", handler=guarded(on.keys), answers={200: KeyList},
        ),
        Route(
            method="POST", path="/v1/admin/keys/rotate", name="rotate-keys", caller=operator,
            summary="A new key for passes, published an hour before it signs; again within it: the same key",
            handler=guarded(on.rotate), body=RotateKeysBody, body_required=False,
            example={"reason": "once a quarter"}, answers={200: KeyList},
        ),
    ]  # fmt: skip
