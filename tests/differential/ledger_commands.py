"""Commands to the ledger, and the use cases that write both stores."""

import msgspec

from differential.commands import Command, Outcome, operation, yes_or_no
from differential.side import Side
from differential.view import USERS, View
from doorbuster.domain.order import Order
from doorbuster.domain.outcomes import Refusal
from doorbuster.domain.transitions import SALE_OVER, OrderStatus, SaleStatus
from doorbuster.engine.ports import Actor, CommitBatch, CommitWord

ACTOR = Actor(name="stream")


@operation("new", "same")
def create(view: View) -> Command | None:
    again = bool(view.recent()) and (not view.needs_a_sale() or view.rarely(0.3))
    if again and not view.rarely(0.2):
        return None
    sale_id, terms = view.sale().sale_id if again else view.ids.new_id(), view.terms()

    async def run(side: Side) -> Outcome:
        sale = side.plain(await side.ledger.sales.create(sale_id, terms, ACTOR))
        return Outcome(["same" if again else "new"], sale)

    return Command(f"create {sale_id} {terms}", run)


@operation(*CommitWord)
def commit(view: View) -> Command:
    sale_id = view.sale_id() if view.rarely(0.6) else view.sale_that(SaleStatus.PAUSED).sale_id
    holds = [view.hold(sale_id) for _ in range(view.rng.randint(1, 4))]
    batch = CommitBatch(sale_id=sale_id, epoch=view.ledger_epoch(sale_id), tick=view.rng.randint(1, 50), holds=holds)

    async def run(side: Side) -> Outcome:
        answers = list(await side.ledger.orders.commit(batch))
        return Outcome([answer.word for answer in answers], answers)

    return Command(f"commit {batch}", run)


@operation("committed", "refused", "not taken")
def reserve(view: View) -> Command:
    """As a gate does it: take, commit what was held, confirm."""
    sale = view.sale()
    ask = view.ask(sale.sale_id)

    async def run(side: Side) -> Outcome:
        taken = await side.stock.take(sale.sale_id, [ask], now_ms=view.now_ms, epoch_min=sale.epoch)
        if taken.takes[0].word != "held":
            return Outcome(["not taken"], taken.takes[0])
        [hold] = [
            hold
            for hold in await side.stock.pending_before(sale.sale_id, view.now_ms + 1, 10_000)
            if hold.hold_id == ask.hold_id
        ]
        batch = CommitBatch(sale_id=sale.sale_id, epoch=taken.epoch, tick=taken.tick, holds=[hold])
        [answer] = await side.ledger.orders.commit(batch)
        if answer.word is not CommitWord.COMMITTED:
            return Outcome(["refused"], answer)
        await side.stock.confirm(sale.sale_id, [hold.hold_id], epoch=taken.epoch)
        return Outcome(["committed"], answer)

    return Command(f"reserve {sale.sale_id} {ask}", run)


def _word_of(answer: object) -> str:
    return answer.code.value if isinstance(answer, Refusal) else "done"


def _plain(side: Side, answer: object) -> object:
    """What is compared of an answer: of a refusal its code, of a sale all but the server's name."""
    if isinstance(answer, Refusal):
        return answer.code
    return answer if isinstance(answer, Order) else side.plain(answer)  # pyright: ignore[reportArgumentType]


@operation("done", "not-found", "order-closed", "conflict")
def cancel(view: View) -> Command:
    order = view.order(*view.one(((OrderStatus.RESERVED,), (OrderStatus.PAID, OrderStatus.EXPIRED))))
    paying = [each for each in view.rows.orders.values() if view.rows.payment_open(each)]
    order = view.one(paying) if paying and view.rarely(0.5) else order
    order_id = order.order_id if order and not view.rarely() else view.ids.new_id()
    user = view.one((None, order.user_id, order.user_id, "somebody else")) if order else None

    async def run(side: Side) -> Outcome:
        answer = await side.ledger.orders.cancel(order_id, user_id=user, actor=ACTOR)
        return Outcome([_word_of(answer)], _plain(side, answer))

    return Command(f"cancel {order_id} by {user}", run)


@operation("some", "none")
def cancel_all(view: View) -> Command:
    aborted = [sale_id for sale_id, sale in view.rows.sales.items() if sale.status is SaleStatus.CANCELLED]
    busy = [sale_id for sale_id in aborted if view.orders(sale_id, OrderStatus.RESERVED)]
    sale_id, limit = view.one(busy or aborted or [view.sale_id()]), view.one((1, 100))

    async def run(side: Side) -> Outcome:
        count = await side.ledger.orders.cancel_all(sale_id, actor=ACTOR, limit=limit)
        return Outcome(["some" if count else "none"], count)

    return Command(f"cancel all {sale_id} limit {limit}", run)


@operation("some", "none")
def expire_due(view: View) -> Command:
    async def run(side: Side) -> Outcome:
        count = await side.ledger.orders.expire_due(limit=1_000)
        return Outcome(["some" if count else "none"], count)

    return Command("expire due", run)


@operation("buried", "exist")
def tombstone(view: View) -> Command:
    sale_id = view.sale_id()
    holds = [view.hold(sale_id) for _ in range(2)]

    async def run(side: Side) -> Outcome:
        exist = list(await side.ledger.orders.tombstone(sale_id, holds))
        return Outcome(["exist"] if exist else ["buried"], exist)

    return Command(f"tombstone {sale_id} {holds}", run)


@operation("done")
def releases_done(view: View) -> Command:
    skip = view.rng.randint(0, 2)

    async def run(side: Side) -> Outcome:
        # The rows of one transaction have no order among themselves.
        rows = sorted(await side.ledger.orders.pending_releases(limit=1_000), key=lambda row: row.hold_id)
        await side.ledger.orders.releases_done([row.release_id for row in rows[skip : skip + 1]])
        return Outcome(["done"], len(rows))

    return Command(f"release done, the {skip}th", run)


@operation("live", "releasing", "closed", "unknown")
def closing_hold_ids(view: View) -> Command:
    sale_id = view.sale_id()
    known = [order.order_id for sale in view.recent() for order in view.orders(sale.sale_id)]
    hold_ids = [*view.rng.sample(known, min(6, len(known))), view.ids.new_id()]

    async def run(side: Side) -> Outcome:
        states = await side.ledger.orders.closing_hold_ids(sale_id, hold_ids)
        return Outcome([*states.values(), "unknown"], states)

    return Command(f"closing hold ids {sale_id} {hold_ids}", run)


@operation("found", "none")
def by_key(view: View) -> Command:
    order = view.order(*OrderStatus)
    sale_id, user, key = view.sale_id(), view.one(USERS), "k1"
    if order and not view.rarely(0.3):
        sale_id, user, key = order.sale_id, order.user_id, order.idempotency_key or "k1"

    async def run(side: Side) -> Outcome:
        found = await side.ledger.orders.by_key(sale_id, user, key)
        return Outcome(["found" if found else "none"], found)

    return Command(f"by key {sale_id} {user} {key}", run)


@operation("done", "not-found", "conflict")
def change(view: View) -> Command:
    sale = view.sale()
    terms, sale_id = view.changed_terms(sale), view.ids.new_id() if view.rarely(0.05) else sale.sale_id
    expected = view.one(view.recent()) if view.rarely(0.2) else sale

    async def run(side: Side) -> Outcome:
        answer = await side.ledger.sales.change(sale_id, terms, expected, ACTOR)
        return Outcome([_word_of(answer)], _plain(side, answer))

    return Command(f"change {sale_id} {terms} expecting {expected}", run)


@operation(
    *(f"{status} done" for status in SaleStatus),
    *(f"{status} conflict" for status in SaleStatus),
    "not-found",
)
def move(view: View) -> Command:
    sale_id, to, start_now = view.sale_id(), view.one(tuple(SaleStatus)), view.rarely(0.3)
    full = [sale for sale in view.recent() if sale.quantity_sold == sale.quantity_available]
    if full and view.rarely():
        sale_id, to = view.one(full).sale_id, SaleStatus.SOLD_OUT
    over = [sale_id for sale_id, sale in view.rows.sales.items() if sale.status in SALE_OVER]
    if over and view.rarely(0.2):
        sale_id, to = view.one(over), view.one((*SaleStatus, *SALE_OVER, *SALE_OVER))
    elif view.orders(sale_id, OrderStatus.RESERVED) and view.rarely(0.2):
        to = view.one((SaleStatus.CANCELLED, SaleStatus.SOLD_OUT))
    elif to in SALE_OVER and not view.rarely(0.2):
        to = SaleStatus.ACTIVE

    async def run(side: Side) -> Outcome:
        answer = await side.ledger.sales.move(sale_id, to, ACTOR, start_now=start_now)
        word = _word_of(answer)
        return Outcome([word if word == "not-found" else f"{to} {word}"], _plain(side, answer))

    return Command(f"move {sale_id} to {to}{' now' * start_now}", run)


@operation("some", "none")
def follow_clock(view: View) -> Command:
    async def run(side: Side) -> Outcome:
        moved = [side.plain(sale) for sale in await side.ledger.sales.follow_clock()]
        return Outcome(["some" if moved else "none"], moved)

    return Command("follow clock", run)


@operation("raised", "late")
def raise_epoch(view: View) -> Command | None:
    if not view.rarely(0.2):
        return None
    sale_id = view.sale_id()
    seen = view.ledger_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        epoch = await side.ledger.sales.raise_epoch(sale_id, seen, "lost")
        return Outcome(["late" if epoch is None else "raised"], epoch)

    return Command(f"raise epoch {sale_id} seen {seen}", run)


@operation("yes", "no")
def request_rebuild(view: View) -> Command:
    sale_id = view.sale_id()
    epoch = view.ledger_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.ledger.sales.request_rebuild(sale_id, epoch, "doubt"))

    return Command(f"request rebuild {sale_id} epoch {epoch}", run)


@operation("yes", "no")
def image_published(view: View) -> Command:
    sale_id = view.sale_id()
    epoch = view.ledger_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.ledger.sales.image_published(sale_id, epoch, "a server"))

    return Command(f"image published {sale_id} epoch {epoch}", run)


@operation("changed", "same")
def set_blocked(view: View) -> Command:
    sale_id = view.sale_id()
    before = sorted(view.rows.blocked[sale_id])
    users = before if view.rarely(0.3) else view.rng.sample(USERS, view.rng.randint(0, 2))

    async def run(side: Side) -> Outcome:
        added, removed = await side.ledger.sales.set_blocked(sale_id, users, ACTOR)
        return Outcome(["changed" if added or removed else "same"], (list(added), list(removed)))

    return Command(f"set blocked {sale_id} {users}", run)


# ---------------------------------------------------------------------------------------------------- use cases


@operation("built", "late")
def rebuild(view: View) -> Command:
    sale = view.sale_that(*(status for status in SaleStatus if status not in SALE_OVER))
    if view.rarely(0.2):  # the row was read before somebody else raised the epoch
        sale = msgspec.structs.replace(sale, epoch=sale.epoch - 1)

    async def run(side: Side) -> Outcome:
        epoch = await side.rebuilder.rebuild(sale, "asked for")
        return Outcome(["late" if epoch is None else "built"], epoch)

    return Command(f"rebuild {sale.sale_id} seen {sale.epoch}", run)


@operation("units", "nothing")
def relay(view: View) -> Command:
    async def run(side: Side) -> Outcome:
        done = await side.releaser.run_once()
        return Outcome(["units" if done.units else "nothing"], done)

    return Command("relay releases", run)


@operation("settled", "nothing")
def sweep(view: View) -> Command:
    pending = [sale for sale in view.rows.sales.values() if view.image(sale.sale_id).pending]
    sale, now_ms = view.one(pending) if pending else view.sale(), view.now_ms + view.one((0, 15_000))

    async def run(side: Side) -> Outcome:
        settled = await side.sweep.run_once(sale, now_ms)
        return Outcome(["settled" if settled else "nothing"], settled)

    return Command(f"sweep {sale.sale_id}", run)


# ---------------------------------------------------------------------------------------------------- time


@operation("done")
def advance(view: View) -> Command:
    by_ms = view.one((1, 1, 500, 1_000, 1_000, 5_000, 12_000, 60_000))

    async def run(side: Side) -> Outcome:
        await side.ledger.advance_ms(by_ms)
        return Outcome(["done"], await side.ledger.sales.time_ms())

    return Command(f"advance {by_ms} ms", run)
