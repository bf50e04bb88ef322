"""Stripe, by its official SDK: PaymentIntents that are captured by hand.

Owns: which call a charge needs next. Keeps: the port's promises with what Stripe offers:
* One charge is one intent, made without confirming it. An intent that nobody confirmed moves no money, so making one is
  how a charge is looked up, and cancelling one is how a key that was never heard of is voided.
* The intent is found again by Stripe's own idempotency (the charge's key), by its id once that is stored, and, where
  Stripe keeps answering a key with a stored failure, by its metadata.
* Confirming has a key of its own that does not name the intent: Stripe refuses one key for two intents, so two workers
  who found two of them cannot both set money aside (I8).
* A card that is refused ends its intent: it is cancelled before we say so, for its client secret may be out.
Read next: `stripe_calls.py` (what a failure means), docs/decisions/0050-stripe-intents.md.
"""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import stripe

from doorbuster.adapters.payments.stripe_calls import Answer, Failure, StripeCalls, Work
from doorbuster.adapters.payments.stripe_shapes import KEY, Intent, IntentPage, Refund, StripeEvent
from doorbuster.engine.payment_ports import (
    Absent,
    ActionRequired,
    Authorized,
    BookEntry,
    Captured,
    CaptureRefused,
    Charge,
    Declined,
    Found,
    News,
    NoAnswer,
    NotExecuted,
    NotNews,
    Refunded,
    Unknown,
    Voided,
)
from doorbuster.engine.ports import StoreUnavailable

T = TypeVar("T")

_EXPAND: Final = ["latest_charge"]
_PAGE: Final = 100
_KINDS: Final = {
    "payment_intent.amount_capturable_updated": "authorized",
    "payment_intent.succeeded": "captured",
    "payment_intent.canceled": "voided",
    "payment_intent.payment_failed": "declined",
    "payment_intent.requires_action": "action_required",
    "charge.refunded": "refunded",
}
"""Stripe's events in our words; any other keeps its own name, and is looked into."""


class StripeGateway:
    """`api_base` is Stripe's own unless it is given. Close it with `close`."""

    name = "stripe"
    default_method: str | None = None

    def __init__(
        self, secret_key: str, *, webhook_secrets: Sequence[str] = (), api_base: str = "", call_s: float | None = None
    ) -> None:
        self._calls = StripeCalls(secret_key, api_base=api_base, call_s=call_s)
        self._webhook_secrets = tuple(webhook_secrets)

    async def authorize(self, charge: Charge) -> Authorized | Declined | ActionRequired | NoAnswer:
        intent = await self._intent(charge)
        if isinstance(intent, Failure):
            # Whatever became of that: an intent that is not confirmed sets nothing aside.
            return NotExecuted(detail=intent.answer.detail)
        if intent.fresh:
            confirmed = await self._confirm(charge, intent)
            if isinstance(confirmed, Failure):
                return await self._refused(charge, intent, confirmed)
            intent = confirmed
        found = await self._found(charge, intent)
        match found:
            case Captured():
                return Authorized(ref=found.ref, amount_cents=found.amount_cents, currency=found.currency)
            case Voided():
                return Declined(reason="voided")
            case Absent():
                return Unknown(detail="the intent was not confirmed")
            case Authorized() | Declined() | ActionRequired() | NotExecuted() | Unknown():
                return found

    async def capture(self, charge: Charge, key: str) -> Captured | CaptureRefused | NoAnswer:
        intent = await self._intent(charge)
        if isinstance(intent, Failure):
            return intent.answer
        if intent.fresh:
            return CaptureRefused(reason="not_authorized")
        answer = await self._once(
            Intent,
            lambda client, options: client.v1.payment_intents.capture_async(intent.id, {"expand": _EXPAND}, options),
            key,
        )
        if isinstance(answer, Answer):
            return _if_captured(answer.value)
        if not answer.definite:
            return answer.answer
        again = await self._retrieve(intent.id)
        if isinstance(again, Failure):
            return again.answer
        return again.captured if again.status == "succeeded" else CaptureRefused(reason=answer.code)

    async def void(self, charge: Charge, key: str) -> Voided | Captured | NoAnswer:
        intent = await self._intent(charge)
        return intent.answer if isinstance(intent, Failure) else await self._cancel(intent.id, key)

    async def refund(self, charge: Charge, key: str) -> Refunded | NoAnswer:
        intent = await self._intent(charge)
        if isinstance(intent, Failure):
            return intent.answer
        if intent.status != "succeeded":
            return Unknown(detail=f"nothing was captured: the intent is {intent.status}")
        answer = await self._once(
            Refund, lambda client, options: client.v1.refunds.create_async({"payment_intent": intent.id}, options), key
        )
        if isinstance(answer, Failure):
            return Refunded() if answer.code == "charge_already_refunded" else answer.answer
        if answer.value.status in ("succeeded", "pending"):
            return Refunded()
        return Unknown(detail=f"the refund is {answer.value.status}")

    async def look_up(self, charge: Charge) -> Found:
        """Makes the intent if there is none, which is as good as nothing: nobody has confirmed it."""
        intent = await self._intent(charge)
        return intent.answer if isinstance(intent, Failure) else await self._found(charge, intent)

    async def book(self, sale_id: str) -> AsyncIterator[BookEntry]:
        """By listing, newest first, back to when the sale was made: Stripe's search lags behind."""
        params: dict[str, Any] = {"limit": _PAGE, "expand": ["data.latest_charge"]}
        made_s = _made_s(sale_id)
        if made_s is not None:
            params["created"] = {"gte": made_s - 60}
        while True:
            page = await self._list(params)
            if isinstance(page, Failure):
                raise StoreUnavailable(f"the gateway's book could not be read: {page.answer.detail}")
            for intent in page.data:
                if intent.metadata.get("sale_id") == sale_id and not intent.fresh:
                    yield intent.entry
            if not page.has_more:
                return
            params = {**params, "starting_after": page.data[-1].id}

    def read_news(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> News | NotNews:
        """By the SDK, which compares with the machine's own clock."""
        del now_ms
        if not self._webhook_secrets:
            return NotNews(reason="no secret for webhooks is set (DOORBUSTER_STRIPE_WEBHOOK_SECRETS)")
        problem = ""
        for secret in self._webhook_secrets:
            try:
                stripe.WebhookSignature.verify_header(  # pyright: ignore[reportUnknownMemberType]
                    body, headers.get("stripe-signature"), secret, stripe.Webhook.DEFAULT_TOLERANCE
                )
                event = msgspec.json.decode(body, type=StripeEvent)
            except (stripe.SignatureVerificationError, ValueError) as refused:
                problem = problem or str(refused).splitlines()[0]
                continue
            key = (event.data.object.metadata or {}).get(KEY, "")
            return News(event_id=event.id, kind=_KINDS.get(event.type, event.type), key=key)
        return NotNews(reason=problem)

    async def close(self) -> None:
        await self._calls.close()

    # ------------------------------------------------------------------------------------------------ intents

    async def _intent(self, charge: Charge) -> Intent | Failure:
        """The charge's intent, made if there is none."""
        if charge.ref:
            return await self._retrieve(charge.ref)
        made = await self._make(charge, charge.key)
        if isinstance(made, Failure) and made.stored:
            # Stripe answers this key with the failure it had the first time, for a day. The intent may be there.
            found = await self._by_metadata(charge.key)
            return found or await self._make(charge, f"{charge.key}-again")
        return made

    async def _make(self, charge: Charge, key: str) -> Intent | Failure:
        answer = await self._calls.make(
            Intent,
            lambda client, options: client.v1.payment_intents.create_async(
                {
                    "amount": charge.amount_cents,
                    "currency": charge.currency.lower(),
                    "capture_method": "manual",
                    "allowed_payment_method_types": ["card"],
                    "metadata": {KEY: charge.key, "sale_id": charge.sale_id, "order_id": charge.order_id},
                },
                options,
            ),
            key=key,
        )
        if isinstance(answer, Failure):
            return answer
        # What Stripe repeats for a key is the intent as it was when it was made.
        return await self._retrieve(answer.value.id) if answer.replayed else answer.value

    async def _retrieve(self, intent_id: str) -> Intent | Failure:
        answer = await self._calls.make(
            Intent,
            lambda client, options: client.v1.payment_intents.retrieve_async(intent_id, {"expand": _EXPAND}, options),
        )
        return answer if isinstance(answer, Failure) else answer.value

    async def _list(self, params: dict[str, Any]) -> IntentPage | Failure:
        asked: Any = params
        answer = await self._calls.make(
            IntentPage, lambda client, options: client.v1.payment_intents.list_async(asked, options)
        )
        return answer if isinstance(answer, Failure) else answer.value

    async def _by_metadata(self, key: str) -> Intent | Failure | None:
        """Of the latest intents with this key the one somebody confirmed, else the first; None if there is none."""
        page = await self._list({"limit": _PAGE, "expand": ["data.latest_charge"]})
        if isinstance(page, Failure):
            return page
        found = [intent for intent in page.data if intent.metadata.get(KEY) == key]
        return min(found, key=lambda intent: (intent.fresh, intent.created, intent.id), default=None)

    async def _confirm(self, charge: Charge, intent: Intent) -> Intent | Failure:
        answer = await self._calls.make(
            Intent,
            lambda client, options: client.v1.payment_intents.confirm_async(
                intent.id,
                {"payment_method": charge.payment_method, "expand": _EXPAND, "use_stripe_sdk": True},
                options,
            ),
            key=f"{charge.key}-confirm",
        )
        if isinstance(answer, Failure):
            return answer
        return await self._retrieve(intent.id) if answer.replayed else answer.value

    async def _once(self, shape: type[T], work: Work, key: str) -> Answer[T] | Failure:
        """A call that an intent takes only once, under whatever key: captured, cancelled, refunded as a whole. Where
        Stripe goes on answering the key with a failure it has stored, another key tells what is true."""
        answer = await self._calls.make(shape, work, key=key)
        if isinstance(answer, Failure) and answer.stored:
            return await self._calls.make(shape, work, key=f"{key}-again")
        return answer

    async def _found(self, charge: Charge, intent: Intent) -> Found:
        if intent.fresh:
            return Absent()
        if intent.open:  # a card was refused, and nothing has closed it yet
            closed = await self._cancel(intent.id, f"{charge.key}-close")
            return Declined(reason=intent.reason) if isinstance(closed, Voided) else closed
        match intent.status:
            case "requires_capture":
                return Authorized(ref=intent.id, amount_cents=intent.amount, currency=intent.currency.upper())
            case "succeeded":
                return intent.captured
            case "canceled":
                return Declined(reason=intent.reason) if intent.reason else Voided()
            case "requires_action":
                return ActionRequired(data=intent.action)
            case status:
                return Unknown(detail=f"the intent is {status}")

    async def _refused(self, charge: Charge, intent: Intent, failure: Failure) -> Declined | NoAnswer:
        """A confirmation that failed. Only what Stripe has decided is a no, and only once nothing can follow it."""
        if not failure.definite:
            return failure.answer
        closed = await self._cancel(intent.id, f"{charge.key}-close")
        if isinstance(closed, Voided):
            return Declined(reason=failure.code)
        return Unknown(detail="refused, and not closed yet") if isinstance(closed, Captured) else closed

    async def _cancel(self, intent_id: str, key: str) -> Voided | Captured | NoAnswer:
        answer = await self._once(
            Intent, lambda client, options: client.v1.payment_intents.cancel_async(intent_id, {}, options), key
        )
        if isinstance(answer, Failure) and not answer.definite:
            return answer.answer
        intent = await self._retrieve(intent_id) if isinstance(answer, Failure) else answer.value
        if isinstance(intent, Failure):
            return intent.answer
        if intent.status == "canceled":
            return Voided()
        return intent.captured if intent.status == "succeeded" else Unknown(detail=f"the intent is {intent.status}")


def _if_captured(intent: Intent) -> Captured | NoAnswer:
    return intent.captured if intent.status == "succeeded" else Unknown(detail=f"the intent is {intent.status}")


def _made_s(sale_id: str) -> int | None:
    """When a sale was made: its id begins with the milliseconds."""
    try:
        found = uuid.UUID(sale_id)
    except ValueError:
        return None
    return (found.int >> 80) // 1000 if found.version == 7 else None
