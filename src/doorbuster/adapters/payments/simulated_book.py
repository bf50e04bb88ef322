"""The simulated gateway's memory: what became of every charge, kept in a file of its own.

Owns: the states of a charge at the gateway and their durability. An answer leaves only after everything it rests on is
on disk; calls that come together share one flush. The file has one line per change and the last line of a charge is
what it is; a line cut short by a crash was never answered and is dropped. One process at a time has the file.
Knows nothing of HTTP or of orders. Read next: `simulated_server.py`.
"""

import asyncio
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, kw_only=True):
    """A charge as the gateway has it; never changed in place. `tombstone`: voided before it was ever heard of."""

    idempotency_key: str
    order_id: str
    amount_cents: int
    currency: str
    payment_method: str
    authorized: bool = False
    declined: str = ""
    action: bool = False
    captured_cents: int = 0
    capture_key: str = ""
    refunded_cents: int = 0
    refund_key: str = ""
    voided: bool = False
    tombstone: bool = False
    sale_id: str = ""
    """Empty in what books of earlier releases have."""


class BookLine(msgspec.Struct, frozen=True, kw_only=True):
    """A charge as it is shown to whoever compares the book with the orders."""

    idempotency_key: str
    order_id: str
    amount_cents: int
    currency: str
    authorized: bool
    captured_cents: int
    refunded_cents: int
    voided: bool


class BookBrokenError(Exception):
    """The file could not be written: what memory says is no longer what a restart would find."""


class Book:
    """Use inside one event loop. `get`, `of_order` and `lines` read; `put` changes; `synced` makes it last."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise
        self._entries: dict[str, Entry] = {}
        self._by_order: dict[str, list[str]] = {}
        self._encoder = msgspec.json.Encoder()
        self._pending: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._broken = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="book")
        self._load()

    def _load(self) -> None:
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.ftruncate(self._fd, whole)
        decoder = msgspec.json.Decoder(Entry)
        for line in content[:whole].splitlines():
            self._remember(decoder.decode(line))

    def _remember(self, entry: Entry) -> None:
        if entry.idempotency_key not in self._entries:
            self._by_order.setdefault(entry.order_id, []).append(entry.idempotency_key)
        self._entries[entry.idempotency_key] = entry

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def of_order(self, order_id: str) -> list[BookLine]:
        return [_shown(self._entries[key]) for key in self._by_order.get(order_id, []) if _is_shown(self._entries[key])]

    def lines(self, sale_id: str | None = None) -> list[BookLine]:
        """Every charge ever asked for and answered, declined ones included; of one sale, or of all."""
        return [
            _shown(entry)
            for entry in self._entries.values()
            if _is_shown(entry) and (sale_id is None or entry.sale_id == sale_id)
        ]

    def entries(self) -> list[Entry]:
        """Everything there is, tombstones included."""
        return list(self._entries.values())

    def put(self, entry: Entry) -> None:
        """Change a charge in memory and queue the line; `synced` before telling anyone."""
        self._remember(entry)
        self._pending.append(self._encoder.encode(entry) + b"\n")

    async def synced(self) -> None:
        """Returns when everything put so far is on disk."""
        if self._broken:
            raise BookBrokenError
        if self._pending:
            loop = asyncio.get_running_loop()
            if self._waiting is None:
                self._waiting = loop.create_future()
            if self._writing is None:
                self._writing = loop.create_task(self._write())
            await asyncio.shield(self._waiting)
        elif self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        """What gathers while one flush is under way goes out with the next."""
        loop = asyncio.get_running_loop()
        try:
            while self._pending:
                lines, self._pending = self._pending, []
                waiting, self._waiting = self._waiting, None
                try:
                    await loop.run_in_executor(self._thread, self._flush, b"".join(lines))
                except OSError as problem:
                    self._broken = True
                    for future in (waiting, self._waiting):
                        if future is not None:
                            future.set_exception(BookBrokenError(str(problem)))
                    return
                if waiting is not None:
                    waiting.set_result(None)
        finally:
            self._writing = None

    def _flush(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fdatasync(self._fd)

    async def close(self) -> None:
        if not self._broken:
            await self.synced()
        self._thread.shutdown()
        os.close(self._fd)


def _is_shown(entry: Entry) -> bool:
    return not entry.tombstone and not entry.action


def _shown(entry: Entry) -> BookLine:
    return BookLine(
        idempotency_key=entry.idempotency_key,
        order_id=entry.order_id,
        amount_cents=entry.amount_cents,
        currency=entry.currency,
        authorized=entry.authorized,
        captured_cents=entry.captured_cents,
        refunded_cents=entry.refunded_cents,
        voided=entry.voided,
    )
