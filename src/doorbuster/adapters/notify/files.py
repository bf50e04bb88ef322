"""Mails as files: what a set-up without a mail server has instead of one. Implements `engine.day_ports.Mailer`.

Owns: one `.eml` for each mail, whole or not there. Any mail program opens it.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from doorbuster.adapters.notify.messages import UNWRITABLE, message_of
from doorbuster.adapters.system import wall_ms
from doorbuster.engine.day_ports import Mail, NotSent


class FileMailer:
    """A mail with the same `message_id` replaces the one before."""

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder = folder
        self._sender = sender
        self._count = 0

    async def send(self, mail: Mail) -> None:
        [problem] = await self.send_many([mail])
        if problem is not None:
            raise problem

    async def send_many(self, mails: Sequence[Mail]) -> Sequence[NotSent | None]:
        return await asyncio.to_thread(lambda: [self._write(mail) for mail in mails])

    async def close(self) -> None:
        """Nothing is open."""

    def _write(self, mail: Mail) -> NotSent | None:
        self._count += 1
        try:
            content = message_of(mail, sender=self._sender, now_ms=wall_ms()).as_bytes()
            self._folder.mkdir(parents=True, exist_ok=True)
            name = mail.message_id or f"{wall_ms()}-{self._count}"
            draft = self._folder / f".{name}.new"
            draft.write_bytes(content)
            draft.replace(self._folder / f"{name}.eml")  # whoever reads it reads all of it
        except OSError as problem:
            return NotSent(f"{self._folder} cannot be written: {problem.strerror}", away=True)
        except UNWRITABLE as problem:  # whatever is wrong with one mail, the others of its batch are written
            return NotSent(f"no mail can be made of it: {type(problem).__name__}", final=True)
        return None
