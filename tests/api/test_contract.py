"""Every route with every code it says it can answer. The last test holds the list against the table of routes."""

from collections.abc import Awaitable, Callable

import pytest

from api import contract_parts
from api.contract_parts import CASES, Case
from api.gate import ADMIN, Answer, Gate
from doorbuster.api.openapi import codes_of
from doorbuster.domain.outcomes import RULES, Code
from doorbuster.engine.ports import Actor

NOBODY = "00000000-0000-7000-8000-000000000000"


def case(route: str, *codes: str) -> Callable[[Case], Case]:
    """This request to this route answers with this code (or status, for a success)."""

    def register(function: Case) -> Case:
        for code in codes:
            assert (route, code) not in CASES
            CASES[route, code] = function
        return function

    return register


def cases_for(routes: str, code: str, make: Callable[[str], Case]) -> None:
    """The same case for several routes."""
    for route in routes.split():
        CASES[route, code] = make(route)


# ---------------------------------------------------------------------------------------- how each route is called

PATHS: dict[str, tuple[str, str, object]] = {
    "see-sale": ("GET", "/v1/sales/{sale}", None),
    "reserve": ("POST", "/v1/sales/{sale}/orders", {"quantity": 1}),
    "join": ("POST", "/v1/sales/{sale}/queue", None),
    "place": ("GET", "/v1/sales/{sale}/queue/me", None),
    "leave": ("DELETE", "/v1/sales/{sale}/queue/me", None),
    "see-order": ("GET", "/v1/orders/{order}", None),
    "give-back": ("DELETE", "/v1/orders/{order}", None),
    "pay": ("POST", "/v1/orders/{order}/payment", {"payment_method": "pm_ok"}),
    "dev-buyer": ("POST", "/v1/dev/buyers", {"user_id": "ann"}),
    "create-sale": ("POST", "/v1/admin/sales", None),
    "list-sales": ("GET", "/v1/admin/sales", None),
    "read-sale": ("GET", "/v1/admin/sales/{sale}", None),
    "change-sale": ("PATCH", "/v1/admin/sales/{sale}", {"title": "Other"}),
    "warm-up-sale": ("POST", "/v1/admin/sales/{sale}/warm-up", {}),
    "open-sale": ("POST", "/v1/admin/sales/{sale}/open", {}),
    "pause-sale": ("POST", "/v1/admin/sales/{sale}/pause", {}),
    "resume-sale": ("POST", "/v1/admin/sales/{sale}/resume", {}),
    "end-sale": ("POST", "/v1/admin/sales/{sale}/end", {}),
    "abort-sale": ("POST", "/v1/admin/sales/{sale}/abort", {}),
    "rebuild-sale": ("POST", "/v1/admin/sales/{sale}/rebuild", {}),
    "audit-sale": ("POST", "/v1/admin/sales/{sale}/audit", {}),
    "latest-audit": ("GET", "/v1/admin/sales/{sale}/audit", None),
    "report-sale": ("GET", "/v1/admin/sales/{sale}/report", None),
    "list-orders": ("GET", "/v1/admin/sales/{sale}/orders", None),
    "set-blocklist": ("PUT", "/v1/admin/sales/{sale}/blocklist", {"user_ids": ["bob"]}),
    "cancel-order": ("POST", "/v1/admin/orders/{order}/cancelled", {}),
    "refund-order": ("POST", "/v1/admin/orders/{order}/refund", {}),
    "reconcile-sale": ("POST", "/v1/admin/sales/{sale}/reconcile", {}),
    "latest-reconciliation": ("GET", "/v1/admin/sales/{sale}/reconciliation", None),
    "store-method": ("PUT", "/v1/payment-method", {"payment_method": "pm_ok"}),
    "forget-method": ("DELETE", "/v1/payment-method", None),
    "gateway-book": ("GET", "/v1/admin/gateways/simulated/book", None),
    "metrics": ("GET", "/metrics", None),
    **contract_parts.PATHS,
}
BUYER = "reserve join place leave see-order give-back pay store-method forget-method " + contract_parts.BUYER
OPERATOR = (
    "create-sale list-sales read-sale change-sale warm-up-sale open-sale pause-sale resume-sale end-sale abort-sale "
    "rebuild-sale audit-sale latest-audit report-sale list-orders set-blocklist cancel-order gateway-book metrics "
    "refund-order reconcile-sale latest-reconciliation paid-order list-reports list-keys rotate-keys "
    + contract_parts.OPERATOR
)


async def call(gate: Gate, route: str, *, token: str | None = None, sale: str = "", order: str = NOBODY) -> Answer:
    """The route as a well-meaning caller uses it."""
    method, path, body = PATHS[route]
    if route == "create-sale":
        body = gate.terms()
    if token is None:
        token = gate.token() if route in BUYER.split() else ADMIN
    path = path.format(sale=sale or gate.sale_id, order=order)
    return await gate.call(method, path, body, token=token, key="key of the test")


async def begun(gate: Gate) -> str:
    """The id of an order of ann's."""
    order: str = (await gate.order()).json["order_id"]
    return order


# ---------------------------------------------------------------------------------------- callers who are not let in


def _stranger(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        return await call(gate, route, token="not a token")

    return ask


def _buyer_as_operator(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        return await call(gate, route, token=gate.token())

    return ask


def _too_fast(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        answer = await call(gate, route)
        for _ in range(70):
            answer = await call(gate, route)
        return answer

    return ask


def _store_down(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        order = await begun(gate) if "order" in PATHS[route][1] else NOBODY

        gate.cut_off()
        return await call(gate, route, order=order)

    return ask


cases_for(f"{BUYER} {OPERATOR}", "unauthenticated", _stranger)
cases_for(OPERATOR, "forbidden", _buyer_as_operator)
cases_for(BUYER, "rate-limited", _too_fast)
cases_for(f"see-sale {contract_parts.ANYONE} {BUYER} {OPERATOR}".replace(" metrics", ""), "unavailable", _store_down)


def _no_sale(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        return await call(gate, route, sale=NOBODY)

    return ask


def _bad_body(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        method, path, _ = PATHS[route]
        order = await begun(gate) if "order" in path else ""
        token = gate.token() if route in BUYER.split() else ADMIN
        path = path.format(sale=gate.sale_id, order=order)
        return await gate.call(method, path, {"unknown": 1}, token=token, key="another")

    return ask


def _bad_query(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        return await gate.call("GET", PATHS[route][1].format(sale=gate.sale_id) + "?limit=0", token=ADMIN)

    return ask


def _over(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        await gate.admin("POST", f"/sales/{gate.sale_id}/end", {})
        return await call(gate, route)

    return ask


def _without_key(route: str) -> Case:
    async def ask(gate: Gate) -> Answer:
        method, path, body = PATHS[route]
        path = path.format(sale=gate.sale_id, order=NOBODY)
        return await gate.call(method, path, body, token=gate.token())

    return ask


cases_for(
    "see-sale reserve join place leave read-sale change-sale warm-up-sale open-sale pause-sale resume-sale end-sale "
    "abort-sale rebuild-sale audit-sale latest-audit report-sale list-orders set-blocklist see-order give-back pay "
    "cancel-order refund-order reconcile-sale latest-reconciliation paid-order list-reports " + contract_parts.NO_SALE,
    "not-found",
    _no_sale,
)
cases_for(
    "reserve pay dev-buyer create-sale change-sale warm-up-sale open-sale pause-sale resume-sale end-sale abort-sale "
    "rebuild-sale audit-sale set-blocklist cancel-order store-method refund-order reconcile-sale paid-order "
    "rotate-keys " + contract_parts.WITH_BODY,
    "invalid-request",
    _bad_body,
)
cases_for(f"list-sales list-orders list-reports {contract_parts.BY_PAGE}", "invalid-request", _bad_query)
cases_for("change-sale warm-up-sale open-sale pause-sale resume-sale rebuild-sale set-blocklist", "conflict", _over)
cases_for("reserve join place leave", "ended", _over)
cases_for("reserve pay", "idempotency-key-missing", _without_key)


@case("end-sale", "conflict")
async def _(gate: Gate) -> Answer:
    await call(gate, "abort-sale")
    return await call(gate, "end-sale")


@case("abort-sale", "conflict")
async def _(gate: Gate) -> Answer:
    await call(gate, "end-sale")
    return await call(gate, "abort-sale")


# ---------------------------------------------------------------------------------------- taking a unit


@case("reserve", "201")
async def _(gate: Gate) -> Answer:
    return await gate.order()


@case("reserve", "idempotency-mismatch")
async def _(gate: Gate) -> Answer:
    sale = (await gate.create(per_user_limit=2)).json["sale_id"]
    await gate.order(sale=sale, quantity=1)
    return await gate.order(sale=sale, quantity=2)


@case("reserve", "paused")
async def _(gate: Gate) -> Answer:
    await call(gate, "pause-sale")
    return await gate.order()


@case("reserve", "not-started")
async def _(gate: Gate) -> Answer:
    now = gate.clock.now_ms()
    sale = (await gate.create(start_time=_time(now + 60_000), end_time=_time(now + 120_000))).json["sale_id"]
    return await gate.order(sale=sale)


@case("reserve", "blocked")
async def _(gate: Gate) -> Answer:
    await gate.admin("PUT", f"/sales/{gate.sale_id}/blocklist", {"user_ids": ["ann"]})
    return await gate.order()


@case("reserve", "not-admitted")
async def _(gate: Gate) -> Answer:
    import msgspec

    from doorbuster.domain.sale import SaleMode

    row = await gate.shop.sales.get(gate.sale_id)
    assert row is not None
    gate.board.put(msgspec.structs.replace(row, mode=SaleMode.QUEUE, updated_ms=row.updated_ms + 1))
    return await gate.order()


@case("reserve", "already-purchased")
async def _(gate: Gate) -> Answer:
    await gate.order(key="one")
    return await gate.order(key="two")


@case("reserve", "limit-exceeded")
async def _(gate: Gate) -> Answer:
    sale = (await gate.create(per_user_limit=2)).json["sale_id"]
    await gate.order(sale=sale, key="one", quantity=2)
    return await gate.order(sale=sale, key="two", quantity=1)


async def _take_all(gate: Gate, *, pay: bool) -> Answer:
    for user in ("u1", "u2", "u3"):
        order = await gate.order(user)
        if pay:
            await gate.pay(order.json["order_id"], user)
    await gate.board.refresh()
    return await gate.order("late")


@case("reserve", "all-held")
async def _(gate: Gate) -> Answer:
    return await _take_all(gate, pay=False)


@case("reserve", "sold-out")
async def _(gate: Gate) -> Answer:
    return await _take_all(gate, pay=True)


# ---------------------------------------------------------------------------------------- orders and payment


def _own(route: str, status: int) -> None:
    @case(route, str(status))
    async def _(gate: Gate) -> Answer:
        return await call(gate, route, order=await begun(gate))


_own("see-order", 200)
_own("give-back", 200)
_own("pay", 200)
_own("cancel-order", 200)


async def _paid(gate: Gate) -> str:
    order = await begun(gate)
    assert (await gate.pay(order)).status == 200
    return order


cases_for("give-back cancel-order", "order-closed", lambda route: lambda gate: _then(gate, route, _paid(gate)))


async def _then(gate: Gate, route: str, order: Awaitable[str]) -> Answer:
    return await call(gate, route, order=await order)


async def _under_way(gate: Gate) -> str:
    """An order whose payment waits for the buyer at the gateway."""
    order = await begun(gate)
    assert (await gate.pay(order, method="pm_action_required")).status == 202
    return order


cases_for("give-back cancel-order", "conflict", lambda route: lambda gate: _then(gate, route, _under_way(gate)))


@case("pay", "202")
async def _(gate: Gate) -> Answer:
    return await gate.pay(await begun(gate), method="pm_action_required")


@case("pay", "order-closed")
async def _(gate: Gate) -> Answer:
    order = await begun(gate)
    await gate.call("DELETE", f"/v1/orders/{order}", token=gate.token())
    return await gate.pay(order)


@case("pay", "payment-declined")
async def _(gate: Gate) -> Answer:
    return await gate.pay(await begun(gate), method="pm_declined")


@case("pay", "idempotency-mismatch")
async def _(gate: Gate) -> Answer:
    order = await begun(gate)
    await gate.pay(order, method="pm_declined")
    return await gate.pay(order, method="pm_ok")


@case("pay", "conflict")
async def _(gate: Gate) -> Answer:
    sale = (await gate.create(payment_mode="external")).json["sale_id"]
    order = (await gate.order(sale=sale)).json["order_id"]
    return await gate.pay(order)


# ---------------------------------------------------------------------------------------- the rest


def _simple(route: str, status: int) -> None:
    @case(route, str(status))
    async def _(gate: Gate) -> Answer:
        return await call(gate, route)


for _route in (
    "see-sale list-sales read-sale change-sale warm-up-sale open-sale pause-sale end-sale abort-sale rebuild-sale "
    "audit-sale report-sale list-orders set-blocklist gateway-book metrics"
).split():
    _simple(_route, 200)
_simple("create-sale", 201)
_simple("dev-buyer", 201)


@case("resume-sale", "200")
async def _(gate: Gate) -> Answer:
    await call(gate, "pause-sale")
    return await call(gate, "resume-sale")


@case("latest-audit", "200")
async def _(gate: Gate) -> Answer:
    await call(gate, "audit-sale")
    return await call(gate, "latest-audit")


for _name, _path in (("live", "/livez"), ("ready", "/readyz"), ("openapi", "/openapi.json"), ("docs", "/docs")):

    def _open(path: str) -> Case:
        return lambda gate: gate.call("GET", path)

    CASES[_name, "200"] = _open(_path)


def _time(ms: int) -> str:
    from doorbuster.api.shapes import stamp

    return stamp(ms)


@pytest.mark.parametrize(("route", "outcome"), sorted(CASES))
async def test_route_answers_as_documented(gate: Gate, route: str, outcome: str) -> None:
    """The status, the problem document and the headers that belong to the code."""
    answer = await CASES[route, outcome](gate)

    if outcome.isdigit():
        assert (answer.status, answer.code) == (int(outcome), ""), answer.raw
        return
    rule = RULES[Code(outcome)]
    assert (answer.status, answer.code) == (rule.status, outcome), answer.raw
    assert answer.content_type == "application/problem+json"
    document = answer.json
    assert document["title"] == rule.title
    assert document["type"] == f"urn:doorbuster:problem:{outcome}"
    assert document["detail"]
    assert document["advice"]
    if rule.retry == "after":
        assert int(answer.headers[b"retry-after"]) >= 1
    if outcome == "unauthenticated":
        assert answer.headers[b"www-authenticate"].startswith(b"Bearer")


def test_every_documented_answer_has_a_case() -> None:
    """A code that is documented for a route and never seen from it is a lie or a hole in the tests."""
    gate = Gate()

    documented = {
        (route.name, outcome)
        for route in gate.api.dispatch.table.routes
        for outcome in (*map(str, route.answers), *(code.value for code in codes_of(route)))
    }

    assert documented == CASES.keys()


async def test_actor_and_reason_are_kept(gate: Gate) -> None:
    """Each verb is recorded with who and why."""
    await gate.admin("POST", f"/sales/{gate.sale_id}/pause", {"reason": "the site is slow"})

    assert any(action.actor == Actor(name="operator", reason="the site is slow") for action in gate.shop.ledger.actions)
