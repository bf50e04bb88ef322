"""Talks to the simulated gateway over HTTP, as an adapter to a real one would.

Owns: the translation of its replies, and what a silence means: not connected is "not executed", anything after that is
"unknown". One deadline per call. Keeps: the port's promise that a gateway's trouble is an answer, not an exception.
Read next: `engine/payment_ports.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from doorbuster import tracing
from doorbuster.adapters.payments.simulated_book import BookLine
from doorbuster.adapters.payments.simulated_news import SIGNATURE_HEADER, read
from doorbuster.engine.payment_ports import (
    Absent,
    ActionRequired,
    Authorized,
    BookEntry,
    Captured,
    CaptureRefused,
    Charge,
    Declined,
    Found,
    News,
    NoAnswer,
    NotExecuted,
    NotNews,
    Refunded,
    Unknown,
    Voided,
)
from doorbuster.engine.ports import StoreUnavailable

CALL_S: Final = 3.0
"""Deadline of one call; a slow method takes two seconds."""
CALLS_MAX: Final = 128
"""Calls out at once, each on a connection of its own. More wait here, before their deadline begins to run: a crowd
that opened hundreds of connections at once would time out at that."""
BOOK_S: Final = 30.0


class _Reply(msgspec.Struct, frozen=True):
    state: str
    ref: str = ""
    amount_cents: int = 0
    currency: str = ""
    reason: str = ""
    refunded_cents: int = 0
    data: Mapping[str, str] = {}


class _Listing(msgspec.Struct, frozen=True):
    charges: list[BookLine]


class SimulatedGateway:
    """`url` is where `doorbuster gateway` listens; `secrets` may sign its webhooks, any of them. Connections are opened
    as needed and kept. Close it with `close`."""

    name = "simulated"
    default_method = "pm_ok"

    def __init__(self, url: str, *, secrets: Sequence[str] = (), call_s: float = CALL_S) -> None:
        self._url = url.rstrip("/")
        self._secrets = tuple(secrets)
        self._timeout = aiohttp.ClientTimeout(total=call_s)
        self._slots = asyncio.Semaphore(CALLS_MAX)
        self._session: aiohttp.ClientSession | None = None
        self._encoder = msgspec.json.Encoder()
        self._replies = msgspec.json.Decoder(_Reply)

    async def authorize(self, charge: Charge) -> Authorized | Declined | ActionRequired | NoAnswer:
        reply = await self._call("POST", f"/v1/charges/{charge.key}", charge, charge.key)
        match reply:
            case _Reply(state="authorized" | "captured"):
                return Authorized(ref=reply.ref, amount_cents=reply.amount_cents, currency=reply.currency)
            case _Reply(state="action_required"):
                return ActionRequired(data=self._action(reply))
            case _Reply(state="declined"):
                return Declined(reason=reply.reason)
            case _Reply(state="voided"):
                return Declined(reason="voided")
            case _Reply():
                return _unexpected(reply)
            case _:
                return reply

    async def capture(self, charge: Charge, key: str) -> Captured | CaptureRefused | NoAnswer:
        reply = await self._call("POST", f"/v1/charges/{charge.key}/capture", charge, key)
        match reply:
            case _Reply(state="captured" | "refunded"):
                return Captured(ref=reply.ref, amount_cents=reply.amount_cents, currency=reply.currency)
            case _Reply(state="capture_refused"):
                return CaptureRefused(reason=reply.reason)
            case _Reply():
                return _unexpected(reply)
            case _:
                return reply

    async def void(self, charge: Charge, key: str) -> Voided | Captured | NoAnswer:
        reply = await self._call("POST", f"/v1/charges/{charge.key}/void", charge, key)
        match reply:
            case _Reply(state="voided"):
                return Voided()
            case _Reply(state="captured" | "refunded"):
                return Captured(ref=reply.ref, amount_cents=reply.amount_cents, currency=reply.currency)
            case _Reply():
                return _unexpected(reply)
            case _:
                return reply

    async def refund(self, charge: Charge, key: str) -> Refunded | NoAnswer:
        reply = await self._call("POST", f"/v1/charges/{charge.key}/refund", charge, key)
        match reply:
            case _Reply(state="refunded"):
                return Refunded()
            case _Reply():
                return _unexpected(reply)
            case _:
                return reply

    async def look_up(self, charge: Charge) -> Found:
        reply = await self._call("GET", f"/v1/charges/{charge.key}")
        match reply:
            case _Reply(state="authorized"):
                return Authorized(ref=reply.ref, amount_cents=reply.amount_cents, currency=reply.currency)
            case _Reply(state="captured" | "refunded"):
                return Captured(
                    ref=reply.ref,
                    amount_cents=reply.amount_cents,
                    currency=reply.currency,
                    refunded_cents=reply.refunded_cents,
                )
            case _Reply(state="action_required"):
                return ActionRequired(data=self._action(reply))
            case _Reply(state="declined"):
                return Declined(reason=reply.reason)
            case _Reply(state="voided"):
                return Voided()
            case _Reply(state="absent"):
                return Absent()
            case _Reply():
                return _unexpected(reply)
            case _:
                return reply

    async def whole_book(self) -> list[BookLine]:
        """Every charge the gateway has. Raises StoreUnavailable if it does not say."""
        return await self._list("/book")

    async def book(self, sale_id: str) -> AsyncIterator[BookEntry]:
        for line in await self._list(f"/book?sale_id={sale_id}"):
            yield BookEntry(
                key=line.idempotency_key,
                order_id=line.order_id,
                amount_cents=line.amount_cents,
                currency=line.currency,
                authorized=line.authorized,
                captured_cents=line.captured_cents,
                refunded_cents=line.refunded_cents,
                voided=line.voided,
            )

    def read_news(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> News | NotNews:
        return read(headers.get(SIGNATURE_HEADER, ""), body, self._secrets, now_ms)

    async def charges_of(self, order_id: str) -> list[BookLine]:
        """Every charge of one order, under whatever keys. Raises StoreUnavailable if the gateway does not say."""
        return await self._list(f"/v1/orders/{order_id}/charges")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _action(self, reply: _Reply) -> dict[str, str]:
        return {name: self._url + path for name, path in reply.data.items()}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
            )
        return self._session

    async def _call(self, method: str, path: str, charge: Charge | None = None, key: str = "") -> _Reply | NoAnswer:
        content, headers = None, None
        if charge is not None:
            headers = {"Content-Type": "application/json", "Idempotency-Key": key}
            content = self._encoder.encode(
                {
                    "sale_id": charge.sale_id,
                    "order_id": charge.order_id,
                    "amount_cents": charge.amount_cents,
                    "currency": charge.currency,
                    "payment_method": charge.payment_method,
                }
            )
        try:
            url = URL(self._url + path, encoded=True)
            with tracing.part(f"gateway {method}", alone=True):
                async with self._slots, self._open().request(method, url, data=content, headers=headers) as response:
                    body = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as problem:
            return NotExecuted(detail=type(problem).__name__)
        except (aiohttp.ClientError, TimeoutError) as problem:
            return Unknown(detail=type(problem).__name__)
        if response.status >= 500:
            return Unknown(detail=f"status {response.status}")
        try:
            return self._replies.decode(body)
        except msgspec.MsgspecError:
            return Unknown(detail=f"status {response.status} with an unreadable body")

    async def _list(self, path: str) -> list[BookLine]:
        try:
            timeout = aiohttp.ClientTimeout(total=BOOK_S)
            async with self._open().get(self._url + path, timeout=timeout) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise StoreUnavailable(f"the gateway's book could not be read: {type(problem).__name__}") from problem
        if response.status != 200:
            raise StoreUnavailable(f"the gateway's book could not be read: status {response.status}")
        return msgspec.json.decode(body, type=_Listing).charges


def _unexpected(reply: _Reply) -> Unknown:
    return Unknown(detail=f"{reply.state}: {reply.reason}")
