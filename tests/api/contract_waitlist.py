"""How the routes of those who wait for a sale answer: cases that `test_contract.py` holds against the table."""

import uuid
from collections.abc import Awaitable, Callable

from api.gate import Answer, Gate
from day.browsers import Browser
from doorbuster.api.http import Request
from doorbuster.api.shapes import stamp
from doorbuster.domain.notices import Channel, NoticeKind

PUSH = "https://push.example.com/ann"
Case = Callable[[Gate], Awaitable[Answer]]

CASES: dict[tuple[str, str], Case] = {}
PATHS: dict[str, tuple[str, str, object]] = {
    "see-waitlist": ("GET", "/v1/sales/{sale}/waitlist", None),
    "join-waitlist": ("POST", "/v1/sales/{sale}/waitlist", {"email": "ann@example.com"}),
    "ask-unsubscribe": ("GET", "/v1/unsubscribe/00000000-0000-7000-8000-000000000000", None),
    "unsubscribe": ("POST", "/v1/unsubscribe/00000000-0000-7000-8000-000000000000", None),
    "leave-waitlist": ("DELETE", "/v1/sales/{sale}/waitlist", None),
}
ANYONE = "see-waitlist ask-unsubscribe unsubscribe"
BUYER = "join-waitlist leave-waitlist"
WITH_BODY = "join-waitlist"
NO_SALE = "see-waitlist join-waitlist leave-waitlist"
LINK = "/v1/unsubscribe/{token}"


def case(route: str, code: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[route, code] = function
        return function

    return register


async def _waiting(gate: Gate) -> str:
    """A sale that begins tomorrow, with ann on its list."""
    start = gate.clock.now_ms() + 86_400_000
    sale_id: str = (
        await gate.admin("POST", "/sales", gate.terms(start_time=stamp(start), end_time=stamp(start + 60_000)))
    ).json["sale_id"]
    answer = await gate.call("POST", f"/v1/sales/{sale_id}/waitlist", {"email": "ann@example.com"}, token=gate.token())
    assert answer.status == 202
    return sale_id


async def _token(gate: Gate) -> str:
    sale_id = await _waiting(gate)
    await gate.shop.waitlist.queue(sale_id, NoticeKind.HOUR, gate.clock.now_ms() + 1_000)
    [notice] = await gate.shop.waitlist.claim("lease", Channel.MAIL, lease_ms=1_000, limit=1)
    return notice.token


@case("see-waitlist", "200")
async def _(gate: Gate) -> Answer:
    sale_id = await _waiting(gate)
    await gate.services.waitlist.refresh()
    answer = await gate.call("GET", f"/v1/sales/{sale_id}/waitlist")
    assert (answer.json["people"], answer.json["page_open"], answer.json["push_key"]) == (1, False, "key")
    return answer


@case("join-waitlist", "202")
async def _(gate: Gate) -> Answer:
    sale_id = await _waiting(gate)
    answer = await gate.call("POST", f"/v1/sales/{sale_id}/waitlist", {"push": Browser(PUSH).json}, token=gate.token())
    assert (answer.json["email"], answer.json["push"]) == (False, True)
    return answer


@case("join-waitlist", "invalid-request")
async def _(gate: Gate) -> Answer:
    """A browser of a push service that nobody named."""
    sale_id = await _waiting(gate)
    elsewhere = {"push": Browser("https://169.254.169.254/latest").json}
    answer = await gate.call("POST", f"/v1/sales/{sale_id}/waitlist", elsewhere, token=gate.token())
    assert "169.254.169.254" in answer.json["detail"]
    assert not await gate.shop.waitlist.queue(sale_id, NoticeKind.HOUR, gate.clock.now_ms() + 1_000) > 1
    return answer


@case("leave-waitlist", "200")
async def _(gate: Gate) -> Answer:
    sale_id = await _waiting(gate)
    return await gate.call("DELETE", f"/v1/sales/{sale_id}/waitlist", token=gate.token())


@case("join-waitlist", "conflict")
async def _(gate: Gate) -> Answer:
    return await gate.call("POST", f"/v1/sales/{gate.sale_id}/waitlist", token=gate.token())


@case("join-waitlist", "ended")
async def _(gate: Gate) -> Answer:
    await gate.admin("POST", f"/sales/{gate.sale_id}/end")
    return await gate.call("POST", f"/v1/sales/{gate.sale_id}/waitlist", token=gate.token())


@case("ask-unsubscribe", "200")
async def _(gate: Gate) -> Answer:
    answer = await gate.call("GET", LINK.format(token=await _token(gate)))
    assert b"<button>" in answer.raw
    return answer


@case("unsubscribe", "200")
async def _(gate: Gate) -> Answer:
    """As mail programs do it (RFC 8058): with a form of one field."""
    token = await _token(gate)
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    one_click = Request("POST", LINK.format(token=token), b"", form, b"List-Unsubscribe=One-Click")
    answer = Answer(await gate.api.dispatch.answer(one_click))
    assert b"no mails any more" in (await gate.call("GET", LINK.format(token=token))).raw
    return answer


@case("ask-unsubscribe", "not-found")
async def _(gate: Gate) -> Answer:
    return await gate.call("GET", LINK.format(token=uuid.uuid4()))


@case("unsubscribe", "not-found")
async def _(gate: Gate) -> Answer:
    return await gate.call("POST", LINK.format(token=uuid.uuid4()))
