"""What people on a waitlist are told, by mail and by web push: which kinds there are, until when each is worth sending,
when it is tried again.

Owns: the rules. Keeps: nobody is told twice; a reminder that is late, or of a start that was put off, is not sent. Read
next: `engine/notifying.py`.
"""

import re
from enum import StrEnum
from typing import Final

from doorbuster.domain.sale import Sale

EMAIL_LENGTH_MAX: Final = 254
"""RFC 5321, less the angle brackets."""
TRIES: Final = 8
"""Of a notice that its receiver puts off. A server that is away is not counted: only time ends that."""
AWAY_MS: Final = 20_000
_PAUSE_MS: Final = 5_000
_PAUSE_MS_MAX: Final = 300_000
_AFTERWARDS_MS: Final = 3 * 86_400_000
"""Who won is told within three days or not at all."""
_EMAIL: Final = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


class NoticeKind(StrEnum):
    HOUR = "1h"
    MINUTES = "5m"
    WON = "won"
    LOST = "lost"
    ABORTED = "aborted"


REMINDERS: Final = (NoticeKind.HOUR, NoticeKind.MINUTES)


class Channel(StrEnum):
    """Who gave both an address and a browser is told both ways, once each."""

    MAIL = "mail"
    PUSH = "push"


class NoticeState(StrEnum):
    """`unknown`: its sender was stopped in the middle; it may have arrived, and is not sent again."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNSUBSCRIBED = "unsubscribed"
    UNKNOWN = "unknown"


def email_problem(email: str) -> str | None:
    """What is wrong with an address, or None. Only what could harm a mail is refused; the rest its server knows. A name
    outside ASCII needs a server that speaks SMTPUTF8 (RFC 6531), and `=?` would be taken for an encoded word."""
    if len(email) > EMAIL_LENGTH_MAX:
        return f"email has more than {EMAIL_LENGTH_MAX} characters"
    if not _EMAIL.fullmatch(email) or ".." in email or "=?" in email or not email.isascii():
        return "email is not an address like ann@example.com"
    return None


def worth_sending_until(kind: NoticeKind, sale: Sale, now_ms: int) -> int:
    """Milliseconds. "In an hour" is wrong half an hour before, "in five minutes" once it has begun."""
    match kind:
        case NoticeKind.HOUR:
            return sale.start_ms - 30 * 60_000
        case NoticeKind.MINUTES:
            return sale.start_ms
        case _:
            return now_ms + _AFTERWARDS_MS


def pause_after(attempts: int, jitter: float) -> int | None:
    """Milliseconds until the next try after `attempts` of them; None: it is given up. `jitter` is in [0, 1)."""
    if attempts >= TRIES:
        return None
    return int(min(_PAUSE_MS * 2 ** (attempts - 1), _PAUSE_MS_MAX) * (0.5 + jitter))
