"""Routes of those who wait for a sale to begin, and of those who want no more mails.

Owns: what each answers, in HTTP's words. Read next: `engine/waitlist.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec

from doorbuster.api.http import Reply, Request, json_reply
from doorbuster.api.reading import body_of, id_of
from doorbuster.api.routes import Caller, Route
from doorbuster.api.services import Services
from doorbuster.api.shapes import stamp
from doorbuster.domain.addresses import URL_LENGTH_MAX
from doorbuster.domain.notices import EMAIL_LENGTH_MAX
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.push import Subscription
from doorbuster.domain.sale import Sale
from doorbuster.engine.ports import Clock

_HTML: Final = b"text/html; charset=utf-8"
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{title}</title></head>
<body style="max-width:32rem;margin:4rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif">
<h1>{title}</h1>{body}</body></html>
"""
_ASK: Final = (
    '<p>You will get no mails about any sale any more.</p><form method="post"><button>Get no more mails</button>'
)
_ASK_PAGE: Final = _PAGE.format(title="No more mails?", body=_ASK + "</form>").encode()
_DONE_PAGE: Final = _PAGE.format(title="No more mails", body="<p>You get no mails any more.</p>").encode()


_KEY_LENGTH_MAX: Final = 200


class PushKeys(msgspec.Struct, forbid_unknown_fields=True):
    p256dh: Annotated[str, msgspec.Meta(max_length=_KEY_LENGTH_MAX)]
    auth: Annotated[str, msgspec.Meta(max_length=_KEY_LENGTH_MAX)]


class PushBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What a browser's `JSON.stringify(subscription)` says."""

    endpoint: Annotated[str, msgspec.Meta(max_length=URL_LENGTH_MAX)]
    keys: PushKeys
    expiration_time: float | None = None
    """Ignored: a browser that is gone says so when a message comes."""


class WaitlistBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where to tell a buyer before the sale, by mail, by push or both; without either a buyer is only counted."""

    email: Annotated[str, msgspec.Meta(max_length=EMAIL_LENGTH_MAX)] | None = None
    push: PushBody | None = None


class WaitlistView(msgspec.Struct, kw_only=True):
    """`page_open`: from five minutes before the start. `people` is at most two seconds old. `push_key`: what a browser
    subscribes with (its `applicationServerKey`); null if there is no web push."""

    sale_id: str
    title: str
    start_time: str
    server_time: str
    people: int
    page_open: bool
    push_key: str | None


class WaitlistAnswer(msgspec.Struct, kw_only=True):
    sale_id: str
    on_waitlist: bool
    email: bool
    push: bool
    start_time: str


class WaitlistRoutes:
    def __init__(self, services: Services, clock: Clock, buyer: Callable[[Request], Awaitable[str]]) -> None:
        self._waitlist = services.waitlist
        self._clock = clock
        self._buyer = buyer

    async def see(self, request: Request) -> Reply | Refusal:
        found = await self._waitlist.see(id_of(request, "sale_id"))
        if isinstance(found, Refusal):
            return found
        view = WaitlistView(
            sale_id=found.sale.sale_id,
            title=found.sale.title,
            start_time=stamp(found.sale.start_ms),
            server_time=stamp(self._clock.now_ms()),
            people=found.people,
            page_open=found.page_open,
            push_key=found.push_key,
        )
        return json_reply(200, view, ((b"cache-control", b"public, max-age=1"),))

    async def join(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        body = body_of(request, WaitlistBody, required=False)
        sale = await self._waitlist.join(id_of(request, "sale_id"), user_id, body.email, _subscription(body.push))
        if isinstance(sale, Refusal):
            return sale
        return json_reply(202, _answer(sale, on=True, email=body.email is not None, push=body.push is not None))

    async def leave(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        sale = await self._waitlist.leave(id_of(request, "sale_id"), user_id)
        if isinstance(sale, Refusal):
            return sale
        return json_reply(200, _answer(sale, on=False))

    async def ask_unsubscribe(self, request: Request) -> Reply | Refusal:
        """Only asks: mail programs open links on their own to look for harm."""
        found = await self._waitlist.unsubscribed(id_of(request, "token"))
        return found if isinstance(found, Refusal) else Reply(200, _DONE_PAGE if found else _ASK_PAGE, _HTML)

    async def unsubscribe(self, request: Request) -> Reply | Refusal:
        done = await self._waitlist.unsubscribe(id_of(request, "token"))
        return done if isinstance(done, Refusal) else Reply(200, _DONE_PAGE, _HTML)


def _subscription(body: PushBody | None) -> Subscription | None:
    if body is None:
        return None
    return Subscription(endpoint=body.endpoint, p256dh=body.keys.p256dh, auth=body.keys.auth)


def _answer(sale: Sale, *, on: bool, email: bool = False, push: bool = False) -> WaitlistAnswer:
    starts = stamp(sale.start_ms)
    return WaitlistAnswer(sale_id=sale.sale_id, on_waitlist=on, email=email, push=push, start_time=starts)


def waitlist_routes(services: Services, clock: Clock, buyer: Callable[[Request], Awaitable[str]]) -> list[Route]:
    """`buyer` says who calls, and keeps the pace."""
    on = WaitlistRoutes(services, clock, buyer)
    path, link = "/v1/sales/{sale_id}/waitlist", "/v1/unsubscribe/{token}"
    return [
        Route(
            method="GET", path=path, name="see-waitlist", caller=Caller.ANYONE, handler=on.see,
            summary="What a page shows to those who wait; cacheable for 1 s", answers={200: WaitlistView},
            headers={200: {"Cache-Control": "public, for a second"}}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="POST", path=path, name="join-waitlist", caller=Caller.BUYER, handler=on.join,
            summary="Be told before the sale begins; again, to change the address", body=WaitlistBody,
            body_required=False, example={"email": "ann@example.com"}, answers={202: WaitlistAnswer},
            codes=(Code.NOT_FOUND, Code.CONFLICT, Code.ENDED),
        ),
        Route(
            method="DELETE", path=path, name="leave-waitlist", caller=Caller.BUYER, handler=on.leave,
            summary="Be told nothing", answers={200: WaitlistAnswer}, codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="GET", path=link, name="ask-unsubscribe", caller=Caller.ANYONE, handler=on.ask_unsubscribe,
            summary="The page behind the link in every mail", answers={200: None}, media="text/html",
            codes=(Code.NOT_FOUND,),
        ),
        Route(
            method="POST", path=link, name="unsubscribe", caller=Caller.ANYONE, handler=on.unsubscribe,
            summary="No mail goes to this address any more", answers={200: None}, media="text/html",
            codes=(Code.NOT_FOUND,),
        ),
    ]  # fmt: skip
