"""The part of Stripe's objects that matters here, and how each reads in our words.

Owns: what an intent's state means. Fields that Stripe adds are passed over. Read next: `stripe.py`.
"""

from typing import Final

import msgspec

from doorbuster.engine.payment_ports import BookEntry, Captured

KEY: Final = "doorbuster_key"
"""Metadata of an intent: the charge's key."""
_UNCONFIRMED: Final = frozenset({"requires_payment_method", "requires_confirmation"})


class PaymentError(msgspec.Struct, frozen=True):
    code: str | None = None
    decline_code: str | None = None


class LatestCharge(msgspec.Struct, frozen=True):
    amount_refunded: int = 0


class Redirect(msgspec.Struct, frozen=True):
    url: str = ""


class NextAction(msgspec.Struct, frozen=True):
    type: str = ""
    redirect_to_url: Redirect | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A PaymentIntent. `latest_charge` is an id where it was not expanded."""

    id: str
    status: str
    amount: int
    currency: str
    created: int
    amount_received: int = 0
    client_secret: str | None = None
    metadata: dict[str, str] = {}
    last_payment_error: PaymentError | None = None
    next_action: NextAction | None = None
    latest_charge: LatestCharge | str | None = None

    @property
    def reason(self) -> str:
        """Why its last confirmation failed; empty if none did."""
        problem = self.last_payment_error
        return "" if problem is None else problem.decline_code or problem.code or "declined"

    @property
    def open(self) -> bool:
        """It can still be confirmed."""
        return self.status in _UNCONFIRMED

    @property
    def fresh(self) -> bool:
        """Nobody has confirmed it, so there is nothing to it."""
        return self.open and not self.reason

    @property
    def refunded_cents(self) -> int:
        return self.latest_charge.amount_refunded if isinstance(self.latest_charge, LatestCharge) else 0

    @property
    def captured(self) -> Captured:
        return Captured(
            ref=self.id,
            amount_cents=self.amount_received,
            currency=self.currency.upper(),
            refunded_cents=self.refunded_cents,
        )

    @property
    def action(self) -> dict[str, str]:
        """What the buyer's page needs to go on with Stripe's own script, or by itself where Stripe names a page."""
        action = self.next_action or NextAction()
        found = {"client_secret": self.client_secret or "", "type": action.type}
        return found | ({"redirect": action.redirect_to_url.url} if action.redirect_to_url else {})

    @property
    def entry(self) -> BookEntry:
        return BookEntry(
            key=self.metadata.get(KEY, ""),
            order_id=self.metadata.get("order_id", ""),
            amount_cents=self.amount,
            currency=self.currency.upper(),
            authorized=self.status in ("requires_capture", "succeeded"),
            captured_cents=self.amount_received,
            refunded_cents=self.refunded_cents,
            voided=self.status == "canceled",
            ref=self.id,
        )


class IntentPage(msgspec.Struct, frozen=True):
    data: list[Intent]
    has_more: bool = False


class Refund(msgspec.Struct, frozen=True):
    status: str | None = None


class About(msgspec.Struct, frozen=True):
    """What an event is about: an intent, or a charge, which has its intent's metadata."""

    metadata: dict[str, str] | None = None


class EventData(msgspec.Struct, frozen=True):
    object: About


class StripeEvent(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: EventData
