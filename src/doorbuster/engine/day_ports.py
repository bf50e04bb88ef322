"""What the day of a sale needs from the world: steps, and people who are told.

Owns: the ports of the timeline, of mail, of web push and of paging. Read next: `running.py`, which runs the steps.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from doorbuster.domain.plan import Plan
from doorbuster.domain.push import Subscription
from doorbuster.domain.sale import Sale

Detail: TypeAlias = Mapping[str, Any]
"""What a step found, for people and machines: JSON values by name."""


class StepFailed(Exception):
    """The step did not do its work; it is tried again. The words are for the operator; `detail` is shown with them.
    `told`: somebody was called about it."""

    def __init__(self, words: str, detail: Detail | None = None, *, told: bool = False) -> None:
        super().__init__(words)
        self.detail: Detail = detail or {}
        self.told = told


class StepSkipped(Exception):
    """There is nothing for the step to do here, or it is too late for it; the words say which."""


class NotYet(Exception):
    """The step waits for something that is on its way: it is asked again soon, and that counts as no attempt."""

    def __init__(self, words: str, detail: Detail | None = None) -> None:
        super().__init__(words)
        self.detail: Detail = detail or {}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a step is told."""

    sale: Sale
    plan: Plan
    now_ms: int
    attempt: int
    """From 1."""
    forced: bool = False
    """An operator asked for it: do it whatever the hour."""


Step: TypeAlias = Callable[[Asked], Awaitable[Detail]]
"""Does one step of the day and says what it found. May be called again after a crash anywhere: it has to be idempotent.
Raises StepFailed, StepSkipped or NotYet; StoreUnavailable and OutcomeUnknown count as failed."""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` beside To, From, Subject, Date and Message-ID. `message_id` makes a repeat recognisable."""

    to: str
    subject: str
    text: str
    html: str = ""
    message_id: str = ""
    headers: Mapping[str, str] = {}


class NotSent(Exception):
    """Nobody got it. `final`: a repeat would fail alike (an address that does not exist). `unsure`: the connection
    broke when it was all said; it may have arrived. `gone`: whoever it was for wants no more of them.
    `away`: it is the sender's or its server's own trouble, and says nothing of whom it was for.
    `pause_ms`: not before that, says the receiver."""

    def __init__(
        self,
        words: str,
        *,
        final: bool = False,
        unsure: bool = False,
        gone: bool = False,
        away: bool = False,
        pause_ms: int = 0,
    ) -> None:
        super().__init__(words)
        self.final = final
        self.unsure = unsure
        self.gone = gone
        self.away = away
        self.pause_ms = pause_ms


class Mailer(Protocol):
    """A way to send mail. Raises NotSent, one outcome per mail in `send_many`."""

    async def send(self, mail: Mail) -> None: ...

    async def send_many(self, mails: Sequence[Mail]) -> Sequence[NotSent | None]:
        """All of them, several at once; the outcomes in their order, None for one that was accepted."""
        ...


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A message for one browser. Of messages with one `topic` that wait for a browser that is off, it gets the last;
    after `ttl_s` seconds none."""

    to: Subscription
    payload: bytes
    ttl_s: int
    topic: str
    urgent: bool


class Pusher(Protocol):
    """A way to send web push messages; one outcome for each, as of `Mailer`."""

    async def send_many(self, pushes: Sequence[Push]) -> Sequence[NotSent | None]: ...


class PageCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call for the person on duty. Calls with one `key` are about one matter; `resolved` ends it."""

    key: str
    title: str
    text: str
    severity: str = "critical"
    resolved: bool = False
    sale_id: str = ""


class Pager(Protocol):
    """Reaches the person on duty by every way that is configured."""

    @property
    def configured(self) -> bool: ...

    async def page(self, call: PageCall) -> Sequence[str]:
        """Try every way; returns the ways that took it. NotSent if none did."""
        ...
