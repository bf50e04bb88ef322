"""The stock store on Valkey: implements `engine.ports.StockStore`.

Owns: which call belongs to which method, and cutting long lists into calls of bounded work.
Keeps: I1, I5, I6 and I12 by the functions it calls. Read next: `functions/take.lua`, `takes.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Self, TypeVar

import msgspec

from doorbuster.adapters.valkey import functions
from doorbuster.adapters.valkey.address import read_address
from doorbuster.adapters.valkey.calls import Answer, Calls, CallStatistics, OtherServer
from doorbuster.adapters.valkey.functions import ROWS_MAX
from doorbuster.adapters.valkey.keys import NAMES, Name, sale_keys
from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.node import read_info
from doorbuster.adapters.valkey.records import read_hold
from doorbuster.adapters.valkey.takes import Takes
from doorbuster.adapters.valkey.wire import Part
from doorbuster.domain import limits
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageHead, ImageSummary, ImageTerms
from doorbuster.engine.ports import (
    Ask,
    InvariantViolation,
    Release,
    Taken,
    TakenOne,
)

_T = TypeVar("_T")
_CALLS_AT_ONCE: Final = 4
"""Of a long list; buyers' calls wait behind these, so some milliseconds of the server's work and no more."""
_BUILDS_KNOWN: Final = 1_024
"""Builds remembered; far above what one rebuilder has under way."""


class ValkeyStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the counts of this store since it was made."""

    calls: CallStatistics
    asks: int
    """Asks that went through `take_one`, in this many batches:"""
    batches: int


class ValkeyStockStore:
    """One per process. Made with `connect`; ended with `close`."""

    def __init__(self, url: str, bounds: Limits | None = None) -> None:
        self._calls = Calls(read_address(url), bounds or Limits())
        self._takes = Takes(self._calls)
        self._builds: dict[str, tuple[int, str]] = {}

    @classmethod
    async def connect(cls, url: str, bounds: Limits | None = None) -> Self:
        """A store that keeps itself connected until it is closed.

        Returns when the first attempt to connect is over, also when it failed: the store goes on trying, and every
        call meanwhile raises StoreUnavailable with the cause. ValueError: the URL is malformed."""
        store = cls(url, bounds)
        await store._calls.routes.start()
        return store

    async def close(self) -> None:
        """Ends the connections. Calls under way fail with OutcomeUnknown."""
        await self._takes.close()
        await self._calls.close()

    async def load_library(self) -> None:
        """Load this release's function library beside those of other releases. Idempotent; also done by itself when
        a server turns out not to have it."""
        await self._calls.load_library()

    def statistics(self) -> ValkeyStatistics:
        return ValkeyStatistics(calls=self._calls.statistics(), asks=self._takes.asks, batches=self._takes.batches)

    # ------------------------------------------------------------------------------------------------ taking

    async def take(self, sale_id: str, asks: Sequence[Ask], *, now_ms: int, epoch_min: int) -> Taken:
        if len(asks) > limits.TAKE_BATCH_MAX:
            message = f"{len(asks)} asks in one batch; at most {limits.TAKE_BATCH_MAX} are decided in one step"
            raise ValueError(message)
        arguments = functions.take_arguments(asks, now_ms=now_ms, epoch_min=epoch_min)
        return functions.read_taken(await self.fcall(sale_id, "take", arguments), asks)

    def take_one(self, sale_id: str, ask: Ask, now_ms: int, epoch_min: int) -> asyncio.Future[TakenOne]:
        """The answer to one ask; the asks of one turn of the event loop leave as one batch per sale.

        To be awaited, and may be cancelled at any time. Fails as `take` does, and with ValueError if this ask cannot be
        sent; the others of its batch go on."""
        return self._takes.take_one(sale_id, ask, now_ms, epoch_min)

    async def confirm(self, sale_id: str, hold_ids: Sequence[str], *, epoch: int) -> int:
        confirmed = 0
        for part in _parts(hold_ids):
            word, numbers = functions.fields(await self.fcall(sale_id, "confirm", [epoch, *part]), "confirm")
            if word != "confirmed":
                return 0
            confirmed += functions.number(numbers)
        return confirmed

    async def release(self, sale_id: str, releases: Sequence[Release], *, epoch: int) -> int | None:
        units = 0
        for part in _parts(releases):
            arguments = functions.release_arguments(part, epoch=epoch)
            word, numbers = functions.fields(await self.fcall(sale_id, "release", arguments), "release")
            if word != "released":
                return None
            units += functions.number(numbers)
        return units

    # ------------------------------------------------------------------------------------------------ steering

    async def set_available(self, sale_id: str, available: int, *, epoch: int) -> bool:
        return await self._word(sale_id, "set_available", [epoch, available]) in ("changed", "same")

    async def set_terms(self, sale_id: str, terms: ImageTerms, *, epoch: int) -> bool:
        arguments = [epoch, *functions.terms_arguments(terms)]
        return await self._word(sale_id, "set_terms", arguments) in ("changed", "same")

    async def block(self, sale_id: str, user_ids: Sequence[str], *, epoch: int) -> bool:
        return await self._each_part(sale_id, "block", user_ids, epoch=epoch)

    async def unblock(self, sale_id: str, user_ids: Sequence[str], *, epoch: int) -> bool:
        return await self._each_part(sale_id, "unblock", user_ids, epoch=epoch)

    # ------------------------------------------------------------------------------------------------ reading

    async def summary(self, sale_id: str) -> ImageSummary | None:
        return functions.read_summary(await self.fcall(sale_id, "summary", []))

    async def pending_before(self, sale_id: str, before_ms: int, limit: int) -> Sequence[Hold]:
        window: list[Part] = ["-inf", f"({before_ms}", "LIMIT", 0, limit]
        hold_ids = _bytes_list(await self._on_key(sale_id, "ZRANGEBYSCORE", "pending", window))
        found: list[Hold] = []
        for part in _parts(hold_ids):
            records = _optional_list(await self._on_key(sale_id, "HMGET", "holds", list(part)))
            # A hold released between the two reads has no record any more.
            found += [
                read_hold(hold_id, record) for hold_id, record in zip(part, records, strict=True) if record is not None
            ]
        return found

    async def holds(self, sale_id: str) -> AsyncIterator[Sequence[Hold]]:
        cursor = b"0"
        while True:
            answer = await self._on_key(sale_id, "HSCAN", "holds", [cursor, "COUNT", ROWS_MAX])
            cursor, flat = _scan_page(answer)
            if flat:
                yield [read_hold(hold_id, record) for hold_id, record in zip(flat[::2], flat[1::2], strict=True)]
            if cursor == b"0":
                return

    async def claims(self, sale_id: str, user_ids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for part in _parts(user_ids):
            units = _optional_list(await self._on_key(sale_id, "HMGET", "claims", list(part)))
            found.update({user_id: int(value) for user_id, value in zip(part, units, strict=True) if value is not None})
        return found

    async def run_id(self, sale_id: str) -> str:
        # A call on a key of the sale, so that the answer is from the server that has it, and from the living.
        return (await self._on_key(sale_id, "EXISTS", "meta", [])).run_id

    # ------------------------------------------------------------------------------------------------ building

    async def begin_image(self, sale_id: str, epoch: int) -> bool:
        answer = await self.fcall(sale_id, "begin_image", [epoch])
        if functions.fields(answer, "begin_image")[0] != "begun":
            return False
        # A server that restarts meanwhile may have lost part of what is written, so the rest of the build is for this
        # process only (S4).
        while len(self._builds) >= _BUILDS_KNOWN:
            del self._builds[next(iter(self._builds))]
        self._builds[sale_id] = (epoch, answer.run_id)
        return True

    async def write_image(self, sale_id: str, epoch: int, chunk: ImageChunk) -> bool:
        for arguments in functions.image_calls(epoch, chunk):
            answer = await self._build_call(sale_id, epoch, "write_image", arguments)
            if answer is None or functions.fields(answer, "write_image")[0] != "written":
                return False
        return True

    async def publish_image(self, sale_id: str, epoch: int, head: ImageHead) -> str | None:
        answer = await self._build_call(sale_id, epoch, "publish_image", functions.head_arguments(epoch, head))
        if answer is None or functions.fields(answer, "publish_image")[0] != "published":
            return None
        return answer.run_id

    async def drop_image(self, sale_id: str) -> None:
        others = list(sale_keys(sale_id).some(*NAMES[1:]))
        await self._on_key(sale_id, "UNLINK", NAMES[0], others)

    async def memory(self, sale_id: str) -> tuple[int, int]:
        """Bytes used by the server that has this sale, and how many it may use, without a limit those of its machine;
        0: it does not say."""
        answer = await self._calls.run(sale_keys(sale_id).slot, ("INFO", "memory"))
        info = read_info(answer.reply)
        return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))

    # ------------------------------------------------------------------------------------------------ calling

    @property
    def calls(self) -> Calls:
        """The connections, for the line beside the stock."""
        return self._calls

    async def first_of(self, sale_id: str, name: Name, limit: int) -> list[bytes]:
        """The first members of a sorted set and their scores, one after the other."""
        return _bytes_list(await self._on_key(sale_id, "ZRANGE", name, [0, limit - 1, "WITHSCORES"]))

    async def fcall(self, sale_id: str, name: str, arguments: Sequence[Part], *, only_run_id: str = "") -> Answer:
        """One function of the library on one sale."""
        command = (*functions.head(sale_id, name), *arguments)
        return await self._calls.run(sale_keys(sale_id).slot, command, only_run_id=only_run_id)

    async def _on_key(self, sale_id: str, command: str, name: Name, arguments: Sequence[Part]) -> Answer:
        keys = sale_keys(sale_id)
        return await self._calls.run(keys.slot, (command, keys.names[name], *arguments))

    async def _word(self, sale_id: str, name: str, arguments: Sequence[Part]) -> str:
        return functions.fields(await self.fcall(sale_id, name, arguments), name)[0]

    async def _each_part(self, sale_id: str, name: str, user_ids: Sequence[str], *, epoch: int) -> bool:
        """A few calls under way at once: the server works on one while the next is packed."""
        parts = list(_parts(user_ids))
        for at in range(0, len(parts), _CALLS_AT_ONCE):
            some = parts[at : at + _CALLS_AT_ONCE]
            words = await asyncio.gather(*(self._word(sale_id, name, [epoch, *part]) for part in some))
            if not {"no_image", "other_epoch"}.isdisjoint(words):
                return False
        return True

    async def _build_call(self, sale_id: str, epoch: int, name: str, arguments: Sequence[Part]) -> Answer | None:
        """None: the server that began this build is not the one that has the sale now."""
        build_epoch, run_id = self._builds.get(sale_id, (epoch, ""))
        try:
            return await self.fcall(sale_id, name, arguments, only_run_id=run_id if build_epoch == epoch else "")
        except OtherServer:
            return None


def _parts(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The rows in slices that one call may carry."""
    for at in range(0, len(rows), ROWS_MAX):
        yield rows[at : at + ROWS_MAX]


def _optional_list(answer: Answer) -> list[bytes | None]:
    if isinstance(answer.reply, list):
        return [value if isinstance(value, bytes) else None for value in answer.reply]
    raise InvariantViolation(f"valkey answered {answer.reply!r} where a list belongs")


def _bytes_list(answer: Answer) -> list[bytes]:
    return [value for value in _optional_list(answer) if value is not None]


def _scan_page(answer: Answer) -> tuple[bytes, list[bytes]]:
    match answer.reply:
        case [bytes() as cursor, list() as flat]:
            return cursor, [value for value in flat if isinstance(value, bytes)]
        case _:
            raise InvariantViolation(f"valkey answered {answer.reply!r} to a scan")
