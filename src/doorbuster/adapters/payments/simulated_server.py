"""A payment gateway to sell against without money: an HTTP server with a durable book of its own.

Owns: what each test payment method does, and what a call means for a charge. Keeps: its own promises as a witness: a
key is authorized once, captured at most once and whole, and a void is final, also of a key never heard of.
It shares nothing with the shop but HTTP, so it can be killed, cut off and compared with. Read next: `simulated.py`,
the adapter that talks to it.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
import uvicorn
import uvloop

from doorbuster.adapters.payments.simulated_book import Book, BookBrokenError, BookLine, Entry
from doorbuster.adapters.payments.simulated_chaos import BEFORE, CUTS, ERRORS, SLOW_S, Chaos, Trouble
from doorbuster.adapters.payments.simulated_sender import Sender

SLOW_METHOD_S: Final = 2.0
BODY_BYTES_MAX: Final = 16 * 1024

DECLINES: Final = {"pm_declined": "card_declined", "pm_insufficient_funds": "insufficient_funds"}
APPROVED: Final = frozenset({"pm_ok", "pm_slow", "pm_timeout_after", "pm_capture_fails", "pm_action_required"})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ChargeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every call about a charge carries; the key is in the path."""

    order_id: str
    amount_cents: int
    currency: str
    payment_method: str
    sale_id: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`state` is what the charge is after the call: authorized, declined, action_required, captured, refunded, voided,
    absent, capture_refused, or error (the call itself was wrong or failed)."""

    state: str
    ref: str = ""
    amount_cents: int = 0
    currency: str = ""
    reason: str = ""
    refunded_cents: int = 0
    data: dict[str, str] = {}


class _Listing(msgspec.Struct, frozen=True):
    charges: list[BookLine]


_STATUS: Final = {"declined": 402, "capture_refused": 402, "absent": 404}


class SimulatedGatewayApp:
    """The ASGI application. `delay_ms` delays every call by up to that long, by a rule of the seed and the key;
    `chaos` decides what else happens to a call, and `sender` tells the shop what became of charges."""

    def __init__(
        self,
        book: Book,
        *,
        seed: int = 0,
        delay_ms: int = 0,
        chaos: Chaos | None = None,
        sender: Sender | None = None,
    ) -> None:
        self._book = book
        self._seed = seed
        self._delay_ms = delay_ms
        self._chaos = chaos or Chaos(seed=seed)
        self._sender = sender
        self._bodies = msgspec.json.Decoder(ChargeBody)
        self._encoder = msgspec.json.Encoder()
        self._verbs = {"capture": self._capture, "void": self._void, "refund": self._refund, "action": self._act}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].strip("/").split("/")
        key = path[2] if path[:2] == ["v1", "charges"] and len(path) > 2 else ""
        trouble = self._chaos.of_call(key, f"{scope['method']} {path[3:]}") if key else Trouble.NONE
        try:
            answer = None
            if trouble not in BEFORE:
                if trouble is Trouble.SLOW:
                    await asyncio.sleep(SLOW_S * self._chaos.share(key, "slow"))
                answer = await self._route(scope, path, receive)
                await self._book.synced()
                self._tell(key)
        except msgspec.MsgspecError as problem:
            answer = 400, Reply(state="error", reason=str(problem))
        except BookBrokenError:
            answer = 500, Reply(state="error", reason="the book cannot be written")
        if trouble in ERRORS:
            answer = 500, Reply(state="error", reason="internal error")
        if trouble in CUTS:
            await _cut(send)
        elif trouble in (Trouble.SILENT_BEFORE, Trouble.SILENT_AFTER):
            await _until_gone(receive)
        elif answer is not None:
            await self._send(send, *answer)

    def _tell(self, key: str) -> None:
        entry = self._book.get(key)
        if entry is not None and self._sender is not None:
            self._sender.about(entry)

    async def _route(self, scope: Scope, path: list[str], receive: Receive) -> tuple[int, Reply | _Listing] | None:
        """Status and body; None when the caller is never to be answered."""
        match scope["method"], path:
            case "POST", ["v1", "charges", key]:
                return await self._authorize(key, await self._body(receive), receive)
            case "POST", ["v1", "charges", key, verb] if verb in self._verbs:
                body = await self._body(receive)
                await self._delay(key, verb)
                return self._verbs[verb](key, body, _key_of(scope))
            case "GET", ["v1", "charges", key]:
                return self._shown(key)
            case "GET", ["v1", "orders", order_id, "charges"]:
                return 200, _Listing(self._book.of_order(order_id))
            case "GET", ["book"]:
                asked = parse_qs(scope["query_string"].decode("latin-1")).get("sale_id")
                return 200, _Listing(self._book.lines(asked[0] if asked else None))
            case "GET", ["livez"]:
                return 200, Reply(state="alive")
            case _:
                return 404, Reply(state="error", reason="no such route")

    async def _authorize(self, key: str, body: ChargeBody, receive: Receive) -> tuple[int, Reply] | None:
        await self._delay(key, "authorize")
        method = body.payment_method
        if method == "pm_slow" and self._book.get(key) is None:
            await asyncio.sleep(SLOW_METHOD_S)
        entry = self._book.get(key)
        if entry is not None:
            if _asked(entry) != body and not entry.tombstone:
                return 409, Reply(state="error", reason="this key was used for another charge")
            return self._shown(key)
        if method == "pm_error":
            return 500, Reply(state="error", reason="internal error")
        if method == "pm_timeout_before":
            return await _until_gone(receive)
        refused = "" if method in APPROVED else DECLINES.get(method, "invalid_payment_method")
        if method in APPROVED and self._chaos.declines(key):
            refused = "card_declined"
        self._book.put(
            _entry(
                key,
                body,
                authorized=not refused and method != "pm_action_required",
                declined=refused,
                action=not refused and method == "pm_action_required",
            )
        )
        if method == "pm_timeout_after":
            await self._book.synced()
            self._tell(key)
            return await _until_gone(receive)
        return self._shown(key)

    def _capture(self, key: str, body: ChargeBody, own_key: str) -> tuple[int, Reply]:
        entry = self._book.get(key)
        if entry is None or not entry.authorized or entry.voided:
            return 402, Reply(state="capture_refused", reason="not_authorized")
        if entry.payment_method == "pm_capture_fails":
            return 402, Reply(state="capture_refused", reason="capture_failed")
        if _asked(entry) != body:
            return 409, Reply(state="error", reason="this is not what was authorized")
        if entry.captured_cents and entry.capture_key != own_key:
            return 409, Reply(state="error", reason="captured already, under another key")
        if not entry.captured_cents:
            self._book.put(msgspec.structs.replace(entry, captured_cents=entry.amount_cents, capture_key=own_key))
        return self._shown(key)

    def _void(self, key: str, body: ChargeBody, own_key: str) -> tuple[int, Reply]:
        del own_key  # a void is the same whoever asks for it
        entry = self._book.get(key)
        if entry is None:
            self._book.put(_entry(key, body, voided=True, tombstone=True))  # a late authorization meets this
        elif entry.declined:
            return 200, Reply(state="voided")
        elif not entry.captured_cents and not entry.voided:
            self._book.put(msgspec.structs.replace(entry, voided=True, action=False))
        return self._shown(key)

    def _refund(self, key: str, body: ChargeBody, own_key: str) -> tuple[int, Reply]:
        del body
        entry = self._book.get(key)
        if entry is None or not entry.captured_cents:
            return 409, Reply(state="error", reason="nothing was captured")
        if entry.refunded_cents and entry.refund_key != own_key:
            return 409, Reply(state="error", reason="refunded already, under another key")
        if not entry.refunded_cents:
            self._book.put(msgspec.structs.replace(entry, refunded_cents=entry.captured_cents, refund_key=own_key))
        return 200, Reply(state="refunded", ref=self._ref(key))

    def _act(self, key: str, body: ChargeBody, own_key: str) -> tuple[int, Reply]:
        """What the buyer does in the gateway's own window."""
        del body, own_key
        entry = self._book.get(key)
        if entry is not None and entry.action:
            self._book.put(msgspec.structs.replace(entry, authorized=True, action=False))
        return self._shown(key)

    def _shown(self, key: str) -> tuple[int, Reply]:
        entry = self._book.get(key)
        if entry is None:
            return 404, Reply(state="absent")
        state = _state(entry)
        return _STATUS.get(state, 200), Reply(
            state=state,
            ref=self._ref(key),
            amount_cents=entry.captured_cents or entry.amount_cents,
            currency=entry.currency,
            reason=entry.declined,
            refunded_cents=entry.refunded_cents,
            data={"confirm": f"/v1/charges/{key}/action"} if entry.action else {},
        )

    def _ref(self, key: str) -> str:
        return "sim_" + hashlib.sha256(f"{self._seed}|{key}".encode()).hexdigest()[:24]

    async def _delay(self, key: str, what: str) -> None:
        if self._delay_ms:
            drawn = hashlib.sha256(f"{self._seed}|{key}|{what}".encode()).digest()
            await asyncio.sleep(int.from_bytes(drawn[:4]) % (self._delay_ms + 1) / 1000)

    async def _body(self, receive: Receive) -> ChargeBody:
        content = b""
        while True:
            message = await receive()
            content += message.get("body", b"")
            if len(content) > BODY_BYTES_MAX:
                raise msgspec.ValidationError("the body is too large")
            if not message.get("more_body"):
                return self._bodies.decode(content)

    async def _send(self, send: Send, status: int, body: Reply | _Listing) -> None:
        content = self._encoder.encode(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _key_of(scope: Scope) -> str:
    """The call's own idempotency key."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"), "")


def _entry(key: str, body: ChargeBody, **state: Any) -> Entry:
    return Entry(idempotency_key=key, **msgspec.structs.asdict(body), **state)


def _asked(entry: Entry) -> ChargeBody:
    return ChargeBody(
        order_id=entry.order_id,
        amount_cents=entry.amount_cents,
        currency=entry.currency,
        payment_method=entry.payment_method,
        sale_id=entry.sale_id,
    )


def _state(entry: Entry) -> str:
    if entry.captured_cents:
        return "refunded" if entry.refunded_cents else "captured"
    if entry.voided:
        return "voided"
    if entry.declined:
        return "declined"
    return "action_required" if entry.action else "authorized"


async def _cut(send: Send) -> None:
    """Begin an answer and break it off: the server closes a connection that owes more than it got."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})


async def _until_gone(receive: Receive) -> None:
    """Never answer: wait until the caller has given up."""
    while (await receive())["type"] != "http.disconnect":
        continue


class _Server(uvicorn.Server):
    """Says where it listens once it does, and ends like a program when it is told to: with its files closed."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


def run(
    host: str,
    port: int,
    book_path: Path,
    *,
    seed: int = 0,
    delay_ms: int = 0,
    chaos: Chaos | None = None,
    webhook_url: str = "",
    webhook_secret: str = "",
    port_file: Path | None = None,
    announce_fd: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. With port 0 the system picks one; the port is written, followed by a newline, to
    `port_file` and `announce_fd` once calls are answered. Webhooks are sent if there is an address for them."""
    listener = socket.create_server((host, port), backlog=2048, reuse_port=False)

    def announce() -> None:
        line = f"{listener.getsockname()[1]}\n"
        if port_file is not None:
            draft = port_file.with_name(port_file.name + ".new")
            draft.write_text(line)
            draft.replace(port_file)
        if announce_fd is not None:
            os.write(announce_fd, line.encode())
            os.close(announce_fd)

    async def serve() -> None:
        book = Book(book_path)
        trouble = chaos or Chaos(seed=seed)
        sender = None
        if webhook_url:
            sender = Sender(webhook_url, webhook_secret, book_path.with_name(book_path.name + ".sent"), trouble)
            sender.start(book.entries())
        try:
            config = uvicorn.Config(
                SimulatedGatewayApp(book, seed=seed, delay_ms=delay_ms, chaos=trouble, sender=sender),
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
            await _Server(config, announce).serve(sockets=[listener])
        finally:
            if sender is not None:
                await sender.stop()
            await book.close()

    uvloop.run(serve())
