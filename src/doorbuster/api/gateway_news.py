"""The door for a payment gateway's own news.

Owns: how a delivery is read: whole, as the bytes that were signed. 200 only after the commit. Read next:
`engine/news.py`.
"""

import msgspec

from doorbuster.api.http import Refused, Reply, Request, json_reply
from doorbuster.api.routes import Caller, Route
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.news import Newsroom, Word

BODY_BYTES_MAX = 64 * 1024
"""Events of common gateways are a few kilobytes."""


class NewsAnswer(msgspec.Struct):
    """`heard`: kept, and gone to look. `known`: delivered before; nothing was done."""

    outcome: str


class NewsRoutes:
    def __init__(self, newsroom: Newsroom) -> None:
        self._newsroom = newsroom

    async def payments(self, request: Request) -> Reply | Refusal:
        if request.body_too_large:
            raise Refused(Refusal(Code.INVALID_REQUEST, f"an event has at most {BODY_BYTES_MAX} bytes"))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        word = await self._newsroom.hear(request.parameters["gateway"], headers, request.body)
        return json_reply(200, NewsAnswer(word.value)) if isinstance(word, Word) else word


def gateway_news_routes(newsroom: Newsroom) -> list[Route]:
    on = NewsRoutes(newsroom)
    return [
        Route(
            method="POST", path="/v1/webhooks/payments/{gateway}", name="hear-gateway", caller=Caller.ANYONE,
            summary="A payment gateway's news; the signature is checked on the raw bytes", handler=on.payments,
            body_bytes_max=BODY_BYTES_MAX, answers={200: NewsAnswer},
            codes=(Code.NOT_FOUND, Code.UNAUTHENTICATED, Code.INVALID_REQUEST),
        ),
    ]  # fmt: skip
