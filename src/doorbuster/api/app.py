"""The table of all routes, and the application made of it.

Owns: which route exists, who may call it and how it can answer. Every entry is documented from here and tested from
here. Read next: `buyers.py`, `operators.py`.
"""

from typing import Final

from doorbuster.api.actions import action_routes
from doorbuster.api.auth import Buyers, is_operator
from doorbuster.api.buyers import BuyerRoutes
from doorbuster.api.dispatch import Dispatch
from doorbuster.api.external import external_routes
from doorbuster.api.external_shapes import BuyerOrderView
from doorbuster.api.fleet import fleet_routes
from doorbuster.api.gateway_news import gateway_news_routes
from doorbuster.api.keys import PublishedKeys
from doorbuster.api.line_shapes import JoinBody, PlaceView
from doorbuster.api.money import money_routes
from doorbuster.api.monitor import monitor_routes
from doorbuster.api.openapi import document
from doorbuster.api.operators import OperatorRoutes, RebuildBody
from doorbuster.api.pace import Pace
from doorbuster.api.queue import QueueRoutes
from doorbuster.api.rehearsal import rehearsal_routes
from doorbuster.api.report_shapes import ReportView
from doorbuster.api.routes import Caller, Handler, Parameter, Route, Table
from doorbuster.api.services import Services
from doorbuster.api.shapes import (
    AdminSaleView,
    AuditView,
    BlocklistAnswer,
    BlocklistBody,
    BuyerBody,
    BuyerToken,
    Health,
    MethodAnswer,
    OrderBody,
    OrderList,
    OrderView,
    PaymentAnswer,
    PaymentBody,
    SaleBody,
    SaleChange,
    SaleList,
    SaleView,
    VerbBody,
)
from doorbuster.api.shop_webhooks import webhook_routes
from doorbuster.api.system import SystemRoutes
from doorbuster.api.timeline import timeline_routes
from doorbuster.api.waitlist import waitlist_routes
from doorbuster.config import Settings
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.ports import Clock, Ids

_PAGED: Final = {
    "limit": Parameter(
        f"1 to {limits.PAGE_SIZE_MAX} rows on a page; {limits.PAGE_SIZE_DEFAULT} if left out",
        {"type": "integer", "minimum": 1, "maximum": limits.PAGE_SIZE_MAX, "default": limits.PAGE_SIZE_DEFAULT},
    ),
    "cursor": Parameter("`next_cursor` of the page before", {"type": "string", "format": "uuid"}),
}
_STATUS: Final = Parameter(
    "only orders in this state", {"type": "string", "enum": [status.value for status in OrderStatus]}
)
_LIST_REASON: Final = Parameter(
    "why, for a list in CSV; kept with the sale", {"type": "string", "maxLength": limits.REASON_LENGTH_MAX}
)
_SALE: Final = {
    "product_id": "sneaker-42",
    "title": "Sneaker 42",
    "quantity_available": 1000,
    "price_cents": 4900,
    "currency": "EUR",
    "start_time": "2030-01-01T18:00:00Z",
    "end_time": "2030-01-01T18:30:00Z",
    "mode": "race",
}
_TICKET: Final = {
    "ticket": Parameter(
        "the `ticket` of an earlier place: brings it back if the line was lost",
        {"type": "string", "maxLength": limits.TICKET_BYTES_MAX},
    ),
}
_REASON: Final = {"reason": "as agreed with the shop"}
_TAKING: Final = (
    Code.PAUSED,
    Code.NOT_STARTED,
    Code.ENDED,
    Code.BLOCKED,
    Code.NOT_ADMITTED,
    Code.ALREADY_PURCHASED,
    Code.LIMIT_EXCEEDED,
)


class Api:
    """`dispatch` answers requests; `system` is told when the gate stops."""

    def __init__(self, services: Services, settings: Settings, clock: Clock, ids: Ids) -> None:
        keys = None
        if settings.buyer_jwks_url:
            keys = PublishedKeys(settings.buyer_jwks_url, settings.buyer_audience, clock)
        buyers = self.buyers = Buyers(settings.buyer_secret.get_secret_value(), settings.buyer_audience, clock, keys)
        pace = Pace()
        self.system = SystemRoutes(services)
        buyer = BuyerRoutes(services, settings, clock, buyers, pace)
        operator = OperatorRoutes(services, settings, clock, buyers)
        table = Table(
            [
                *_buyer_routes(buyer),
                *waitlist_routes(services, clock, buyer.buyer),
                *_queue_routes(QueueRoutes(services, clock, buyers, pace)),
                *_operator_routes(operator, services, self.system),
                *rehearsal_routes(services, operator.guarded),
                *fleet_routes(services, operator.guarded),
                *monitor_routes(services, clock, operator.guarded),
                *action_routes(services, operator.guarded),
                *timeline_routes(services, operator.guarded),
                *money_routes(services, operator.guarded),
                *gateway_news_routes(services.newsroom),
                *external_routes(services, operator.guarded, _PAGED),
                *webhook_routes(services.webhooks, operator.guarded),
                *_system_routes(self.system),
            ]
        )
        self.system.openapi = document(table)
        token = settings.admin_token.get_secret_value()
        self.dispatch = Dispatch(table, services.counters, clock, ids, lambda sent: is_operator(sent, token))


def create_app(services: Services, settings: Settings, clock: Clock, ids: Ids) -> Api:
    """The application of one gate. ValueError if a secret is too short to be one."""
    return Api(services, settings, clock, ids)


def _buyer_routes(on: BuyerRoutes) -> list[Route]:
    sale, buyer, anyone = "/v1/sales/{sale_id}", Caller.BUYER, Caller.ANYONE
    return [
        Route(
            method="GET", path=sale, name="see-sale", summary="What everybody may see of a sale; cacheable for 1 s",
            caller=anyone, handler=on.sale, answers={200: SaleView},
            headers={200: {"Cache-Control": "public, for a second"}}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="POST", path=f"{sale}/orders", name="reserve", caller=buyer, handler=on.reserve,
            summary="Take units in a race: 201 means they are yours until `expires_at`, durably",
            body=OrderBody, example={"quantity": 1}, idempotent_key=True, answers={201: BuyerOrderView},
            headers={201: {"Location": "Where to read the order", "Idempotency-Replayed": "`true` if it was there"}},
            codes=(Code.NOT_FOUND, Code.IDEMPOTENCY_MISMATCH, *_TAKING, Code.SOLD_OUT, Code.ALL_HELD),
        ),
        Route(
            method="GET", path="/v1/orders/{order_id}", name="see-order", summary="One's own order", caller=buyer,
            handler=on.order, answers={200: BuyerOrderView}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="DELETE", path="/v1/orders/{order_id}", name="give-back", caller=buyer, handler=on.cancel,
            summary="Give the units back before they are paid; the next buyer gets them", answers={200: OrderView},
            codes=(Code.NOT_FOUND, Code.ORDER_CLOSED, Code.CONFLICT),
        ),
        Route(
            method="POST", path="/v1/orders/{order_id}/payment", name="pay", caller=buyer, handler=on.pay,
            summary="Pay: 200 the order is PAID, 202 the payment is under way", body=PaymentBody, idempotent_key=True,
            example={"payment_method": "pm_ok"}, answers={200: PaymentAnswer, 202: PaymentAnswer},
            codes=(Code.NOT_FOUND, Code.ORDER_CLOSED, Code.PAYMENT_DECLINED, Code.IDEMPOTENCY_MISMATCH, Code.CONFLICT),
        ),
        Route(
            method="PUT", path="/v1/payment-method", name="store-method", caller=buyer, handler=on.store_method,
            summary="Store the method that sales with payment_mode auto charge; in place of the one before",
            body=PaymentBody, example={"payment_method": "pm_ok"}, answers={200: MethodAnswer},
        ),
        Route(
            method="DELETE", path="/v1/payment-method", name="forget-method", caller=buyer, handler=on.forget_method,
            summary="Forget the stored method; an order it was charged for is not touched", answers={200: MethodAnswer},
        ),
        Route(
            method="POST", path="/v1/dev/buyers", name="dev-buyer", caller=anyone, handler=on.dev_buyer,
            summary="A buyer token for anybody who asks; only with --dev-identities", body=BuyerBody,
            example={"user_id": "ann"}, answers={201: BuyerToken}, codes=(Code.NOT_FOUND, Code.UNAUTHENTICATED),
        ),
    ]  # fmt: skip


def _queue_routes(on: QueueRoutes) -> list[Route]:
    sale, buyer, foreign = "/v1/sales/{sale_id}", Caller.BUYER, (Code.NOT_FOUND, Code.CONFLICT, Code.ENDED)
    return [
        Route(
            method="POST", path=f"{sale}/queue", name="join", caller=buyer, handler=on.join,
            summary="Join the line, or enter the draw; again by the same buyer: the same place",
            body=JoinBody, body_required=False, answers={202: PlaceView},
            codes=(*foreign, Code.FORBIDDEN, Code.NOT_STARTED, Code.BLOCKED, Code.ALREADY_PURCHASED,
                   Code.LIMIT_EXCEEDED, Code.SOLD_OUT),
        ),
        Route(
            method="GET", path=f"{sale}/queue/me", name="place", caller=buyer, handler=on.place,
            summary="One's place, and the order once granted; ask again after `poll_after_ms`",
            query=_TICKET, answers={200: PlaceView}, codes=(*foreign, Code.FORBIDDEN),
        ),
        Route(
            method="DELETE", path=f"{sale}/queue/me", name="leave", caller=buyer, handler=on.leave,
            summary="Leave the line; a unit that was granted and is not paid for goes to the next",
            answers={200: PlaceView}, codes=(*foreign, Code.ORDER_CLOSED),
        ),
        Route(
            method="GET", path=f"{sale}/draw", name="see-draw", caller=Caller.ANYONE, handler=on.draw,
            summary="What a draw has published so far, for everybody to check; `doorbuster verify draw` does it",
            answers={200: None}, codes=(Code.NOT_FOUND,),
        ),
    ]  # fmt: skip


def _operator_routes(on: OperatorRoutes, services: Services, system: SystemRoutes) -> list[Route]:
    sale = "/v1/admin/sales/{sale_id}"

    def route(method: str, path: str, name: str, summary: str, handler: Handler, **more: object) -> Route:
        return Route(
            method=method, path=path, name=name, summary=summary, handler=on.guarded(handler), caller=Caller.OPERATOR,
            **more,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip

    operating = services.operating
    verbs = (
        ("warm-up", "See to it that the sale's image is in the stock counter", operating.warm_up),
        ("open", "Start now, whatever the start time was", operating.open),
        ("pause", "Reserve nothing until resume; holds and payments go on", operating.pause),
        ("resume", "Go on after a pause", operating.resume),
        ("end", "End now; buyers who hold a unit may still pay", operating.end),
        ("abort", "End now, cancel everything reserved, refund everything paid", operating.abort),
    )
    return [
        route("POST", "/v1/admin/sales", "create-sale", "Create a sale", on.create, body=SaleBody,
              example=_SALE, answers={201: AdminSaleView}, headers={201: {"Location": "Where to read the sale"}}),
        route("GET", "/v1/admin/sales", "list-sales", "All sales, newest first", on.list_sales, query=_PAGED,
              answers={200: SaleList}),
        route("GET", sale, "read-sale", "A sale with everything the operator may see", on.read,
              answers={200: AdminSaleView}, codes=(Code.NOT_FOUND,)),
        route("PATCH", sale, "change-sale", "Change what may still change; a higher quantity is a top-up", on.change,
              body=SaleChange, example={"quantity_available": 1200, **_REASON},
              answers={200: AdminSaleView}, codes=(Code.NOT_FOUND, Code.CONFLICT)),
        *(
            route("POST", f"{sale}/{verb}", f"{verb}-sale", summary, on.verb(do), body=VerbBody, body_required=False,
                  example=_REASON, answers={200: AdminSaleView}, codes=(Code.NOT_FOUND, Code.CONFLICT))
            for verb, summary, do in verbs
        ),
        route("POST", f"{sale}/rebuild", "rebuild-sale", "Throw the sale's image away and write it anew", on.rebuild,
              body=RebuildBody, body_required=False, example=_REASON, answers={200: AdminSaleView},
              codes=(Code.NOT_FOUND, Code.CONFLICT)),
        route("POST", f"{sale}/audit", "audit-sale", "Compare the sides of the sale now", on.audit, body=VerbBody,
              body_required=False, example=_REASON, answers={200: AuditView}, codes=(Code.NOT_FOUND,)),
        route("GET", f"{sale}/audit", "latest-audit", "The latest stored audit", on.latest_audit,
              answers={200: AuditView}, codes=(Code.NOT_FOUND,)),
        route("GET", f"{sale}/report", "report-sale", "A sale in numbers, and what its forecasts were worth", on.report,
              answers={200: ReportView}, codes=(Code.NOT_FOUND,)),
        route("GET", f"{sale}/orders", "list-orders", "The sale's orders, oldest first", on.orders,
              query={**_PAGED, "status": _STATUS}, answers={200: OrderList},
              codes=(Code.NOT_FOUND,)),
        route("PUT", f"{sale}/blocklist", "set-blocklist", "Replace the accounts that may not take part; JSON or CSV",
              on.blocklist, query={"reason": _LIST_REASON}, body=BlocklistBody,
              body_bytes_max=limits.ADMIN_BODY_BYTES_MAX, csv_example="user_id\nbob\neve\n",
              example={"user_ids": ["bob", "eve"], **_REASON},
              answers={200: BlocklistAnswer}, codes=(Code.NOT_FOUND, Code.CONFLICT)),
        route("POST", "/v1/admin/orders/{order_id}/cancelled", "cancel-order", "Give an order's units back",
              on.cancelled, body=VerbBody, body_required=False, example=_REASON, answers={200: OrderView},
              codes=(Code.NOT_FOUND, Code.ORDER_CLOSED, Code.CONFLICT)),
        route("GET", "/v1/admin/gateways/{gateway}/book", "gateway-book", "The simulated gateway's own list of charges",
              on.book, answers={200: None}, codes=(Code.NOT_FOUND,)),
        route("GET", "/metrics", "metrics", "Metrics for Prometheus", system.metrics, answers={200: None},
              media="text/plain"),
    ]  # fmt: skip


def _system_routes(on: SystemRoutes) -> list[Route]:
    def route(path: str, name: str, summary: str, handler: Handler, **more: object) -> Route:
        return Route(
            method="GET", path=path, name=name, summary=summary, handler=handler, caller=Caller.ANYONE,
            **more,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip

    return [
        route("/livez", "live", "The process runs", on.live, answers={200: Health}),
        route("/readyz", "ready", "Whether to send traffic here", on.ready, answers={200: Health, 503: Health}),
        route("/openapi.json", "openapi", "This document", on.document, answers={200: None}),
        route("/docs", "docs", "This document for people", on.docs, answers={200: None}, media="text/html"),
    ]
