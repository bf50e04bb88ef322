"""Tickets that are forged, foreign, used up or too late: each its code, and nothing changes."""

import base64
import json
from typing import Any

import pytest

from api.gate import Gate
from doorbuster.domain.ticket import Ticket, open_ticket, seal
from helpers.waiting import until

OTHER_KEY = b"another key, of thirty-two bytes."


async def snapshot(gate: Gate, sale: str) -> tuple[Any, ...]:
    """Everything a refused request must leave as it was."""
    image = gate.shop.stock.image(sale)
    left = dict(gate.shop.ledger.left[sale])
    return dict(image.queue), dict(image.granting), dict(image.spent), left, await gate.shop.sales.get(sale)


async def waiting(gate: Gate, **terms: object) -> tuple[str, str]:
    """A sale in which ann waits behind somebody who holds the only unit; her ticket."""
    sale = await gate.line(quantity_available=1, **terms)
    await gate.join(sale, "first")
    await gate.admit(sale)
    ticket: str = (await gate.join(sale, "ann")).json["ticket"]
    return sale, ticket


def changed(ticket: str) -> list[str]:
    """The ticket with something else in it than what was sealed."""
    body, _, mark = ticket.partition(".")
    values = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    better = base64.urlsafe_b64encode(json.dumps([*values[:3], 1, values[4]]).encode()).decode().rstrip("=")
    foreign = seal(Ticket("k1", values[1], values[2], 1, 1), OTHER_KEY)
    unknown = seal(Ticket("k9", values[1], values[2], 1, 1), OTHER_KEY)
    return [f"{better}.{mark}", f"{body}.", f"{body}.{mark[:-2]}", f"{body}.{mark}x", foreign, unknown, "a.b", "é", "."]


@pytest.mark.parametrize("number", range(9))
async def test_forged_ticket_is_not_understood(gate: Gate, number: int) -> None:
    sale, ticket = await waiting(gate)
    forged = changed(ticket)[number]
    before = await snapshot(gate, sale)

    joined = await gate.join(sale, "ann", forged)

    assert (joined.status, joined.code) == (422, "invalid-request")
    assert await snapshot(gate, sale) == before


async def test_ticket_of_another_account_is_forbidden(gate: Gate) -> None:
    sale, ticket = await waiting(gate)
    before = await snapshot(gate, sale)

    joined, asked = await gate.join(sale, "eve", ticket), await gate.place(sale, "eve", f"?ticket={ticket}")

    assert (joined.code, asked.code) == ("forbidden", "forbidden")
    assert await snapshot(gate, sale) == before


async def test_ticket_of_another_sale_is_not_understood(gate: Gate) -> None:
    _, ticket = await waiting(gate)
    other, _ = await waiting(gate)
    before = await snapshot(gate, other)

    asked = await gate.place(other, "ann", f"?ticket={ticket}")

    assert asked.code == "invalid-request"
    assert await snapshot(gate, other) == before


async def test_ticket_of_a_place_that_was_given_up_brings_nothing_back(gate: Gate) -> None:
    """Whoever comes back stands at the end."""
    sale, ticket = await waiting(gate)
    await gate.join(sale, "bob")
    await gate.leave(sale, "ann")
    before = await snapshot(gate, sale)

    asked = await gate.place(sale, "ann", f"?ticket={ticket}")

    assert (asked.status, asked.code) == (409, "conflict")
    assert await snapshot(gate, sale) == before
    again = await gate.join(sale, "ann", ticket)
    assert again.json["position"] == 2


async def test_ticket_of_a_grant_shows_the_order_and_no_second_place(gate: Gate) -> None:
    sale = await gate.line(quantity_available=2)
    ticket = (await gate.join(sale)).json["ticket"]
    await gate.admit(sale)
    before = await snapshot(gate, sale)

    again = await gate.join(sale, "ann", ticket)

    assert again.json["state"] == "granted"
    assert again.json["order"]["status"] == "RESERVED"
    assert await snapshot(gate, sale) == before


async def test_ticket_after_the_end_says_that_it_is_over(gate: Gate) -> None:
    sale, ticket = await waiting(gate)
    await gate.admin("POST", f"/sales/{sale}/end", {})

    asked, joined = await gate.place(sale, "ann", f"?ticket={ticket}"), await gate.join(sale, "ann", ticket)

    assert (asked.status, asked.json["state"], asked.json["poll_after_ms"]) == (200, "over", None)
    assert joined.code == "ended"


async def test_ticket_with_a_number_that_was_never_issued_makes_the_image_doubtful(gate: Gate) -> None:
    """A sealed number above all that were issued: the store has gone back in time, and is rebuilt, not believed."""
    sale, ticket = await waiting(gate)
    [key] = await gate.shop.lines.sealing_keys()
    known = open_ticket(ticket, {key.key_id: key.secret})
    ahead = seal(Ticket(known.key_id, known.sale_id, known.user_id, 77, known.epoch), key.secret)

    asked = await gate.place(sale, "ann", f"?ticket={ahead}")

    assert asked.code == "unavailable"

    async def doubted() -> bool:
        row = await gate.shop.sales.get(sale)
        return row is not None and "ticket" in row.rebuild_reason

    assert await until(doubted)


async def test_ticket_that_is_too_long_is_not_read(gate: Gate) -> None:
    sale, _ = await waiting(gate)

    asked = await gate.place(sale, "ann", "?ticket=" + "x" * 2_000)

    assert asked.code == "invalid-request"
