"""A crowd in a line: joins, asks for its place or listens, gives up, pays or does not, and is told when it is over.

Owns: what a buyer does with each answer of the line. Everybody ends in one of five ways: with an order (kept or not,
as its fate has it), told that it is over, gone by choice, refused, or tired, which is a fault of the servers.
Read next: `line_seen.py` for what is held against what.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

from doorbuster.adapters.system import wall_ms
from doorbuster.rehearsal.client import Answer, Client
from doorbuster.rehearsal.crowd import BOT_PAUSE_S, Crowd, CrowdTask, Progress, Result, code_of
from doorbuster.rehearsal.line_client import CutOff, open_live
from doorbuster.rehearsal.line_plan import LineBuyer, draw_line_crowd
from doorbuster.rehearsal.line_seen import Memory, Told, Witness, ms_of

_OVER: Final = frozenset({"sold-out", "ended"})
_REFUSED: Final = frozenset({"blocked", "already-purchased", "limit-exceeded", "not-found", "conflict"})
_SOCKETS_AT_ONCE: Final = 50
_NEXT_MS: Final = 1_000
_places = msgspec.json.Decoder(Told)


class _InLine:
    """One buyer at work."""

    def __init__(self, plan: LineBuyer, headers: bytes, memory: Memory) -> None:
        self.plan = plan
        self.headers = headers
        self.memory = memory
        self.joined_at = 0.0
        self.wait_s = 0.0
        self.counted = False

    @property
    def user_id(self) -> str:
        return self.plan.buyer.user_id


class LineCrowd(Crowd):
    """As Crowd, for sales with a line."""

    def __init__(self, task: CrowdTask, client: Client, checkout: Client, clock: Callable[[], float]) -> None:
        super().__init__(task, client, checkout, clock)
        self.witness = Witness()
        self._sockets = asyncio.Semaphore(_SOCKETS_AT_ONCE)
        self._path = f"/v1/sales/{task.sale_id}/queue"

    def progress(self) -> Progress:
        return msgspec.structs.replace(super().progress(), line=self.witness.now())

    def result(self, cpu_s: float) -> Result:
        return msgspec.structs.replace(super().result(cpu_s), line=self.witness.now(), seen=self.witness.report())

    def _everybody(self) -> Iterator[Coroutine[Any, Any, None]]:
        draw = self._task.mode == "draw"
        entries_s = max(0.0, self._opens_at - self._clock() - self._task.settle_s) if draw else 0.0
        for plan in draw_line_crowd(self._task.plan, entries_s=entries_s):
            memory = Memory(self.witness, plan.buyer.user_id)
            yield self._stand(_InLine(plan, self._headers(plan.buyer), memory))

    async def _stand(self, who: _InLine) -> None:
        """From coming to going home."""
        intended = self._opens_at + who.plan.arrives_s
        await self._until(intended)
        self.arrived += 1
        told = await self._join(who, intended)
        if told is not None:
            told = await self._wait(who, told)
        if told is not None and told.order is not None and told.state == "granted":
            await self._granted(who, told.order.order_id, ms_of(told.order.reserved_at))
        self.gone += 1

    # ------------------------------------------------------------------------------------------------ joining

    async def _join(self, who: _InLine, intended: float) -> Told | None:
        """The first place; None for who goes home without one."""
        tabs = who.plan.tabs
        while self._in_time():
            asks = (
                self._ask(self._client, "POST", self._path, who.headers, b"", intended=intended) for _ in range(tabs)
            )
            answers = await asyncio.gather(*asks)
            places = [_places.decode(answer.body) for answer in answers if answer is not None and answer.status == 202]
            if places:
                self.witness.seen.tabs += len(places) - 1
                return self._joined(who, places)
            tabs = 1
            answer = answers[0]
            if answer is not None and self._ended(who, answer):
                return None
            intended = self._clock() + self._pause_s(who, answer)
            await self._until(intended)
        self.tired += 1
        return None

    def _joined(self, who: _InLine, places: list[Told]) -> Told:
        seen = self.witness.seen
        seen.joined += 1
        seen.waiting += 1
        who.counted, who.joined_at = True, self._clock()
        for told in sorted(places, key=lambda told: told.as_of):
            who.memory.take(told, wall_ms=wall_ms())
        who.wait_s = (places[0].poll_after_ms or _NEXT_MS) / 1000
        return places[0]

    def _pause_s(self, who: _InLine, answer: Answer | None) -> float:
        """After an answer that was no decision."""
        if who.plan.buyer.bot:
            return BOT_PAUSE_S
        if answer is None or not answer.retry_after_s:
            return 0.2 + who.plan.buyer.pace / 2
        if code_of(answer) == "not-started":
            return max(0.0, self._opens_at - self._clock()) + who.plan.buyer.pace * 0.5
        return answer.retry_after_s * (0.9 + 0.2 * who.plan.buyer.pace)

    def _ended(self, who: _InLine, answer: Answer) -> bool:
        """Whether this refusal sends the buyer home. Being told that it is over at the door counts as told."""
        code = code_of(answer)
        if code in _OVER:
            self._out(who, "told_over")
            self.turned_away += 1
            return True
        self.turned_away += code == "not-found"
        return code in _REFUSED

    def _out(self, who: _InLine, how: str) -> None:
        """Waits no longer."""
        seen = self.witness.seen
        setattr(seen, how, getattr(seen, how) + 1)
        if who.counted:
            seen.waiting -= 1
            who.counted = False

    def _in_time(self) -> bool:
        return self._clock() < self._opens_at + self._task.give_up_s

    # ------------------------------------------------------------------------------------------------ waiting

    async def _wait(self, who: _InLine, first: Told) -> Told | None:
        """The place that ended the wait; None for who went home without being told one."""
        told, listens = first, who.plan.listens
        while self._in_time():
            if not told.waits:
                return self._settled(who, told)
            if who.plan.gives_up_s is not None and self._clock() - who.joined_at > who.plan.gives_up_s:
                return await self._leave(who)
            if listens and self._clock() >= self._opens_at:
                listens = False
                told = await self._hear(who) or told
                continue
            found = await self._next(who, told)
            if found is None:
                return None
            told = found
        self.tired += 1
        return None

    def _settled(self, who: _InLine, told: Told) -> Told:
        if told.state in {"over", "left"}:
            self._out(who, "told_over" if told.state == "over" else "left")
            self.turned_away += told.state == "over"
        return told

    async def _hear(self, who: _InLine) -> Told | None:
        """By socket: the place that ended the wait, or None if the socket was cut off before."""
        seen = self.witness.seen
        try:
            async with self._sockets:
                live = await open_live(self._task.url, self._task.sale_id, self._token(who.plan.buyer))
            async with live:
                seen.listeners += 1
                while True:
                    told = await live.place()
                    now_ms = wall_ms()
                    who.memory.take(told, wall_ms=now_ms)
                    if told.state == "over":
                        seen.last_heard_ms = max(seen.last_heard_ms or 0, now_ms)
                    if not told.waits:
                        return told
        except CutOff as problem:
            seen.cut_off += 1
            self.witness.wrong(f"{who.user_id} was cut off: {problem}")
            return None

    async def _next(self, who: _InLine, told: Told) -> Told | None:
        """One poll, when the servers wish; the old place if there was no answer, None if there will be none."""
        intended = self._clock() + (BOT_PAUSE_S if who.plan.buyer.bot else who.wait_s)
        await self._until(intended)
        path = f"{self._path}/me"
        if who.memory.ticket is not None:
            path += f"?ticket={quote(who.memory.ticket)}"
        answer = await self._ask(self._client, "GET", path, who.headers, b"", intended=intended)
        if answer is not None and answer.status == 200:
            found = _places.decode(answer.body)
            who.memory.take(found, wall_ms=wall_ms())
            who.wait_s = (found.poll_after_ms or _NEXT_MS) / 1000
            return found
        if answer is not None and self._ended(who, answer):
            if code_of(answer) not in _OVER:
                self._out(who, "lost_entries")
                self.witness.wrong(f"{who.user_id}, who had joined, was told {code_of(answer)}")
            return None
        who.wait_s = self._pause_s(who, answer)
        return told

    async def _leave(self, who: _InLine) -> Told | None:
        while self._in_time():
            answer = await self._ask(
                self._checkout, "DELETE", f"{self._path}/me", who.headers, b"", intended=self._clock()
            )
            if answer is not None and answer.status == 200:
                self._out(who, "left")
                return _places.decode(answer.body)
            if answer is not None and code_of(answer) in _OVER | _REFUSED:
                self._out(who, "told_over" if code_of(answer) in _OVER else "left")
                return None
            await self._until(self._clock() + self._pause_s(who, answer))
        self.tired += 1
        return None

    async def _granted(self, who: _InLine, order_id: str, reserved_ms: int) -> None:
        seen = self.witness.seen
        self._out(who, "granted")
        seen.grants_ms.append(reserved_ms)
        if who.memory.number:
            seen.numbers[order_id] = who.memory.number
        self.acknowledged[order_id] = who.user_id
        await self._decide(who.plan.buyer, who.headers, order_id)
