"""What paying needs from the world: a gateway that moves money, and a store that remembers every step of it.

Owns: the two ports. Keeps: in their docstrings, what each must promise so that I7, I8 and I9 hold.
Every gateway passes `tests/payments/conformance.py`. Read next: `settling.py`, which uses both.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol, assert_never

import msgspec

from doorbuster.domain.balance import BookEntry as BookEntry  # noqa: PLC0414  # what an adapter answers with
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import Attempt, VoidReason
from doorbuster.engine.ports import Actor

# ---------------------------------------------------------------------------------------------------- the gateway


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway is told of an attempt. Everything is from committed rows; `key` is the authorization's key and
    names the charge for ever. `ref` is the gateway's own name for it, once known."""

    key: str
    sale_id: str
    order_id: str
    amount_cents: int
    currency: str
    payment_method: str
    ref: str | None = None


class Authorized(msgspec.Struct, frozen=True, kw_only=True):
    """The amount is set aside for us and can be captured."""

    ref: str
    amount_cents: int
    currency: str


class Declined(msgspec.Struct, frozen=True, kw_only=True):
    """A definite no: nothing is set aside and nothing ever will be under this key."""

    reason: str


class ActionRequired(msgspec.Struct, frozen=True, kw_only=True):
    """The buyer has to do something at the gateway first; `data` is for the buyer's client. Ask again with look_up."""

    data: Mapping[str, str]


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """The money was taken; `refunded_cents` of it went back since, which a look-up has to say."""

    ref: str
    amount_cents: int
    currency: str
    refunded_cents: int = 0


class CaptureRefused(msgspec.Struct, frozen=True, kw_only=True):
    """A definite no for good: repeating the capture will not help."""

    reason: str


class Voided(msgspec.Struct, frozen=True):
    """Nothing is set aside under this key, nothing was captured, and neither will happen any more."""


class Refunded(msgspec.Struct, frozen=True):
    """The whole captured amount is on its way back."""


class Absent(msgspec.Struct, frozen=True):
    """The gateway knows nothing of the key now. A call that is still under way may change that."""


class NotExecuted(msgspec.Struct, frozen=True, kw_only=True):
    """The call did not reach the gateway: nothing happened. Repeating it is safe."""

    detail: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """No usable answer: it may or may not have happened. Never guessed; looked up or repeated with the same key."""

    detail: str


NoAnswer = NotExecuted | Unknown
Found = Authorized | Declined | ActionRequired | Captured | Voided | Absent | NoAnswer


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway's webhook said, its signature found good. It is only a reason to look: never believed for a state
    or an amount. `key` is the charge's key, empty where the event is about nothing of ours."""

    event_id: str
    kind: str
    key: str


class NotNews(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that is not the gateway's, or is too old, or cannot be read; `reason` names no secret."""

    reason: str


class Gateway(Protocol):
    """A payment gateway. No method raises for what a gateway or a network does: that is an answer.

    Every operation is idempotent by its key: a repeat has no further effect and says what became of the first one.
    """

    @property
    def name(self) -> str:
        """Stored with each attempt; an attempt is finished only by the gateway that began it."""
        ...

    async def authorize(self, charge: Charge) -> Authorized | Declined | ActionRequired | NoAnswer:
        """Set the amount aside, without taking it, under `charge.key`."""
        ...

    async def capture(self, charge: Charge, key: str) -> Captured | CaptureRefused | NoAnswer:
        """Take the whole authorized amount."""
        ...

    async def void(self, charge: Charge, key: str) -> Voided | Captured | NoAnswer:
        """Give up the authorization. VOIDED is final: an authorization that arrives under this charge's key later
        must fail, also when the gateway had never heard of the key. A gateway that cannot promise that for an unknown
        key has to authorize under it first. CAPTURED if it is too late."""
        ...

    async def refund(self, charge: Charge, key: str) -> Refunded | NoAnswer:
        """Give the whole captured amount back."""
        ...

    async def look_up(self, charge: Charge) -> Found:
        """What became of the charge. Changes nothing."""
        ...

    @property
    def default_method(self) -> str | None:
        """What the charger uses for a buyer without a stored method; None: such orders wait for one."""
        ...

    def book(self, sale_id: str) -> AsyncIterator[BookEntry]:
        """Every charge of a sale that the gateway has, in no order, each once. Raises StoreUnavailable if the gateway
        does not say all of it: half a book proves nothing."""
        ...

    def read_news(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> News | NotNews:
        """Check the signature of a webhook on its raw bytes, with a tolerance of its age, and read it. Names of
        headers are in small letters. Several secrets may be valid at once, for rotation."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------- the store


class PayAsk(msgspec.Struct, frozen=True, kw_only=True):
    """A buyer's wish to pay. `key` and `digest` are the idempotency key and the hash of the body."""

    payment_id: str
    order_id: str
    user_id: str
    gateway: str
    payment_method: str
    key: str
    digest: str


class BeginWord(StrEnum):
    """What the store says to a wish that is not refused."""

    BEGUN = "begun"  # a new attempt, in INTENT
    REPLAYED = "replayed"  # this key's attempt, in whatever state it is now
    BUSY = "busy"  # another key's attempt is open: that attempt
    FREE = "free"  # the price is 0: the order is PAID, nobody is to be called


class NotBegunWord(StrEnum):
    """Why there is no attempt; the order is the precedence. REPLAYED comes after MISMATCH, BUSY after CLOSED."""

    NOT_FOUND = "not_found"
    MISMATCH = "mismatch"  # the key made an attempt with another body
    CLOSED = "closed"
    ABORTED = "aborted"
    EXPIRED = "expired"  # the hold's time is over, whether or not the expirer has been there
    ELSEWHERE = "elsewhere"  # orders of this sale are not paid by their buyers here
    USED_UP = "used_up"


def not_begun(word: NotBegunWord, *, attempts: int) -> Refusal:
    """What the buyer is told. `attempts` is how many the sale allows."""
    match word:
        case NotBegunWord.NOT_FOUND:
            return Refusal(Code.NOT_FOUND, "there is no such order")
        case NotBegunWord.MISMATCH:
            return Refusal(Code.IDEMPOTENCY_MISMATCH, "this key was used for another payment")
        case NotBegunWord.CLOSED:
            return Refusal(Code.ORDER_CLOSED, "the order is no longer reserved")
        case NotBegunWord.ABORTED:
            return Refusal(Code.ORDER_CLOSED, "the sale was aborted")
        case NotBegunWord.EXPIRED:
            return Refusal(Code.ORDER_CLOSED, "the time to pay is over")
        case NotBegunWord.ELSEWHERE:
            return Refusal(Code.CONFLICT, "orders of this sale are not paid for here")
        case NotBegunWord.USED_UP:
            return Refusal(Code.CONFLICT, f"all {attempts} attempts to pay are used up")
        case _:
            assert_never(word)


NOTHING_TO_REFUND: Final = "nothing was captured for this order; an order that is reserved is cancelled instead"


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    word: BeginWord
    attempt: Attempt


class PaymentStore(Protocol):
    """Payment attempts in PostgreSQL. Every method is one transaction and may raise StoreUnavailable (nothing
    happened) or OutcomeUnknown; repeating it is always safe.

    The methods that move an attempt do so along one arrow, only from the state that the arrow starts in (I13), and
    answer with the attempt as it is afterwards, whoever moved it: the caller goes on from there. A transaction that
    changes stock, or makes an attempt open, holds the sale's row first.
    """

    async def begin(self, ask: PayAsk) -> Begun | Refusal:
        """P1: an attempt for an order that is RESERVED, not expired and without an open attempt. In order of
        precedence: NOT_FOUND (also for someone else's order), IDEMPOTENCY_MISMATCH, REPLAYED, ORDER_CLOSED, BUSY,
        CONFLICT (attempts used up, or the sale is paid for elsewhere). Amount and currency are the order's (I9)."""
        ...

    async def send(self, payment_id: str) -> Attempt:
        """P2: INTENT to SENT. Committed before the gateway is called: a crash leaves "maybe", never "no"."""
        ...

    async def decline(self, payment_id: str, reason: str) -> Attempt:
        """SENT to DECLINED. The order stays RESERVED while its buyer has attempts left; else, and in a sale that
        charges by itself, it is CANCELLED and its units released in the same transaction."""
        ...

    async def confirm(self, payment_id: str, ref: str) -> Attempt:
        """P4: SENT through AUTHORIZED to CAPTURING: from here the order waits for its capture, whatever the clock
        says. To VOIDING instead if the order is no longer RESERVED or its sale was aborted."""
        ...

    async def captured(self, payment_id: str) -> Attempt:
        """P6: CAPTURING to CAPTURED, the order PAID, the units counted as paid, the log row: one transaction. If the
        order is not RESERVED any more the money is late: CAPTURED through to REFUND_DUE (I7)."""
        ...

    async def void(self, payment_id: str, reason: VoidReason) -> Attempt:
        """INTENT to VOIDED (it was never sent); SENT, AUTHORIZED or CAPTURING to VOIDING."""
        ...

    async def voided(self, payment_id: str) -> Attempt:
        """VOIDING to VOIDED, after the gateway has confirmed it. If the capture was refused for good the order is
        CANCELLED and its units released in the same transaction (P7); else the order stays RESERVED until it is paid,
        cancelled or due."""
        ...

    async def refund_due(self, payment_id: str) -> Attempt:
        """VOIDING to REFUND_DUE: the void came too late."""
        ...

    async def refunded(self, payment_id: str) -> Attempt:
        """REFUND_DUE to REFUNDED."""
        ...

    async def refund(self, order_id: str, actor: Actor) -> Attempt | Refusal:
        """The captured attempt of a PAID order to REFUND_DUE, its units back on sale, in one transaction; money that
        no gateway of ours took is REFUNDED at once. A repeat answers with the same attempt. NOT_FOUND; CONFLICT if
        there is nothing to give back."""
        ...

    async def refund_aborted(self, sale_id: str, *, actor: Actor, limit: int) -> int:
        """The same for up to `limit` PAID orders of an aborted sale. Returns how many; repeat until 0."""
        ...

    async def claim(self, *, gateway: str, quiet_ms: int, limit: int) -> Sequence[Attempt]:
        """Unfinished attempts of this gateway that nobody has touched for `quiet_ms`, or that the gateway has news of,
        the oldest first. Claiming touches them, so two resolvers at once share the work, and what a dead one claimed
        is claimed again. One that withholds its unit for longer than PAYMENT_ALARM_MS is put into quarantine."""
        ...

    async def attempts(self, order_id: str) -> Sequence[Attempt]:
        """All attempts of an order, the first first."""
        ...
