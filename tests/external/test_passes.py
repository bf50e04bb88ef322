"""Who gets a pass and who does not, what it costs, and what becomes of it when a store is silent. In memory."""

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from api.gate import Answer, Gate
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.passes import claims_of
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.external import External
from doorbuster.engine.ports import Actor
from doorbuster.reference.faults import Fault, Faults, faulty

Body = dict[str, Any]


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    await gate.start()
    yield gate
    await gate.stop()


async def external(gate: Gate, **terms: Any) -> str:
    sale_id: str = (await gate.create(**{"payment_mode": "external", **terms})).json["sale_id"]
    await gate.board.refresh()
    return sale_id


async def read(gate: Gate, order: Answer, user: str = "ann") -> Body:
    path = f"/v1/orders/{order.json['order_id']}"
    return (await gate.call("GET", path, token=gate.token(user))).json


async def test_refused_buyers_cost_no_signature(gate: Gate) -> None:
    sale = await external(gate)
    for user in ("u1", "u2", "u3"):
        assert (await gate.order(user, sale=sale)).status == 201
    before = gate.passes.signed

    answers = [await gate.order(f"late {number}", sale=sale) for number in range(50)]

    assert {answer.code for answer in answers} == {"all-held"}
    assert gate.passes.signed == before == 3


async def test_sale_that_is_paid_here_has_no_passes(gate: Gate) -> None:
    for mode in ("checkout", "auto"):
        sale = await external(gate, payment_mode=mode)
        order = await gate.order(sale=sale)

        assert order.status == 201
        assert "pass" not in order.json
        assert "pass" not in await read(gate, order)
    assert gate.passes.signed == 0


async def test_order_that_waits_for_no_money_has_no_pass(gate: Gate) -> None:
    sale = await external(gate, per_user_limit=3)
    paid, cancelled = await gate.order(sale=sale, key="one"), await gate.order(sale=sale, key="two")
    assert "pass" in paid.json
    assert "pass" in cancelled.json

    await gate.admin("POST", f"/orders/{paid.json['order_id']}/paid", {"reference": "invoice 1"})
    await gate.admin("POST", f"/orders/{cancelled.json['order_id']}/cancelled")

    assert [(body["status"], "pass" in body) for body in (await read(gate, paid), await read(gate, cancelled))] == [
        ("PAID", False),
        ("CANCELLED", False),
    ]
    again = await gate.order(sale=sale, key="one")
    assert (again.json["status"], "pass" in again.json) == ("PAID", False)


async def test_operator_sees_orders_without_passes(gate: Gate) -> None:
    """The list is of no use for buying."""
    sale = await external(gate)
    await gate.order(sale=sale)

    orders = (await gate.admin("GET", f"/sales/{sale}/orders")).json["orders"]

    assert [order["status"] for order in orders] == ["RESERVED"]
    assert all("pass" not in order for order in orders)


async def test_somebody_elses_pass_is_not_shown(gate: Gate) -> None:
    sale = await external(gate)
    order = await gate.order("ann", sale=sale)

    answer = await gate.call("GET", f"/v1/orders/{order.json['order_id']}", token=gate.token("eve"))

    assert (answer.status, "pass" in answer.json) == (404, False)


async def test_polls_do_not_sign(gate: Gate) -> None:
    sale = await external(gate, mode="queue")
    await gate.join(sale)
    await gate.admit(sale)

    passes = {(await gate.place(sale)).json["pass"] for _ in range(30)}

    assert len(passes) == 1
    assert gate.passes.signed == 1


async def test_waiting_buyer_has_no_pass(gate: Gate) -> None:
    sale = await external(gate, mode="queue", quantity_available=1)
    for user in ("ann", "bob"):
        await gate.join(sale, user)
    await gate.admit(sale)

    assert "pass" in (await gate.place(sale, "ann")).json
    assert "pass" not in (await gate.place(sale, "bob")).json
    assert "pass" not in (await gate.leave(sale, "ann")).json


async def test_pass_ends_no_later_than_the_hold(gate: Gate) -> None:
    """A hold that ends at …,999 has a pass that ends up to a second earlier."""
    sale_id = await external(gate)
    gate.clock.advance_ms(1_999 - gate.clock.now_ms() % 1_000)
    order = await gate.order(sale=sale_id)
    row, sale = await gate.shop.orders.get(order.json["order_id"]), await gate.shop.sales.get(sale_id)
    assert row is not None
    assert sale is not None

    claims = jwt.decode(order.json["pass"], options={"verify_signature": False})

    assert row.expires_ms % 1_000 == 999
    assert claims == claims_of(sale, row, issuer="doorbuster", audience="shop")
    assert claims["exp"] * 1_000 <= row.expires_ms < claims["exp"] * 1_000 + 1_000


async def test_repeat_with_the_same_key_has_the_same_pass(gate: Gate) -> None:
    sale = await external(gate)

    first, again = await gate.order(sale=sale), await gate.order(sale=sale)

    assert again.headers[b"idempotency-replayed"] == b"true"
    assert again.json["pass"] == first.json["pass"]


async def test_audience_and_issuer_are_settings() -> None:
    gate = Gate(pass_audience="https://shop.example", pass_issuer="https://sale.example")
    await gate.start()
    order = await gate.order(sale=await external(gate))

    claims = jwt.decode(order.json["pass"], options={"verify_signature": False})

    assert (claims["iss"], claims["aud"]) == ("https://sale.example", "https://shop.example")
    await gate.stop()


async def test_unit_is_told_without_a_pass_while_no_key_is_known() -> None:
    """The order is durable: nothing of it may depend on a signature."""
    gate = Gate()
    gate.committer.start()
    sale = await external(gate)

    order = await gate.order(sale=sale)

    assert (order.status, "pass" in order.json) == (201, False)
    await gate.passes.refresh()
    assert "pass" in await read(gate, order)
    await gate.stop()


async def test_silent_ledger_takes_no_keys_away(gate: Gate) -> None:
    before = (await gate.call("GET", "/.well-known/jwks.json")).raw
    gate.cut_off()

    answer = await gate.call("GET", "/.well-known/jwks.json")

    assert (answer.status, answer.raw) == (200, before)
    assert answer.headers[b"cache-control"] == b"public, max-age=300"


async def test_report_whose_answer_was_lost_is_repeated_safely(gate: Gate) -> None:
    """The commit happened, the reply did not come: the shop is told to ask again, and gets its order."""
    faults = Faults()
    order_id = (await gate.order(sale=await external(gate))).json["order_id"]
    desk = External(faulty(gate.shop.reports, faults), gate.services.ordering, gate.ids)
    faults.script("paid", Fault.REPLY_LOST)

    lost, again = [
        await desk.paid(order_id, reference="invoice 1", amount_cents=None, currency=None, actor=Actor(name="operator"))
        for _ in range(2)
    ]

    assert isinstance(lost, Refusal)
    assert lost.code is Code.UNAVAILABLE
    assert isinstance(again, Order)
    assert again.status is OrderStatus.PAID
    assert len(gate.shop.payments.rows) == 1


async def test_unknown_fields_and_wrong_types_of_a_report_are_refused(gate: Gate) -> None:
    order = await gate.order(sale=await external(gate))
    path = f"/orders/{order.json['order_id']}/paid"
    bodies: list[Body] = [
        {},
        {"reference": 7},
        {"reference": "a", "amount": 1},
        {"reference": "a", "amount_cents": -1},
        {"reference": "a", "amount_cents": 1.5},
        {"reference": "a", "amount_cents": 2**70},
        {"reference": "a", "currency": "euro"},
        {"reference": "a", "currency": "eur"},
    ]

    answers = [await gate.admin("POST", path, body) for body in bodies]

    assert {answer.code for answer in answers} == {"invalid-request"}
    assert (await read(gate, order))["status"] == "RESERVED"
