"""The operator's routes: create a sale, run it, look into it.

Owns: what each answers, in HTTP's words. Every verb is idempotent and recorded with who and why.
"""

from collections.abc import Awaitable, Callable

from doorbuster.api import acting
from doorbuster.api.auth import Buyers, is_operator
from doorbuster.api.blocklist import list_of
from doorbuster.api.http import Refused, Reply, Request, json_reply
from doorbuster.api.reading import body_of, cursor_of, id_of, invalid, limit_of, query_of
from doorbuster.api.report_shapes import composed
from doorbuster.api.routes import Handler
from doorbuster.api.services import Services
from doorbuster.api.shapes import (
    AdminSaleView,
    BlocklistAnswer,
    OrderList,
    SaleBody,
    SaleChange,
    SaleList,
    VerbBody,
    admin_sale_view,
    audit_view,
    order_view,
)
from doorbuster.config import Settings
from doorbuster.domain.audit import AuditReport
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import Actor, Clock


class RebuildBody(VerbBody, forbid_unknown_fields=True):
    """Why; kept with the sale. Nothing is done if the sale's image has been written anew since `expected_epoch`: so a
    repeat after a lost answer does no harm."""

    expected_epoch: int | None = None


class OperatorRoutes:
    """Handlers; `guarded` puts the check of the operator's token before one."""

    def __init__(self, services: Services, settings: Settings, clock: Clock, buyers: Buyers) -> None:
        self._services = services
        self._token = settings.admin_token.get_secret_value()
        self._clock = clock
        self._buyers = buyers

    def guarded(self, handler: Handler) -> Handler:
        """Only for the operator. A buyer with a good token is known, and not allowed: 403, a stranger is 401."""

        async def guard(request: Request) -> Reply | Refusal:
            authorization = request.header(b"authorization")
            if not is_operator(authorization, self._token):
                await self._buyers.identify(authorization)
                raise Refused(Refusal(Code.FORBIDDEN, "this route needs the operator's token"))
            try:
                acting.actor_of(request)
                outcome = await handler(request)
                acting.note(request, outcome)
            finally:
                acting.forget()
            return outcome

        return guard

    async def create(self, request: Request) -> Reply | Refusal:
        body = body_of(request, SaleBody)
        sale = await self._services.operating.create(body.terms(), acting.actor_of(request, "created"))
        if isinstance(sale, Refusal):
            return sale
        location = (b"location", f"/v1/admin/sales/{sale.sale_id}".encode())
        return json_reply(201, self._view(sale), (location,))

    async def list_sales(self, request: Request) -> Reply:
        query = query_of(request, "limit", "cursor")
        sales, cursor = await self._services.operating.list_sales(cursor=cursor_of(query), limit=limit_of(query))
        return json_reply(200, SaleList([self._view(sale) for sale in sales], cursor))

    async def read(self, request: Request) -> Reply | Refusal:
        return self._sale(await self._services.operating.read(id_of(request, "sale_id")))

    async def change(self, request: Request) -> Reply | Refusal:
        body = body_of(request, SaleChange)
        actor = acting.actor_of(request, body.reason)
        sale = await self._services.operating.change(
            id_of(request, "sale_id"), body.changes(), actor, expected_quantity=body.expected_quantity
        )
        return self._sale(sale)

    def verb(self, do: Callable[[str, Actor], Awaitable[Sale | Refusal]]) -> Handler:
        """The handler of one of the operator's verbs."""

        async def handle(request: Request) -> Reply | Refusal:
            body = body_of(request, VerbBody, required=False)
            return self._sale(await do(id_of(request, "sale_id"), acting.actor_of(request, body.reason)))

        return handle

    async def rebuild(self, request: Request) -> Reply | Refusal:
        body = body_of(request, RebuildBody, required=False)
        sale = await self._services.operating.rebuild(
            id_of(request, "sale_id"), acting.actor_of(request, body.reason), expected_epoch=body.expected_epoch
        )
        return self._sale(sale)

    async def audit(self, request: Request) -> Reply | Refusal:
        body = body_of(request, VerbBody, required=False)
        actor = acting.actor_of(request, body.reason)
        return _audit(await self._services.auditing.audit(id_of(request, "sale_id"), actor))

    async def latest_audit(self, request: Request) -> Reply | Refusal:
        sale_id = id_of(request, "sale_id")
        sale = await self._services.operating.read(sale_id)
        if isinstance(sale, Refusal):
            return sale
        return _audit(await self._services.auditing.latest(sale_id))

    async def orders(self, request: Request) -> Reply | Refusal:
        query = query_of(request, "limit", "cursor", "status")
        status = query.get("status")
        if status is not None and status not in {member.value for member in OrderStatus}:
            raise invalid(f"status has to be one of {', '.join(member.value for member in OrderStatus)}")
        sale = await self._services.operating.read(id_of(request, "sale_id"))
        if isinstance(sale, Refusal):
            return sale
        page = await self._services.ordering.page(
            sale.sale_id,
            status=OrderStatus(status) if status else None,
            cursor=cursor_of(query),
            limit=limit_of(query),
        )
        if isinstance(page, Refusal):
            return page
        return json_reply(200, OrderList([order_view(order) for order in page.orders], page.next_cursor))

    async def blocklist(self, request: Request) -> Reply | Refusal:
        sale_id = id_of(request, "sale_id")
        users, reason = await list_of(request)
        result = await self._services.operating.set_blocklist(sale_id, users, acting.actor_of(request, reason))
        if isinstance(result, Refusal):
            return result
        return json_reply(200, BlocklistAnswer(result.added, result.removed, result.total))

    async def cancelled(self, request: Request) -> Reply | Refusal:
        """An order's units given back on somebody's behalf."""
        body = body_of(request, VerbBody, required=False)
        actor = acting.actor_of(request, body.reason)
        order = await self._services.external.cancelled(id_of(request, "order_id"), actor)
        return order if isinstance(order, Refusal) else json_reply(200, order_view(order))

    async def book(self, request: Request) -> Reply:
        """The simulated gateway's own book: the witness that knows nothing of us."""
        if request.parameters["gateway"] != "simulated" or self._services.book is None:
            raise Refused(Refusal(Code.NOT_FOUND, "there is no such gateway whose book could be shown"))
        return json_reply(200, {"charges": await self._services.book()})

    async def report(self, request: Request) -> Reply | Refusal:
        sale_id = id_of(request, "sale_id")
        kept = await self._services.reporting.kept(sale_id)
        if isinstance(kept, Refusal):
            return kept
        if kept is not None and kept.report.get("final"):
            return json_reply(200, kept.report)
        report = await composed(self._services.reporting, sale_id)
        return report if isinstance(report, Refusal) else json_reply(200, report)

    def _view(self, sale: Sale) -> AdminSaleView:
        return admin_sale_view(sale, self._clock.now_ms(), self._services.watch.waiting(sale))

    def _sale(self, sale: Sale | Refusal) -> Reply | Refusal:
        if isinstance(sale, Refusal):
            return sale
        return json_reply(200, self._view(sale))


def _audit(report: AuditReport | Refusal) -> Reply | Refusal:
    return report if isinstance(report, Refusal) else json_reply(200, audit_view(report))
