"""Commands to the store of payments: every step of an attempt, from any state it may be in."""

from collections.abc import Awaitable, Callable

from conformance.ledgers import GATEWAY
from differential.commands import Command, Outcome, operation, yes_or_no
from differential.side import Side
from differential.view import View
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.payment import Attempt, VoidReason
from doorbuster.domain.transitions import OrderStatus, PaymentState
from doorbuster.engine.payment_ports import BeginWord, PayAsk, PaymentStore

Step = Callable[[PaymentStore, str], Awaitable[Attempt]]


@operation(*BeginWord, "not-found", "idempotency-mismatch", "order-closed", "conflict")
def begin_payment(view: View) -> Command | None:
    order = view.order(*view.one(((OrderStatus.RESERVED,), (OrderStatus.RESERVED,), tuple(OrderStatus))))
    if order is None:
        return None
    ask = PayAsk(
        payment_id=view.ids.new_id(),
        order_id=view.ids.new_id() if view.rarely(0.05) else order.order_id,
        user_id="somebody else" if view.rarely(0.05) else order.user_id,
        gateway=GATEWAY,
        payment_method="pm_ok",
        key=view.one(("1", "2", "3", "4", "5")),
        digest=view.one(("body", "body", "body", "other body")),
    )

    async def run(side: Side) -> Outcome:
        begun = await side.ledger.payments.begin(ask)
        if isinstance(begun, Refusal):
            return Outcome([begun.code], begun)
        return Outcome([begun.word], begun)

    return Command(f"begin payment {ask}", run)


def step_of(view: View, name: str, start: PaymentState, step: Step) -> Command | None:
    """One step of an attempt, mostly of one that is where the step starts."""
    rows = list(view.ledger.payments.rows.values())
    fitting = [row for row in rows if row.state is start]
    if not rows or (not fitting and not view.rarely(0.2)):
        return None
    attempt = view.one(fitting if fitting and not view.rarely(0.2) else rows)

    async def run(side: Side) -> Outcome:
        after = await step(side.ledger.payments, attempt.payment_id)
        return Outcome(["stayed" if after.state is attempt.state else "moved"], after)

    return Command(f"{name} {attempt.payment_id}, which is {attempt.state}", run)


@operation("moved", "stayed")
def send_payment(view: View) -> Command | None:
    return step_of(view, "send", PaymentState.INTENT, lambda store, row: store.send(row))


@operation("moved", "stayed")
def decline_payment(view: View) -> Command | None:
    return step_of(view, "decline", PaymentState.SENT, lambda store, row: store.decline(row, "no funds"))


@operation("moved", "stayed")
def confirm_payment(view: View) -> Command | None:
    return step_of(view, "confirm", PaymentState.SENT, lambda store, row: store.confirm(row, "reference"))


@operation("moved", "stayed")
def capture_payment(view: View) -> Command | None:
    return step_of(view, "captured", PaymentState.CAPTURING, lambda store, row: store.captured(row))


@operation("moved", "stayed")
def void_payment(view: View) -> Command | None:
    start = view.one((PaymentState.INTENT, PaymentState.SENT, PaymentState.CAPTURING))
    reason = view.one((VoidReason.TOO_OLD, VoidReason.CAPTURE_REFUSED))
    return step_of(view, f"void ({reason})", start, lambda store, row: store.void(row, reason))


@operation("moved", "stayed")
def voided_payment(view: View) -> Command | None:
    return step_of(view, "voided", PaymentState.VOIDING, lambda store, row: store.voided(row))


@operation("moved", "stayed")
def refund_due_payment(view: View) -> Command | None:
    return step_of(view, "refund due", PaymentState.VOIDING, lambda store, row: store.refund_due(row))


@operation("moved", "stayed")
def refunded_payment(view: View) -> Command | None:
    return step_of(view, "refunded", PaymentState.REFUND_DUE, lambda store, row: store.refunded(row))


@operation("some", "none")
def claim_payments(view: View) -> Command:
    quiet_ms, limit = view.one((0, 1_000, 30_000)), 1_000

    async def run(side: Side) -> Outcome:
        claimed = await side.ledger.payments.claim(gateway=GATEWAY, quiet_ms=quiet_ms, limit=limit)
        rows = sorted(claimed, key=lambda row: row.payment_id)  # those of one moment have no order
        return Outcome(["some" if rows else "none"], rows)

    return Command(f"claim payments quiet for {quiet_ms} ms", run)


@operation("yes", "no")
def return_units(view: View) -> Command | None:
    order = view.order(OrderStatus.PAID)
    if order is None:
        return None

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.ledger.return_units(order.order_id))

    return Command(f"return units of {order.order_id}", run)
