"""The line in memory: implements `engine.line_ports.LineStore` over the images of the reference stock store.

Owns: the precedence of the words of an ask, and who is granted. Never waits, so every call is one step.
Keeps: I10; the Lua functions of the real store are compared with these lines.
"""

from collections.abc import Awaitable, Sequence

from doorbuster.domain import limits
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageState
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
from doorbuster.engine.ports import (
    Release,
)
from doorbuster.reference.image import Head, Image, LineState
from doorbuster.reference.stock import ReferenceStockStore

_SPARE = 50
"""Heads looked at beyond the free units, as in the function."""
_NO_LINE = LineState(number_next=0, number_high=0, moves_ms=0, ended_number=0)


class ReferenceLineStore:
    """The client of the same server as the stock store's."""

    def __init__(self, stock: ReferenceStockStore) -> None:
        self._stock = stock

    def ask_one(self, sale_id: str, ask: LineAsk, now_ms: int, epoch_min: int, paid: int) -> Awaitable[Spot]:
        return self._ask_one(sale_id, ask, now_ms, epoch_min, paid)

    async def _ask_one(self, sale_id: str, ask: LineAsk, now_ms: int, epoch_min: int, paid: int) -> Spot:
        return (await self.ask(sale_id, [ask], now_ms=now_ms, epoch_min=epoch_min, paid=paid))[0]

    async def ask(
        self, sale_id: str, asks: Sequence[LineAsk], *, now_ms: int, epoch_min: int, paid: int
    ) -> Sequence[Spot]:
        """ValueError: too many, or one that cannot be sent."""
        _check(asks)
        image, head = self._stock.read(sale_id)
        run = self._stock.run
        if head is None:
            return [Spot(0, 0, 0, 0, 0, run, LineWord.NO_IMAGE)] * len(asks)
        if head.epoch < epoch_min:  # I12
            stale = Spot(head.epoch, head.available, head.stock, 0, head.tick, run, LineWord.STALE_EPOCH)
            return [stale] * len(asks)
        before = dict(image.queue)
        asked = _Asked(image, head)
        said = [asked.answer(ask, now_ms, paid) for ask in asks]
        head.tick += image.queue != before
        numbers = (head.epoch, head.available, head.stock, image.waiting(), head.tick, run)
        return [
            Spot(*numbers, word, number, _position(image, ask, word), hold_id, asked.line.seq)
            for ask, (word, number, hold_id) in zip(asks, said, strict=True)
        ]

    async def leave(self, sale_id: str, user_id: str, number: int, *, epoch: int) -> LineWord:
        image, head = self._stock.read(sale_id, epoch)
        if head is None:
            return LineWord.NO_IMAGE if self._stock.read(sale_id)[1] is None else LineWord.STALE_EPOCH
        if user_id in image.granting:
            return LineWord.GRANTING
        if image.queue.get(user_id) != number:
            spent, hold_id = image.spent.get(user_id, (0, ""))
            if not spent or spent != number:
                return LineWord.ABSENT
            return LineWord.GRANTED if hold_id else LineWord.LEFT
        _drop(image, head.line or _NO_LINE, user_id, number)
        head.tick += 1
        return LineWord.LEFT

    async def grant(self, sale_id: str, hold_ids: Sequence[str], *, now_ms: int, epoch: int) -> Granting:
        image, head = self._stock.read(sale_id, epoch)
        if head is None:
            there = self._stock.read(sale_id)[1]
            return Granting(word=GrantWord.NO_IMAGE if there is None else GrantWord.OTHER_EPOCH, run_id=self._stock.run)
        line = head.line or _NO_LINE
        dropped = 0
        if not image.granting:
            if head.closed_word(now_ms) is not None or now_ms < line.moves_ms:
                return Granting(word=GrantWord.CLOSED, run_id=self._stock.run)
            dropped = _take_heads(image, head, line, hold_ids, now_ms)
        return Granting(
            word=GrantWord.GRANTS,
            grants=sorted(image.granting.values(), key=lambda grant: grant.number),
            dropped=dropped,
            tick=head.tick,
            stock=head.stock,
            waiting=image.waiting(),
            run_id=self._stock.run,
        )

    async def settle(
        self, sale_id: str, granted: Sequence[Grant], dropped: Sequence[Grant], *, mark: int, epoch: int
    ) -> bool:
        image, head = self._stock.read(sale_id, epoch)
        if head is None:
            return False
        line = head.line or _NO_LINE
        changed = False
        for grant, refused in [*((grant, False) for grant in granted), *((grant, True) for grant in dropped)]:
            known = image.granting.get(grant.user_id)
            if known is None or known.hold_id != grant.hold_id:
                continue
            changed = True
            del image.granting[grant.user_id]
            if refused:
                release = Release(hold_id=grant.hold_id, user_id=grant.user_id, forget_key=True)
                image.give_back(head, release)
                _drop(image, line, grant.user_id, grant.number)
            else:
                image.spent[grant.user_id] = (grant.number, grant.hold_id)
                line.tell(NewsItem(NewsKind.GRANTED, grant.number, grant.user_id, grant.hold_id))
        if changed:
            line.mark = max(line.mark, mark)
            head.tick += 1
        return True

    async def news(self, sale_id: str, since: int, epoch: int) -> LineNews | None:
        image, head = self._stock.read(sale_id)
        if head is None:
            return None
        line = head.line or _NO_LINE
        first = line.seq - len(line.news)
        complete = epoch == head.epoch and first <= since <= line.seq
        return LineNews(
            epoch=head.epoch,
            seq=line.seq,
            complete=complete,
            available=head.available,
            stock=head.stock,
            waiting=image.waiting(),
            tick=head.tick,
            run_id=self._stock.run,
            items=line.news[since - first :] if complete else [],  # the real store tells them in parts
        )

    async def issue(self, sale_id: str, number_high: int, *, epoch: int) -> bool:
        _, head = self._stock.read(sale_id, epoch)
        if head is None or head.line is None:
            return False
        head.tick += number_high > head.line.number_high
        head.line.number_high = max(head.line.number_high, number_high)
        return True

    async def end_line(self, sale_id: str, number: int, *, epoch: int) -> int:
        image, head = self._stock.read(sale_id, epoch)
        if head is None or head.line is None:
            return 0
        ended = [user for user, waits in image.queue.items() if waits <= number]
        if number <= head.line.ended_number and not ended:
            return 0
        for user in ended:
            del image.queue[user]
        head.line.ended_number = max(head.line.ended_number, number)
        head.line.number_next = max(head.line.number_next, number)
        head.line.tell(NewsItem(NewsKind.ENDED, number))
        head.tick += 1
        return len(ended)

    async def first_numbers(self, sale_id: str, limit: int) -> Sequence[tuple[str, int]]:
        queue = self._stock.image(sale_id).queue
        return sorted(queue.items(), key=lambda entry: entry[1])[:limit]


class _Asked:
    """One image while the asks of a batch are answered."""

    def __init__(self, image: Image, head: Head) -> None:
        self.image = image
        self.head = head
        self.line = head.line or _NO_LINE
        self.issued = self.line.number_next

    def answer(self, ask: LineAsk, now_ms: int, paid: int) -> tuple[LineWord, int, str]:
        """The word, the number and the hold; writes what the buyer gets."""
        image, line, user = self.image, self.line, ask.user_id
        spent, hold_id = image.spent.get(user, (0, ""))
        number = image.queue.get(user)
        if ask.ticket > self.issued:
            return LineWord.AHEAD, 0, ""
        if user in image.granting:
            return LineWord.GRANTING, image.granting[user].number, ""
        if ask.ticket > spent and ask.ticket > line.ended_number and (number is None or ask.ticket < number):
            image.wait(user, ask.ticket)
            line.tell(NewsItem(NewsKind.BACK, ask.ticket, user))
            return LineWord.WAITING, ask.ticket, ""
        if number is not None:
            return LineWord.WAITING, number, ""
        if hold_id and (not ask.join or spent > ask.done):
            return LineWord.GRANTED, spent, hold_id
        if not ask.join:
            if spent:
                return LineWord.LEFT, spent, ""
            return LineWord.OVER if self._ended() else LineWord.ABSENT, 0, ""
        refused = self._refused(user, now_ms, paid)
        if refused is not None:
            return refused, 0, ""
        line.number_next += 1
        image.wait(user, line.number_next)
        return LineWord.JOINED, line.number_next, ""

    def _ended(self) -> bool:
        """The line was ended and nothing has come back since: nobody has joined, and no unit is free."""
        return 0 < self.line.ended_number == self.line.number_next and self.head.stock == 0

    def _refused(self, user: str, now_ms: int, paid: int) -> LineWord | None:
        image, head, line, terms = self.image, self.head, self.line, self.head.terms
        if now_ms < terms.opens_ms and terms.state is not ImageState.OVER:
            return LineWord.NOT_STARTED
        if terms.state is ImageState.OVER or now_ms >= terms.ends_ms:
            return LineWord.OVER
        if user in image.blocked:
            return LineWord.BLOCKED
        if image.claims.get(user, 0) + 1 > terms.limit:  # I6
            return LineWord.LIMIT
        if self._ended() or (head.stock == 0 and paid >= head.available and not image.granting):  # I14
            return LineWord.SOLD_OUT
        if terms.standby_limit is not None and len(image.queue) >= head.stock + terms.standby_limit:
            return LineWord.FULL
        if line.number_next >= line.number_high:  # Q2
            return LineWord.NO_NUMBERS
        return None


def _position(image: Image, ask: LineAsk, word: LineWord) -> int:
    if word in (LineWord.WAITING, LineWord.GRANTING, LineWord.JOINED):
        return image.position(ask.user_id)
    return 0


def _drop(image: Image, line: LineState, user_id: str, number: int) -> None:
    image.queue.pop(user_id, None)
    image.spent[user_id] = (number, "")
    line.tell(NewsItem(NewsKind.GONE, number, user_id))


def _take_heads(image: Image, head: Head, line: LineState, hold_ids: Sequence[str], now_ms: int) -> int:
    """Grant as many heads as there are units and ids. Returns how many were dropped on the way."""
    wanted = min(len(hold_ids), head.stock)
    if wanted <= 0:
        return 0
    heads = sorted(image.queue.items(), key=lambda entry: entry[1])[: wanted + _SPARE]
    free = list(hold_ids)
    dropped = 0
    for user, number in heads:
        if user in image.blocked or image.claims.get(user, 0) + 1 > head.terms.limit:  # I6
            _drop(image, line, user, number)
            dropped += 1
        elif len(hold_ids) - len(free) < wanted:
            hold = Hold(
                hold_id=free.pop(0),
                user_id=user,
                quantity=1,
                key=f"line-{number}",
                digest="line",
                since_ms=now_ms,
            )
            image.add(hold)
            del image.queue[user]
            image.granting[user] = Grant(hold.hold_id, user, number, now_ms)
            head.stock -= 1
            head.held += 1
        else:
            break
    head.tick += bool(dropped or image.granting)
    return dropped


def _check(asks: Sequence[LineAsk]) -> None:
    if len(asks) > limits.TAKE_BATCH_MAX:
        message = f"{len(asks)} asks in one batch; at most {limits.TAKE_BATCH_MAX} are answered in one step"
        raise ValueError(message)
    for ask in asks:
        if "\x1f" in ask.user_id or any("\ud800" <= character <= "\udfff" for character in ask.user_id):
            message = "a text has the separator U+001F or half a character in it"
            raise ValueError(message)
