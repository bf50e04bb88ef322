"""Messages to browsers by web push (RFC 8030): implements `engine.day_ports.Pusher`.

Owns: the request, and what each answer means. Keeps: what became of a message is not made up: one whose answer never
came may have arrived and is reported as such.
"""

import asyncio
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from doorbuster.adapters.notify.messages import UNWRITABLE
from doorbuster.adapters.notify.sealing import seal
from doorbuster.adapters.notify.vapid import Vapid
from doorbuster.adapters.system import random_bytes, wall_ms
from doorbuster.domain.push import decoded, origin_of
from doorbuster.engine.day_ports import NotSent, Push

_AT_ONCE: Final = 32
_TIMEOUT_S: Final = 20.0
_GONE: Final = (404, 410)
"""RFC 8030 section 7.3: the subscription is no more."""
_LATER: Final = (401, 403, 408, 425, 429)
"""The first two are about who sends, or about a browser that is bound to another key: a new key or a subject that the
service takes may mend it, so nobody is given up at the first one."""
_BATCH_S: Final = 60.0
"""What a service that hangs leaves untried by then is given back, while the sender still holds it."""
_AWAY: Final = (429, 502, 503, 504)
"""The service as a whole has trouble, or enough of us."""
_SALT_BYTES: Final = 16
_WORDS_MAX: Final = 150


class WebPusher:
    """Connections live as long as a batch, so that none is found closed by the other side in the next one.

    `now_ms` is the wall clock that push services compare tokens with."""

    def __init__(
        self,
        vapid: Vapid,
        *,
        timeout_s: float = _TIMEOUT_S,
        batch_s: float = _BATCH_S,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._batch_s = batch_s
        self._vapid = vapid
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout_s / 2)
        self._now_ms = now_ms

    async def send_many(self, pushes: Sequence[Push]) -> Sequence[NotSent | None]:
        connector = aiohttp.TCPConnector(limit=0)  # a wait for a place would count as a wait for an answer
        slots = asyncio.Semaphore(_AT_ONCE)
        time = asyncio.get_running_loop().time
        until = time() + self._batch_s

        async def send(push: Push) -> NotSent | None:
            async with slots:
                if time() >= until:
                    return NotSent("it was not tried", away=True)
                return await self._send(session, push)

        async with aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            return await asyncio.gather(*map(send, pushes))

    async def _send(self, session: aiohttp.ClientSession, push: Push) -> NotSent | None:
        try:
            body = self._sealed(push)
            authorization = self._vapid.authorization(origin_of(push.to.endpoint), self._now_ms() // 1000)
        except UNWRITABLE as problem:  # whatever is wrong with one message, the others of its batch are sent
            return NotSent(f"no message can be made of it: {problem}"[:_WORDS_MAX], final=True)
        headers = {
            "Authorization": authorization,
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(push.ttl_s),
            "Topic": push.topic,
            "Urgency": "high" if push.urgent else "normal",
        }
        try:
            async with session.post(push.to.endpoint, data=body, headers=headers, allow_redirects=False) as answer:
                return self._problem(answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as problem:
            return NotSent(f"the push service does not answer: {type(problem).__name__}", away=True)
        except (aiohttp.ClientError, OSError) as problem:  # a time-out is an OSError
            return NotSent(f"the connection was lost: {type(problem).__name__}", unsure=True)
        except UNWRITABLE as problem:  # a host that cannot be looked up, say
            return NotSent(f"it cannot be sent: {type(problem).__name__}", final=True)

    @staticmethod
    def _sealed(push: Push) -> bytes:
        to, auth = decoded(push.to.p256dh), decoded(push.to.auth)
        if to is None or auth is None:
            raise ValueError("the browser's keys are not in base64url")
        key = ec.generate_private_key(ec.SECP256R1())  # for this message alone
        return seal(push.payload, to=to, auth=auth, key=key, salt=random_bytes(_SALT_BYTES))

    def _problem(self, answer: aiohttp.ClientResponse) -> NotSent | None:
        if 200 <= answer.status < 300:
            return None
        words = f"{answer.status} {answer.reason or ''}".strip()[:_WORDS_MAX]
        if answer.status in _GONE:
            return NotSent(f"{words}: the browser wants no more", final=True, gone=True)
        if answer.status in _LATER or answer.status >= 500:
            away = answer.status in _AWAY
            return NotSent(words, away=away, pause_ms=self._asked_pause(answer.headers.get("Retry-After", "")))
        return NotSent(words, final=True)

    def _asked_pause(self, text: str) -> int:
        """Milliseconds, from seconds or a date; 0 if it is neither."""
        if text.isdecimal():
            return int(text[:9]) * 1000
        try:
            return max(0, int(parsedate_to_datetime(text).timestamp() * 1000) - self._now_ms())
        except (ValueError, OverflowError):
            return 0
