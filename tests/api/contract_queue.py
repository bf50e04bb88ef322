"""How the routes of the line answer: the cases that `test_contract.py` holds against the table of routes."""

from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate

Case = Callable[[Gate], Awaitable[Answer]]
HOUR_MS = 3_600_000

CASES: dict[tuple[str, str], Case] = {}


def case(route: str, *codes: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        for code in codes:
            CASES[route, code] = function
        return function

    return register


def _stamp(ms: int) -> str:
    from doorbuster.api.shapes import stamp

    return stamp(ms)


@case("join", "202")
async def _(gate: Gate) -> Answer:
    return await gate.join(await gate.line())


@case("join", "conflict")
async def _(gate: Gate) -> Answer:
    return await gate.join(gate.sale_id)


@case("place", "conflict")
async def _(gate: Gate) -> Answer:
    return await gate.place(gate.sale_id)


@case("leave", "conflict")
async def _(gate: Gate) -> Answer:
    return await gate.leave(gate.sale_id)


@case("join", "not-started")
async def _(gate: Gate) -> Answer:
    now = gate.clock.now_ms()
    return await gate.join(await gate.line(start_time=_stamp(now + 60_000), end_time=_stamp(now + HOUR_MS)))


@case("join", "blocked")
async def _(gate: Gate) -> Answer:
    sale = await gate.line()
    await gate.admin("PUT", f"/sales/{sale}/blocklist", {"user_ids": ["ann"]})
    return await gate.join(sale)


async def _owner(gate: Gate, sale: str, user: str = "ann") -> str:
    """A buyer who has paid for a unit; the order's id."""
    await gate.join(sale, user)
    await gate.admit(sale)
    order: str = (await gate.place(sale, user)).json["order"]["order_id"]
    assert (await gate.pay(order, user, key=f"pay {order}")).status == 200
    await gate.board.refresh()
    return order


@case("join", "already-purchased")
async def _(gate: Gate) -> Answer:
    sale = await gate.line()
    await _owner(gate, sale)
    return await gate.join(sale)


@case("join", "limit-exceeded")
async def _(gate: Gate) -> Answer:
    sale = await gate.line(per_user_limit=2)
    await _owner(gate, sale)
    await _owner(gate, sale)
    return await gate.join(sale)


@case("join", "sold-out")
async def _(gate: Gate) -> Answer:
    sale = await gate.line(quantity_available=1)
    await _owner(gate, sale)
    return await gate.join(sale, "bob")


async def _foreign_ticket(gate: Gate) -> tuple[str, str]:
    sale = await gate.line()
    ticket: str = (await gate.join(sale, "bob")).json["ticket"]
    return sale, ticket


@case("join", "forbidden")
async def _(gate: Gate) -> Answer:
    return await gate.join(*await _sale_user_ticket(gate))


async def _sale_user_ticket(gate: Gate) -> tuple[str, str, str]:
    sale, ticket = await _foreign_ticket(gate)
    return sale, "ann", ticket


@case("place", "forbidden")
async def _(gate: Gate) -> Answer:
    sale, ticket = await _foreign_ticket(gate)
    return await gate.place(sale, "ann", f"?ticket={ticket}")


@case("join", "invalid-request")
async def _(gate: Gate) -> Answer:
    return await gate.join(await gate.line(), "ann", "forged")


@case("place", "invalid-request")
async def _(gate: Gate) -> Answer:
    return await gate.place(await gate.line(), "ann", "?user_id=bob")


@case("place", "200")
async def _(gate: Gate) -> Answer:
    sale = await gate.line()
    await gate.join(sale)
    return await gate.place(sale)


@case("leave", "200")
async def _(gate: Gate) -> Answer:
    sale = await gate.line()
    await gate.join(sale)
    return await gate.leave(sale)


@case("leave", "order-closed")
async def _(gate: Gate) -> Answer:
    sale = await gate.line()
    await _owner(gate, sale)
    return await gate.leave(sale)


@case("see-draw", "200")
async def _(gate: Gate) -> Answer:
    now = gate.clock.now_ms()
    sale = await gate.line(mode="draw", start_time=_stamp(now + 60_000), end_time=_stamp(now + HOUR_MS))
    return await gate.call("GET", f"/v1/sales/{sale}/draw")


@case("see-draw", "not-found")
async def _(gate: Gate) -> Answer:
    return await gate.call("GET", "/v1/sales/00000000-0000-7000-8000-000000000000/draw")


@case("see-draw", "unavailable")
async def _(gate: Gate) -> Answer:
    now = gate.clock.now_ms()
    sale = await gate.line(mode="draw", start_time=_stamp(now + 60_000), end_time=_stamp(now + HOUR_MS))
    gate.cut_off()
    return await gate.call("GET", f"/v1/sales/{sale}/draw")
