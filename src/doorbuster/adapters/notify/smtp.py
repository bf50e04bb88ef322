"""Mails by SMTP: implements `engine.day_ports.Mailer`.

Owns: a few connections, and which answers of a server are final. Keeps: what became of a mail is not
made up: one whose text was on its way when the connection broke is reported as such.
"""

import asyncio
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from doorbuster.adapters.notify.messages import UNWRITABLE, message_of
from doorbuster.adapters.system import wall_ms
from doorbuster.engine.day_ports import Mail, NotSent

_CONNECTIONS: Final = 4
_TIMEOUT_S: Final = 20.0
_PORTS: Final = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
_PERMANENT: Final = 500
_NOT_OURS: Final = (421, 530, 535)
"""The server closes, or wants a login that it does not get: no word about the recipient."""
_BATCH_S: Final = 60.0
"""What a server that hangs leaves untried by then is given back, while the sender still holds it."""


class SmtpMailer:
    """`url` is smtp:// (STARTTLS: where offered, and always for a password), smtps:// (TLS) or smtp+plain:// (neither).
    ValueError."""

    def __init__(self, url: str, *, sender: str, timeout_s: float = _TIMEOUT_S, batch_s: float = _BATCH_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("DOORBUSTER_SMTP_URL is no address like smtp://user:password@mail.example.com:587")
        self._options: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": parts.port or _PORTS[parts.scheme],
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "use_tls": parts.scheme == "smtps",
            "start_tls": (True if parts.password else None) if parts.scheme == "smtp" else False,
            "timeout": timeout_s,
        }
        self._batch_s = batch_s
        self._sender = sender
        self._envelope_sender = parseaddr(sender)[1]
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def send(self, mail: Mail) -> None:
        [problem] = await self.send_many([mail])
        if problem is not None:
            raise problem

    async def send_many(self, mails: Sequence[Mail]) -> Sequence[NotSent | None]:
        """Shared between a few connections, each for as many mails as it lives."""
        outcomes: list[NotSent | None] = [NotSent("it was not tried", away=True)] * len(mails)
        waiting = list(enumerate(mails))[::-1]
        until = asyncio.get_running_loop().time() + self._batch_s

        async def work() -> None:
            async with self._slots:
                while waiting and asyncio.get_running_loop().time() < until:
                    await self._on_one_connection(waiting, outcomes, until)

        await asyncio.gather(*(work() for _ in range(min(_CONNECTIONS, len(mails)))))
        return outcomes

    async def close(self) -> None:
        """Connections live as long as a batch."""

    async def _on_one_connection(
        self, waiting: list[tuple[int, Mail]], outcomes: list[NotSent | None], until: float
    ) -> None:
        try:
            client = aiosmtplib.SMTP(**self._options)
            await client.connect()
        except (aiosmtplib.SMTPException, OSError) as problem:
            trouble = NotSent(f"the mail server does not answer: {problem}", away=True)
            while waiting:
                outcomes[waiting.pop()[0]] = trouble
            return
        try:
            while waiting and asyncio.get_running_loop().time() < until:
                at, mail = waiting.pop()
                outcomes[at] = await self._send(client, mail)
                if not client.is_connected:
                    return
        finally:
            if client.is_connected:
                client.close()

    async def _send(self, client: aiosmtplib.SMTP, mail: Mail) -> NotSent | None:
        try:
            message = message_of(mail, sender=self._sender, now_ms=wall_ms())
            content = message.as_bytes()
        except UNWRITABLE as problem:  # whatever is wrong with one mail, the others of its batch are sent
            return NotSent(f"no mail can be made of it: {type(problem).__name__}", final=True)
        asked = told = False
        try:
            await client.mail(self._envelope_sender)
            asked = True
            await client.rcpt(mail.to)
            told = True
            await client.data(content)
        except aiosmtplib.SMTPResponseException as problem:
            await self._reset(client)
            away = not asked or problem.code in _NOT_OURS
            final = not away and problem.code >= _PERMANENT
            return NotSent(f"{problem.code} {problem.message}", final=final, away=away)
        except (aiosmtplib.SMTPException, OSError) as problem:
            client.close()
            return NotSent(f"the connection was lost: {problem}", unsure=told, away=not told)
        except UNWRITABLE as problem:  # an address that the library cannot write, say
            client.close()
            return NotSent(f"it cannot be sent: {type(problem).__name__}", final=not told, unsure=told)
        return None

    @staticmethod
    async def _reset(client: aiosmtplib.SMTP) -> None:
        try:
            await client.rset()
        except (aiosmtplib.SMTPException, OSError):
            client.close()
