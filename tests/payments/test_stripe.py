"""The Stripe adapter against a local server that speaks Stripe's API: every answer lost at every call."""

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from doorbuster.adapters.payments import GatewayNotConfiguredError, build_gateway
from doorbuster.adapters.payments.stripe import StripeGateway
from doorbuster.config import Settings, load_settings
from doorbuster.engine.payment_ports import (
    Absent,
    ActionRequired,
    Authorized,
    Captured,
    CaptureRefused,
    Charge,
    Declined,
    News,
    NotExecuted,
    NotNews,
    Refunded,
    Unknown,
    Voided,
)
from doorbuster.engine.ports import StoreUnavailable
from payments.conformance import Case, Methods, exercise_gateway
from payments.conftest import STRIPE_SECRETS
from payments.stripe_server import StripeServer, Trouble

SECRET, BEFORE = STRIPE_SECRETS
METHODS = Methods(approved="pm_card_visa", declined="pm_card_chargeDeclined", capture_refused="pm_card_captureFails")


def case_of(bank: StripeGateway, method: str = "pm_card_visa") -> Case:
    return Case(bank, method)


def with_ref(charge: Charge, ref: str) -> Charge:
    return msgspec.structs.replace(charge, ref=ref)


async def test_suite_that_every_gateway_passes(bank: StripeGateway) -> None:
    await exercise_gateway(bank, METHODS)


# ------------------------------------------------------------------------------------------------ configuration


def test_missing_key_is_said() -> None:
    with pytest.raises(GatewayNotConfiguredError, match="DOORBUSTER_STRIPE_SECRET_KEY"):
        build_gateway(Settings(payment_gateway="stripe"))


def test_configuration_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOORBUSTER_PAYMENT_GATEWAY", "stripe")
    monkeypatch.setenv("DOORBUSTER_STRIPE_SECRET_KEY", "sk_test_x")

    assert build_gateway(load_settings()).name == "stripe"


# ------------------------------------------------------------------------------------------------ what is lost


async def test_nobody_listens(bank: StripeGateway, stripe: StripeServer) -> None:
    """A refused connection did nothing, whatever was asked."""
    case = case_of(bank)
    await stripe.stop()

    assert isinstance(await bank.authorize(case.charge), NotExecuted)
    assert isinstance(await bank.capture(case.charge, case.capture_key), NotExecuted)
    assert isinstance(await bank.void(case.charge, case.void_key), NotExecuted)
    assert isinstance(await bank.refund(case.charge, case.refund_key), NotExecuted)
    assert isinstance(await bank.look_up(case.charge), NotExecuted)


LOSSES = [Trouble.LOST_BEFORE, Trouble.LOST_AFTER, Trouble.BUSY]


@pytest.mark.parametrize("trouble", [*LOSSES, Trouble.FAULT, Trouble.FAULT_AFTER])
async def test_answer_to_making_is_lost(bank: StripeGateway, stripe: StripeServer, trouble: Trouble) -> None:
    """Nothing is set aside by making; the repeat sets aside once, also where Stripe repeats a stored failure."""
    case = case_of(bank)
    stripe.script("POST /v1/payment_intents", trouble)

    first = await bank.authorize(case.charge)
    second = await bank.authorize(case.charge)

    assert isinstance(first, NotExecuted)
    assert isinstance(second, Authorized)
    authorized = [one for one in stripe.of_key(case.charge.key) if one["status"] == "requires_capture"]
    assert len(authorized) == 1


@pytest.mark.parametrize("trouble", LOSSES)
async def test_answer_to_confirming_is_lost(bank: StripeGateway, stripe: StripeServer, trouble: Trouble) -> None:
    case = case_of(bank)
    stripe.script("POST .*/confirm", trouble)

    first = await bank.authorize(case.charge)
    found = await bank.look_up(case.charge)
    second = await bank.authorize(case.charge)

    assert isinstance(first, NotExecuted if trouble is Trouble.BUSY else Unknown)
    assert isinstance(found, Authorized if trouble is Trouble.LOST_AFTER else Absent)
    assert isinstance(second, Authorized)
    assert len(stripe.of_key(case.charge.key)) == 1


async def test_stored_failure_of_confirming_is_looked_up(bank: StripeGateway, stripe: StripeServer) -> None:
    """500, and the money is set aside all the same: the key answers 500 for ever, the intent tells the truth."""
    case = case_of(bank)
    stripe.script("POST .*/confirm", Trouble.FAULT_AFTER)

    assert isinstance(await bank.authorize(case.charge), Unknown)
    assert isinstance(await bank.look_up(case.charge), Authorized)
    assert isinstance(await bank.authorize(case.charge), Authorized)


@pytest.mark.parametrize("trouble", LOSSES)
async def test_answer_to_capturing_is_lost(bank: StripeGateway, stripe: StripeServer, trouble: Trouble) -> None:
    case = case_of(bank)
    await bank.authorize(case.charge)
    stripe.script("POST .*/capture", trouble)

    first = await bank.capture(case.charge, case.capture_key)
    second = await bank.capture(case.charge, case.capture_key)

    assert isinstance(first, NotExecuted if trouble is Trouble.BUSY else Unknown)
    assert isinstance(second, Captured)
    (intent,) = stripe.of_key(case.charge.key)
    assert intent["amount_received"] == case.charge.amount_cents


@pytest.mark.parametrize("trouble", LOSSES)
async def test_answer_to_cancelling_is_lost(bank: StripeGateway, stripe: StripeServer, trouble: Trouble) -> None:
    case = case_of(bank)
    await bank.authorize(case.charge)
    stripe.script("POST .*/cancel", trouble)

    first = await bank.void(case.charge, case.void_key)
    second = await bank.void(case.charge, case.void_key)

    assert isinstance(first, NotExecuted | Unknown)
    assert second == Voided()


@pytest.mark.parametrize("trouble", LOSSES)
async def test_answer_to_refunding_is_lost(bank: StripeGateway, stripe: StripeServer, trouble: Trouble) -> None:
    """C42: one refund."""
    case = case_of(bank)
    await bank.authorize(case.charge)
    await bank.capture(case.charge, case.capture_key)
    stripe.script("POST /v1/refunds", trouble)

    first = await bank.refund(case.charge, case.refund_key)
    second = await bank.refund(case.charge, case.refund_key)

    assert isinstance(first, NotExecuted | Unknown)
    assert second == Refunded()
    assert len(stripe.refunds) == 1


async def test_refund_that_somebody_made_at_the_desk_is_one(bank: StripeGateway, stripe: StripeServer) -> None:
    case = case_of(bank)
    await bank.authorize(case.charge)
    await bank.capture(case.charge, case.capture_key)
    (intent,) = stripe.of_key(case.charge.key)
    intent["latest_charge"]["amount_refunded"] = intent["amount"]

    assert await bank.refund(case.charge, case.refund_key) == Refunded()
    found = await bank.look_up(case.charge)
    assert isinstance(found, Captured)
    assert found.refunded_cents == case.charge.amount_cents


async def test_slow_answer_is_none(stripe: StripeServer) -> None:
    bank = StripeGateway("sk_test_x", api_base=stripe.url, call_s=0.1)
    case = case_of(bank, "pm_card_slow")
    try:
        assert isinstance(await bank.authorize(case.charge), Unknown)
        await asyncio.sleep(0.4)  # the server ends what it began
        assert isinstance(await bank.look_up(case.charge), Authorized)
    finally:
        await bank.close()


# ------------------------------------------------------------------------------------------------ two at once


async def test_many_workers_set_aside_once(bank: StripeGateway, stripe: StripeServer) -> None:
    case = case_of(bank, "pm_card_slow")

    answers = await asyncio.gather(*(bank.authorize(case.charge) for _ in range(10)))

    assert any(isinstance(answer, Authorized) for answer in answers)
    held = [one for one in stripe.of_key(case.charge.key) if one["status"] == "requires_capture"]
    assert len(held) == 1


async def test_two_intents_of_one_charge_are_never_both_confirmed(bank: StripeGateway, stripe: StripeServer) -> None:
    """The first was made and its answer is a stored failure; another worker found it, this one did not."""
    case = case_of(bank)
    stripe.script("POST /v1/payment_intents", Trouble.FAULT_AFTER)
    await bank.authorize(case.charge)
    (hidden,) = stripe.of_key(case.charge.key)
    metadata, hidden["metadata"] = hidden["metadata"], {}
    assert isinstance(await bank.authorize(case.charge), Authorized)
    hidden["metadata"] = metadata

    answer = await bank._confirm(  # pyright: ignore[reportPrivateUsage]
        case.charge, msgspec.convert({**hidden}, type=_intent_type())
    )

    assert not isinstance(answer, _intent_type())
    held = [one for one in stripe.of_key(case.charge.key) if one["status"] == "requires_capture"]
    assert len(held) == 1


def _intent_type() -> Any:
    from doorbuster.adapters.payments.stripe_shapes import Intent

    return Intent


# ------------------------------------------------------------------------------------------------ the buyer's part


async def test_bank_asks_the_buyer(bank: StripeGateway, stripe: StripeServer) -> None:
    """3-D Secure: what the buyer's page needs comes through; afterwards the money is there."""
    case = case_of(bank, "pm_card_threeDSecure2Required")

    asked = await bank.authorize(case.charge)
    stripe.act(case.charge.key)
    found = await bank.look_up(case.charge)

    assert isinstance(asked, ActionRequired)
    assert asked.data["type"] == "use_stripe_sdk"
    assert asked.data["client_secret"].endswith("_secret")
    assert isinstance(found, Authorized)


async def test_buyer_who_fails_the_bank_is_declined_for_good(bank: StripeGateway, stripe: StripeServer) -> None:
    """The page still has the client secret: the intent is closed before anybody is told no."""
    case = case_of(bank, "pm_card_threeDSecure2Required")
    await bank.authorize(case.charge)
    (intent,) = stripe.of_key(case.charge.key)
    intent["status"], intent["last_payment_error"] = "requires_payment_method", {"code": "authentication_failed"}

    found = await bank.look_up(case.charge)

    assert found == Declined(reason="authentication_failed")
    assert intent["status"] == "canceled"


async def test_decline_that_cannot_be_closed_is_no_decline_yet(bank: StripeGateway, stripe: StripeServer) -> None:
    case = case_of(bank, "pm_card_chargeDeclined")
    stripe.script("POST .*/cancel", Trouble.LOST_BEFORE)

    first = await bank.authorize(case.charge)
    second = await bank.authorize(case.charge)

    assert isinstance(first, Unknown)
    assert second == Declined(reason="generic_decline")


@pytest.mark.parametrize(
    ("method", "reason"),
    [("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"), ("pm_no_such_method", "resource_missing")],
)
async def test_reason_of_a_decline(bank: StripeGateway, method: str, reason: str) -> None:
    assert await bank.authorize(case_of(bank, method).charge) == Declined(reason=reason)


# ------------------------------------------------------------------------------------------------ the book


async def test_book_of_a_sale(bank: StripeGateway, stripe: StripeServer) -> None:
    """Whole, whatever the pages; intents that nobody confirmed are none."""
    sale_id = str(uuid.uuid4())
    charges = [msgspec.structs.replace(case_of(bank).charge, sale_id=sale_id) for _ in range(230)]
    for charge in charges:
        await bank.authorize(charge)
    await bank.look_up(msgspec.structs.replace(case_of(bank).charge, sale_id=sale_id))
    await bank.authorize(case_of(bank).charge)
    await bank.capture(charges[0], "capture")

    entries = [entry async for entry in bank.book(sale_id)]

    assert {entry.key for entry in entries} == {charge.key for charge in charges}
    assert len(entries) == 230
    first = next(entry for entry in entries if entry.key == charges[0].key)
    assert (first.captured_cents, first.amount_cents, first.currency) == (1999, 1999, "USD")
    assert stripe.calls.count("GET /v1/payment_intents") >= 3


async def test_book_that_breaks_off_is_no_book(bank: StripeGateway, stripe: StripeServer) -> None:
    stripe.script("GET /v1/payment_intents", Trouble.LOST_BEFORE, times=5)

    with pytest.raises(StoreUnavailable):
        _ = [entry async for entry in bank.book(str(uuid.uuid4()))]


# ------------------------------------------------------------------------------------------------ webhooks


@pytest.mark.parametrize("secret", [SECRET, BEFORE])
async def test_webhook_is_read(bank: StripeGateway, stripe: StripeServer, secret: str) -> None:
    case = case_of(bank)
    await bank.authorize(case.charge)
    body = stripe.event("payment_intent.amount_capturable_updated", stripe.of_key(case.charge.key)[0], event_id="evt_9")

    news = bank.read_news(stripe.sign(body, secret), body, 0)

    assert news == News(event_id="evt_9", kind="authorized", key=case.charge.key)


async def test_event_about_something_else_has_no_key(bank: StripeGateway, stripe: StripeServer) -> None:
    body = stripe.event("customer.created", {"id": "cus_1", "object": "customer"})

    news = bank.read_news(stripe.sign(body, SECRET), body, 0)

    assert isinstance(news, News)
    assert (news.kind, news.key) == ("customer.created", "")


@pytest.mark.parametrize("age_s", [400, 3 * 86_400])
async def test_old_webhook_is_refused(bank: StripeGateway, stripe: StripeServer, age_s: int) -> None:
    body = stripe.event("payment_intent.succeeded", {})

    assert isinstance(bank.read_news(stripe.sign(body, SECRET, age_s=age_s), body, 0), NotNews)


async def test_forged_webhooks_are_refused(bank: StripeGateway, stripe: StripeServer) -> None:
    body = stripe.event("payment_intent.succeeded", {})
    good = stripe.sign(body, SECRET)

    for headers, content in (
        ({}, body),
        ({"stripe-signature": "nonsense"}, body),
        ({"stripe-signature": "t=1"}, body),
        (stripe.sign(body, "whsec_other"), body),
        (good, body + b" "),
        (good, b""),
        (stripe.sign(b"{}", SECRET), b"{}"),
    ):
        refused = bank.read_news(headers, content, 0)
        assert isinstance(refused, NotNews)
        assert SECRET not in refused.reason


async def test_capture_of_nothing_is_refused(bank: StripeGateway) -> None:
    case = case_of(bank)

    assert isinstance(await bank.capture(case.charge, case.capture_key), CaptureRefused)
    assert isinstance(await bank.void(with_ref(case.charge, "pi_none"), case.void_key), Unknown | NotExecuted)
