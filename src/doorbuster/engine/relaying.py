"""Tells the shop: takes what is due from the outbox, sends it, and stores how that went.

Owns: what an attempt means for its delivery, and how many are under way at each endpoint. Keeps: at least once (what
was sent and not recorded is sent again, under the same id, when its lease is over); a receiver that hangs binds its own
attempts alone. Read next: `shop_ports.py`, `adapters/shop_webhooks.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from doorbuster.domain import shop_events
from doorbuster.engine.ports import Clock, Ids
from doorbuster.engine.shop_ports import Claimed, Message, Outbox, Record, RecordWord, Sender, Sent


class Relaying:
    """`run_once` starts what is due and records what has ended; it never waits for a receiver. `wake` is called when an
    attempt has ended, so that the next pass need not wait for its time."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        sender: Sender,
        clock: Clock,
        ids: Ids,
        wake: Callable[[], None],
        lease_ms: int = shop_events.LEASE_MS,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._ids = ids
        self._wake = wake
        self._lease_ms = lease_ms
        self._busy: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self._ended: list[tuple[str, Record]] = []
        self._problems: list[BaseException] = []

    async def run_once(self) -> Mapping[str, int]:
        """One pass. Counts how attempts ended and how many were started."""
        counts = await self._record()
        if self._problems:
            raise self._problems.pop()
        busy = {endpoint: count for endpoint, count in self._busy.items() if count}
        claimed = await self._outbox.claim(busy, most=shop_events.CONCURRENT_MAX, lease_ms=self._lease_ms)
        for one in claimed:
            self._start(one)
        return {**counts, "started": len(claimed)}

    async def drain(self, within_s: float | None = None) -> Mapping[str, int]:
        """Wait for the attempts that are under way, so long at most, and record how they went."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=within_s)
        return await self._record()

    async def stop(self) -> None:
        """Drop what is under way: its lease ends, and it is sent again."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _record(self) -> Mapping[str, int]:
        ended = tuple(self._ended)
        if not ended:
            return {}
        await self._outbox.record([record for _, record in ended])
        del self._ended[: len(ended)]  # not before it is stored: a repeat changes nothing
        for endpoint_id, _ in ended:
            self._busy[endpoint_id] -= 1
        return Counter(record.word.value for _, record in ended)

    def _start(self, claimed: Claimed) -> None:
        endpoint_id = claimed.delivery.endpoint_id
        self._busy[endpoint_id] += 1
        task = asyncio.get_running_loop().create_task(self._attempt(claimed))
        self._under_way.add(task)

        def over(done: asyncio.Task[None]) -> None:
            self._under_way.discard(done)
            if done.cancelled() or done.exception() is not None:
                self._busy[endpoint_id] -= 1
            problem = None if done.cancelled() else done.exception()
            if problem is not None:
                self._problems.append(problem)
            self._wake()

        task.add_done_callback(over)

    async def _attempt(self, claimed: Claimed) -> None:
        delivery = claimed.delivery
        message = Message(
            message_id=shop_events.event_name(delivery.event_id),
            body=shop_events.payload(delivery.type, delivery.event_ms, delivery.data),
        )
        sent = await self._sender.send(claimed.target, message, now_ms=self._clock.now_ms())
        self._ended.append((delivery.endpoint_id, self._judge(delivery.delivery_id, delivery.attempts, sent)))

    def _judge(self, delivery_id: int, attempt: int, sent: Sent) -> Record:
        word, pause = RecordWord.DELIVERED, 0
        if not shop_events.is_delivered(sent.status):
            asked = shop_events.asked_pause_ms(sent.retry_after, self._clock.now_ms())
            next_pause = shop_events.pause_after(attempt, asked_ms=asked, jitter=self._ids.jitter())
            word, pause = (RecordWord.DEAD, 0) if next_pause is None else (RecordWord.RETRY, next_pause)
        return Record(delivery_id=delivery_id, attempt=attempt, word=word, pause_ms=pause, sent=sent)
