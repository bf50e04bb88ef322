"""The line on Valkey: implements `engine.line_ports.LineStore`.

Owns: which call belongs to which method, and what the replies mean. Keeps: I10 by the functions it calls.
It shares the connections of the stock store. Read next: `functions/ask.lua`, `functions/grant.lua`.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from doorbuster.adapters.valkey import functions
from doorbuster.adapters.valkey.calls import Answer
from doorbuster.adapters.valkey.records import SEPARATOR, check_texts
from doorbuster.adapters.valkey.store import ValkeyStockStore
from doorbuster.adapters.valkey.turns import Lane, Turns
from doorbuster.adapters.valkey.wire import Part
from doorbuster.domain import limits
from doorbuster.engine.line_ports import (
    Grant,
    Granting,
    GrantWord,
    LineAsk,
    LineNews,
    LineWord,
    NewsItem,
    NewsKind,
    Spot,
)
from doorbuster.engine.ports import InvariantViolation

Waiting = Sequence[tuple[LineAsk, "asyncio.Future[Spot]"]]

_BARE: Final = {word.value.encode(): word for word in LineWord}
"""Words that come alone. Those with more after them are longer, so they are not found here."""
_PLACED: Final = frozenset({LineWord.WAITING, LineWord.GRANTING, LineWord.JOINED})
_GRANT_WIDTH: Final = 4


class Asks(Turns[LineAsk, Spot]):
    """The asks of one turn of the event loop, in one call per sale."""

    name = "ask"

    def ask_one(self, sale_id: str, ask: LineAsk, now_ms: int, epoch_min: int, paid: int) -> asyncio.Future[Spot]:
        return self.add(sale_id, ask, now_ms, epoch_min, paid)

    def arguments(self, asks: Sequence[LineAsk], lane: Lane[LineAsk, Spot]) -> list[Part]:
        return ask_arguments(asks, now_ms=lane.now_ms, epoch_min=lane.epoch_min, paid=lane.paid)

    def settle(self, waiting: Waiting, answer: Answer) -> None:
        for (_, future), spot in zip(waiting, read_spots(answer, len(waiting)), strict=True):
            if not future.done():
                future.set_result(spot)


class ValkeyLineStore:
    """One per process, beside its stock store; `close` before that."""

    def __init__(self, stock: ValkeyStockStore) -> None:
        self._stock = stock
        self._asks = Asks(stock.calls)

    async def close(self) -> None:
        await self._asks.close()

    def ask_one(self, sale_id: str, ask: LineAsk, now_ms: int, epoch_min: int, paid: int) -> asyncio.Future[Spot]:
        return self._asks.ask_one(sale_id, ask, now_ms, epoch_min, paid)

    async def ask(
        self, sale_id: str, asks: Sequence[LineAsk], *, now_ms: int, epoch_min: int, paid: int
    ) -> Sequence[Spot]:
        """ValueError: too many, or one that cannot be sent."""
        if len(asks) > limits.TAKE_BATCH_MAX:
            message = f"{len(asks)} asks in one batch; at most {limits.TAKE_BATCH_MAX} are answered in one step"
            raise ValueError(message)
        if not asks:
            return ()
        arguments = ask_arguments(asks, now_ms=now_ms, epoch_min=epoch_min, paid=paid)
        return read_spots(await self._stock.fcall(sale_id, "ask", arguments), len(asks))

    async def leave(self, sale_id: str, user_id: str, number: int, *, epoch: int) -> LineWord:
        check_texts([user_id])
        word, _ = functions.fields(await self._stock.fcall(sale_id, "leave", [epoch, user_id, number]), "leave")
        return LineWord.STALE_EPOCH if word == "other_epoch" else LineWord(word)

    async def grant(self, sale_id: str, hold_ids: Sequence[str], *, now_ms: int, epoch: int) -> Granting:
        answer = await self._stock.fcall(sale_id, "grant", [epoch, now_ms, *hold_ids])
        word, parts = functions.fields(answer, "grant")
        if word != "grants":
            return Granting(word=GrantWord(word), run_id=answer.run_id)
        tick, stock, waiting, dropped = (functions.number(parts, at) for at in range(4))
        rows = parts[4:]
        grants = [
            Grant(
                hold_id=functions.text(rows, at + 2),
                user_id=functions.text(rows, at + 1),
                number=int(functions.text(rows, at)),
                since_ms=int(functions.text(rows, at + 3)),
            )
            for at in range(0, len(rows), _GRANT_WIDTH)
        ]
        return Granting(
            word=GrantWord.GRANTS,
            grants=grants,
            dropped=dropped,
            tick=tick,
            stock=stock,
            waiting=waiting,
            run_id=answer.run_id,
        )

    async def settle(
        self, sale_id: str, granted: Sequence[Grant], dropped: Sequence[Grant], *, mark: int, epoch: int
    ) -> bool:
        rows = [*granted, *dropped]
        for at in range(0, len(rows), functions.ROWS_MAX):
            part = rows[at : at + functions.ROWS_MAX]
            arguments: list[Part] = [epoch, mark, max(0, min(len(granted) - at, len(part)))]
            for grant in part:
                arguments += (grant.user_id, grant.number, grant.hold_id)
            word, _ = functions.fields(await self._stock.fcall(sale_id, "settle", arguments), "settle")
            if word != "settled":
                return False
        return True

    async def news(self, sale_id: str, since: int, epoch: int) -> LineNews | None:
        answer = await self._stock.fcall(sale_id, "news", [since, epoch])
        word, parts = functions.fields(answer, "news")
        if word == "no_image":
            return None
        image_epoch, seq, complete, available, stock, waiting, tick = (functions.number(parts, at) for at in range(7))
        return LineNews(
            epoch=image_epoch,
            seq=seq,
            complete=complete == 1,
            available=available,
            stock=stock,
            waiting=waiting,
            tick=tick,
            run_id=answer.run_id,
            items=[_item(part) for part in parts[7:]],
        )

    async def issue(self, sale_id: str, number_high: int, *, epoch: int) -> bool:
        word, _ = functions.fields(await self._stock.fcall(sale_id, "issue", [epoch, number_high]), "issue")
        return word == "issued"

    async def end_line(self, sale_id: str, number: int, *, epoch: int) -> int:
        word, parts = functions.fields(await self._stock.fcall(sale_id, "end_line", [epoch, number]), "end_line")
        return functions.number(parts) if word == "ended" else 0

    async def first_numbers(self, sale_id: str, limit: int) -> Sequence[tuple[str, int]]:
        flat = await self._stock.first_of(sale_id, "queue", limit)
        return [(user.decode(), int(number)) for user, number in zip(flat[::2], flat[1::2], strict=True)]


def ask_arguments(asks: Sequence[LineAsk], *, now_ms: int, epoch_min: int, paid: int) -> list[Part]:
    """As columns. ValueError: an ask cannot be sent."""
    user_ids = [ask.user_id for ask in asks]
    check_texts(user_ids)
    joins = ["1" if ask.join else "0" for ask in asks]
    return [epoch_min, now_ms, paid, *user_ids, *joins, *(ask.ticket for ask in asks), *(ask.done for ask in asks)]


def read_spots(answer: Answer, count: int) -> Sequence[Spot]:
    word, parts = functions.fields(answer, "ask")
    if word == "no_image":
        return [Spot(0, 0, 0, 0, 0, answer.run_id, LineWord.NO_IMAGE)] * count
    epoch, available, stock, tick = (functions.number(parts, at) for at in range(4))
    if word == "stale_epoch":
        return [Spot(epoch, available, stock, 0, tick, answer.run_id, LineWord.STALE_EPOCH)] * count
    numbers = (epoch, available, stock, functions.number(parts, 4), tick, answer.run_id)
    seq = functions.number(parts, 5)
    words = parts[6:]
    if len(words) != count:
        raise InvariantViolation(f"valkey answered {len(words)} asks of {count}")
    return [_spot(numbers, part, seq) for part in words]


def _spot(numbers: tuple[int, int, int, int, int, str], part: int | bytes, seq: int) -> Spot:
    bare = _BARE.get(part) if isinstance(part, bytes) else None
    if bare is not None:
        return Spot(*numbers, bare, seq=seq)
    if isinstance(part, bytes):
        word, _, rest = part.decode().partition(SEPARATOR)
        number, _, more = rest.partition(SEPARATOR)
        known = LineWord(word)
        if known in _PLACED:
            return Spot(*numbers, known, int(number), int(more), seq=seq)
        return Spot(*numbers, known, int(number), 0, more, seq=seq)
    raise InvariantViolation(f"valkey answered {part!r} to an ask")


def _item(part: int | bytes) -> NewsItem:
    if not isinstance(part, bytes):
        raise InvariantViolation(f"valkey answered {part!r} where news belong")
    kind, number, user_id, hold_id = part.decode().split(SEPARATOR)
    return NewsItem(NewsKind(kind), int(number), user_id, hold_id)
