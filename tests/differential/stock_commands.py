"""Commands to the stock counter."""

import asyncio

import msgspec

from differential.commands import Command, Outcome, operation, yes_or_no
from differential.side import Side
from differential.view import USERS, View
from doorbuster.domain.order import Hold
from doorbuster.engine.image import ImageChunk, ImageHead
from doorbuster.engine.ports import (
    TakeWord,
)


@operation(*TakeWord)
def take(view: View) -> Command:
    sale_id = view.sale_id()
    asks = [view.ask(sale_id) for _ in range(view.rng.randint(1, 5))]
    epoch_min = view.image_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        taken = await side.stock.take(sale_id, asks, now_ms=view.now_ms, epoch_min=epoch_min)
        answer = msgspec.structs.replace(taken, run_id="", takes=list(taken.takes))
        return Outcome([each.word for each in taken.takes], answer)

    return Command(f"take {sale_id} {asks} at {view.now_ms}, epoch {epoch_min}", run)


@operation(TakeWord.HELD, TakeWord.NO_STOCK, TakeWord.LIMIT)
def take_in_one_turn(view: View) -> Command:
    sale_id = view.sale().sale_id
    asks = [view.ask(sale_id) for _ in range(view.rng.randint(1, 4))]

    async def run(side: Side) -> Outcome:
        calls = [side.stock.take_one(sale_id, ask, view.now_ms, 0) for ask in asks]
        taken = [msgspec.structs.replace(answer, run_id="") for answer in await asyncio.gather(*calls)]
        return Outcome([each.word for each in taken], taken)

    return Command(f"take in one turn {sale_id} {asks} at {view.now_ms}", run)


@operation("some", "none")
def confirm(view: View) -> Command:
    sale_id = view.sale_id()
    pending = list(view.image(sale_id).pending)
    hold_ids = [view.one(sorted(pending)) if pending and not view.rarely() else view.ids.new_id() for _ in range(2)]
    epoch = view.image_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        count = await side.stock.confirm(sale_id, hold_ids, epoch=epoch)
        return Outcome(["some" if count else "none"], count)

    return Command(f"confirm {sale_id} {hold_ids} epoch {epoch}", run)


@operation("units", "nothing", "waits")
def release(view: View) -> Command:
    sale_id = view.sale_id()
    releases = [view.release(sale_id) for _ in range(view.rng.randint(1, 3))]
    epoch = view.image_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        units = await side.stock.release(sale_id, releases, epoch=epoch)
        return Outcome(["waits" if units is None else "units" if units else "nothing"], units)

    return Command(f"release {sale_id} {releases} epoch {epoch}", run)


@operation("yes", "no")
def set_available(view: View) -> Command:
    sale_id = view.sale_id()
    head = view.image(sale_id).head
    available = max(0, (head.available if head else 3) + view.rng.randint(-2, 2))
    epoch = view.image_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.stock.set_available(sale_id, available, epoch=epoch))

    return Command(f"set available {sale_id} {available} epoch {epoch}", run)


@operation("yes", "no")
def set_image_terms(view: View) -> Command:
    sale_id, terms = view.sale_id(), view.image_terms()
    epoch = view.image_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.stock.set_terms(sale_id, terms, epoch=epoch))

    return Command(f"set terms {sale_id} {terms} epoch {epoch}", run)


@operation("yes", "no")
def block(view: View) -> Command:
    sale_id, users = view.sale_id(), view.rng.sample(USERS, 2)
    epoch = view.image_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.stock.block(sale_id, users, epoch=epoch))

    return Command(f"block {sale_id} {users} epoch {epoch}", run)


@operation("yes", "no")
def unblock(view: View) -> Command:
    sale_id, users = view.sale_id(), list(USERS) if view.rarely(0.5) else view.rng.sample(USERS, 2)
    epoch = view.image_epoch(sale_id)

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.stock.unblock(sale_id, users, epoch=epoch))

    return Command(f"unblock {sale_id} {users} epoch {epoch}", run)


@operation("yes", "no")
def begin_image(view: View) -> Command | None:
    if not view.rarely(0.4):
        return None
    sale_id = view.sale_id()
    epoch = max(1, view.image_epoch(sale_id) + view.one((0, 1)))

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.stock.begin_image(sale_id, epoch))

    return Command(f"begin image {sale_id} epoch {epoch}", run)


@operation("yes", "no")
def write_image(view: View) -> Command:
    sale_id = view.sale_id()
    epoch = view.build_epoch(sale_id)
    holds = [view.loose_hold(sale_id) for _ in range(view.rng.randint(0, 2))]
    holds = [msgspec.structs.replace(hold, quantity=max(1, hold.quantity)) for hold in holds]
    chunk = ImageChunk(holds=holds, closed_keys=[view.loose_hold(sale_id)], blocked=view.rng.sample(USERS, 1))

    async def run(side: Side) -> Outcome:
        return yes_or_no(await side.stock.write_image(sale_id, epoch, chunk))

    return Command(f"write image {sale_id} epoch {epoch} {chunk}", run)


@operation("published", "overtaken")
def publish_image(view: View) -> Command:
    sale_id = view.sale_id()
    epoch = view.build_epoch(sale_id)
    held = sum(hold.quantity for hold in view.image(sale_id).holds.values())
    stock = view.rng.randint(0, 5)
    head = ImageHead(
        **msgspec.structs.asdict(view.image_terms()), available=stock + held, stock=stock, held=held, tick=7
    )

    async def run(side: Side) -> Outcome:
        published = await side.stock.publish_image(sale_id, epoch, head) is not None
        return Outcome(["published" if published else "overtaken"], published)

    return Command(f"publish image {sale_id} epoch {epoch} {head}", run)


@operation("dropped")
def drop_image(view: View) -> Command | None:
    if not view.rarely(0.1):
        return None
    sale_id = view.sale_id()

    async def run(side: Side) -> Outcome:
        await side.stock.drop_image(sale_id)
        return Outcome(["dropped"], None)

    return Command(f"drop image {sale_id}", run)


@operation("some", "none")
def pending_before(view: View) -> Command:
    sale_id, before_ms, limit = view.sale_id(), view.now_ms - view.one((-1, 0, 500, 5_000)), view.one((1, 100))

    async def run(side: Side) -> Outcome:
        found: list[Hold] = list(await side.stock.pending_before(sale_id, before_ms, limit))
        return Outcome(["some" if found else "none"], found)

    return Command(f"pending before {sale_id} {before_ms} limit {limit}", run)
