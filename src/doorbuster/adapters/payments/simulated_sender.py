"""Sends the simulated gateway's webhooks: at least once, until they are acknowledged, also after a restart.

Owns: what is still to be said. Events follow from the book, so nothing of them needs to be kept but which were
acknowledged: a file beside the book, one id a line. A crash between an acknowledgement and its line sends once more.
Read next: `simulated_news.py`, `simulated_chaos.py`.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from doorbuster.adapters.payments.simulated_book import Entry
from doorbuster.adapters.payments.simulated_chaos import Chaos
from doorbuster.adapters.payments.simulated_news import SIGNATURE_HEADER, Event, sign
from doorbuster.adapters.system import wall_ms

_AT_ONCE: Final = 16
_RETRY_S: Final = 0.5
_RETRY_S_MAX: Final = 30.0
_PATIENCE_S: Final = 10.0


class Sender:
    """One per gateway process. `about` a charge whenever it changed; `start` before, `stop` after."""

    def __init__(self, url: str, secret: str, sent: Path, chaos: Chaos) -> None:
        self._url = url
        self._secret = secret
        self._path = sent
        self._chaos = chaos
        self._known: set[str] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._encoder = msgspec.json.Encoder()

    def start(self, entries: list[Entry]) -> None:
        """Go on with everything of the book that nobody has acknowledged."""
        self._known = set(self._path.read_text().split()) if self._path.exists() else set()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S))
        for entry in entries:
            self.about(entry)

    def about(self, entry: Entry) -> None:
        """Say what became of a charge, as far as it was not said."""
        if entry.tombstone:
            return  # nobody asked for it
        for kind in kinds_of(entry):
            event_id = "evt_" + hashlib.sha256(f"{entry.idempotency_key}|{kind}".encode()).hexdigest()[:32]
            if event_id not in self._known:
                self._known.add(event_id)
                created = wall_ms() // 1000
                self._spawn(Event(event_id=event_id, kind=kind, charge=entry.idempotency_key,
                                  order_id=entry.order_id, created=created))  # fmt: skip

    async def stop(self) -> None:
        """What is not acknowledged yet is sent after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _spawn(self, event: Event) -> None:
        task = asyncio.get_running_loop().create_task(self._send(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, event: Event) -> None:
        level, share = self._chaos.level, self._chaos.share
        if share(event.event_id, "lost") < level.lost:
            return
        if share(event.event_id, "late") < level.late:
            await asyncio.sleep(share(event.event_id, "how late") * level.late_s)
        body = self._encoder.encode(event)
        if share(event.event_id, "forged") < level.forged:
            await self._post(body, "somebody else's secret")
        wait_s = _RETRY_S
        while not await self._post(body, self._secret):
            await asyncio.sleep(wait_s * (1 + share(event.event_id, str(wait_s))))
            wait_s = min(2 * wait_s, _RETRY_S_MAX)
        with self._path.open("a") as file:
            file.write(event.event_id + "\n")
        if share(event.event_id, "twice") < level.twice:
            await asyncio.sleep(share(event.event_id, "again") * level.late_s)
            await self._post(body, self._secret)

    async def _post(self, body: bytes, secret: str) -> bool:
        assert self._session is not None
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sign(secret, body, wall_ms() // 1000)}
        try:
            async with self._slots, self._session.post(self._url, data=body, headers=headers) as response:
                await response.read()
                return 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False


def kinds_of(entry: Entry) -> list[str]:
    """Everything that has happened to a charge, the first first."""
    if entry.declined:
        return ["declined"]
    found = ["action_required"] if entry.action else []
    found += ["authorized"] if entry.authorized else []
    found += ["captured"] if entry.captured_cents else []
    found += ["refunded"] if entry.refunded_cents else []
    return [*found, "voided"] if entry.voided else found
