"""From a notice to a mail or a push message that was sent: implement `engine.notifying.Deliver`.

Owns: who writes for whom. Read next: `letters.py`.
"""

from collections.abc import Sequence

from doorbuster.adapters.notify.letters import Letters
from doorbuster.engine.day_ports import Mailer, NotSent, Pusher
from doorbuster.engine.notifying import Letter


class ByMail:
    def __init__(self, letters: Letters, mailer: Mailer) -> None:
        self._letters = letters
        self._mailer = mailer

    async def __call__(self, letters: Sequence[Letter], now_ms: int) -> Sequence[NotSent | None]:
        return await self._mailer.send_many([self._letters.compose(letter, now_ms) for letter in letters])


class ByPush:
    def __init__(self, letters: Letters, pusher: Pusher) -> None:
        self._letters = letters
        self._pusher = pusher

    async def __call__(self, letters: Sequence[Letter], now_ms: int) -> Sequence[NotSent | None]:
        return await self._pusher.send_many([self._letters.push(letter, now_ms) for letter in letters])
