"""What may be asked about a line after a step, and the laws of lines (I10), which hold after every step."""

from doorbuster.domain.order import Order
from doorbuster.domain.sale import Sale, SaleMode
from doorbuster.domain.waiting import LONGER
from scenarios.notation import Step
from scenarios.stage import Stage


async def numbers(stage: Stage, step: Step, sale: Sale) -> dict[str, str]:
    """`line` names who waits, in order; `granted` everybody who got a unit, in the order of the log; `issued` is the
    highest number given to a joiner. The others are what the first buyer of the step was told last."""
    if sale.mode is SaleMode.RACE:
        return {}
    image = await stage.stock.summary(stage.sale_id)
    waiting = await stage.line.first_numbers(stage.sale_id, 10_000)
    orders = await _granted_orders(stage)
    made = [number for chunk in [rows async for rows in stage.lines.grants(stage.sale_id)] for _, number, _ in chunk]
    first = step.names[0] if step.names else ""
    place = stage.places.get(first)
    eta = place.eta if place is not None else None
    return {
        "line": ",".join(user for user, _ in waiting) or "nobody",
        "waiting": "none" if image is None else str(image.waiting),
        "granted": ",".join(orders[number].user_id for number in made) or "nobody",
        "grants": str(len(made)),
        "issued": "none" if image is None or image.line is None else str(image.line.number_next),
        "http": str(stage.http),
        "position": "none" if place is None or place.position is None else str(place.position),
        "eta": "none" if eta is None or eta.high is None else f"{eta.low:g}-{eta.high:g}",
        "longer": "yes" if eta is not None and eta.reason.startswith(LONGER) else "no",
        "ask_again": "yes" if place is not None and place.poll_after_ms is not None else "no",
        "ends_in": await _ends_in(stage, first),
    }


async def _ends_in(stage: Stage, buyer: str) -> str:
    """Seconds until the buyer's latest order runs out."""
    order = await stage.ledger.orders.get(stage.latest[buyer]) if buyer in stage.latest else None
    return "none" if order is None else f"{(order.expires_ms - stage.ledger.clock.now_ms()) / 1000:g}s"


async def _granted_orders(stage: Stage) -> dict[int, Order]:
    page = await stage.ledger.orders.page(stage.sale_id, status=None, cursor=None, limit=10_000)
    return {order.line_number: order for order in page.orders if order.line_number is not None}


async def check(stage: Stage, sale: Sale, where: str) -> None:
    """I10: one place a buyer, one order a number, and what was granted in a step stood before all who still wait."""
    if sale.mode is SaleMode.RACE:
        return
    waiting = await stage.line.first_numbers(stage.sale_id, 10_000)
    assert len({user for user, _ in waiting}) == len(waiting), where
    assert len({number for _, number in waiting}) == len(waiting), where
    made = [number for chunk in [rows async for rows in stage.lines.grants(stage.sale_id)] for _, number, _ in chunk]
    assert len(set(made)) == len(made), f"{where}: a number was granted twice"
    fresh = [number for number in made if number not in stage.granted]
    assert fresh == sorted(fresh), f"{where}: granted out of order: {fresh}"
    if fresh and waiting:
        assert max(fresh) < waiting[0][1], f"{where}: somebody was passed"
    assert not {number for _, number in waiting} & set(made), f"{where}: who was granted still waits"
    stage.granted.update(fresh)
    image = await stage.stock.summary(stage.sale_id)
    if image is not None:
        assert image.waiting >= len(waiting), where
        if image.line is not None and image.epoch == sale.epoch:
            assert image.line.number_next <= image.line.number_high <= sale.number_high, f"{where}: Q2"
