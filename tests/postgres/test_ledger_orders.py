"""How orders end, what is given back, and what is read of them."""

import pytest

from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import OrderStatus, SaleStatus
from doorbuster.engine.ports import PendingRelease
from postgres.ledger import ACTOR, Ledger, a_hold, an_id, holds_of


@pytest.mark.parametrize("order_id", ["", "no id", "00000000-0000-0000-0000-000000000000"])
async def test_unknown_order_is_not_found(ledger: Ledger, order_id: str) -> None:
    answer = await ledger.orders.cancel(order_id, user_id=None, actor=ACTOR)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.NOT_FOUND
    assert await ledger.orders.get(order_id) is None


@pytest.mark.parametrize("user", ["bob", "", "nul\0"])
async def test_order_of_someone_else_is_not_found(ledger: Ledger, user: str) -> None:
    order = await ledger.reserve(await ledger.sale(), "ann")
    before = await ledger.everything()

    answer = await ledger.orders.cancel(order.order_id, user_id=user, actor=ACTOR)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.NOT_FOUND
    assert await ledger.everything() == before


@pytest.mark.parametrize("end", ["PAID", "EXPIRED"])
async def test_closed_order_cannot_be_cancelled(ledger: Ledger, end: str) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)
    if end == "PAID":
        assert await ledger.pay(order.order_id)
    else:
        await ledger.make_due(order)
        assert await ledger.orders.expire_due(limit=1) == 1
    before = await ledger.everything()

    answer = await ledger.orders.cancel(order.order_id, user_id="ann", actor=ACTOR)

    assert isinstance(answer, Refusal)
    assert (answer.code, answer.detail) == (Code.ORDER_CLOSED, f"the order is {end}")
    assert await ledger.everything() == before


async def test_order_with_a_payment_under_way_cannot_be_cancelled(ledger: Ledger) -> None:
    order = await ledger.reserve(await ledger.sale())
    await ledger.open_payment(order)
    before = await ledger.everything()

    answer = await ledger.orders.cancel(order.order_id, user_id="ann", actor=ACTOR)

    assert isinstance(answer, Refusal)
    assert answer.code is Code.CONFLICT
    assert await ledger.everything() == before


async def test_cancelled_order_gives_everything_back(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=1)
    order = await ledger.reserve(sale, "ann")

    cancelled = await ledger.orders.cancel(order.order_id, user_id="ann", actor=ACTOR)

    assert not isinstance(cancelled, Refusal)
    assert cancelled.status is OrderStatus.CANCELLED
    assert cancelled.closed_ms is not None
    now = await ledger.now(sale)
    assert (now.quantity_sold, now.status) == (0, SaleStatus.ACTIVE)
    [release] = await ledger.orders.pending_releases(limit=9)
    assert release == PendingRelease(
        release_id=release.release_id,
        sale_id=sale.sale_id,
        hold_id=order.order_id,
        user_id="ann",
        epoch=1,
        forget_key=False,
    )
    assert (await ledger.audit(sale)).drifts == ()


async def test_cancelling_again_answers_the_same(ledger: Ledger) -> None:
    order = await ledger.reserve(await ledger.sale())
    first = await ledger.orders.cancel(order.order_id, user_id="ann", actor=ACTOR)
    before = await ledger.everything()

    again = await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)

    assert again == first
    assert await ledger.everything() == before


async def test_unit_that_came_back_sells_again(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=1)
    order = await ledger.reserve(sale, "ann", key="1")
    await ledger.orders.cancel(order.order_id, user_id="ann", actor=ACTOR)

    said = await ledger.commit(sale, a_hold("ann", key="2"), a_hold("bob"))

    assert said == ["committed", "no_stock"]


async def test_unit_that_comes_back_to_a_paused_sale_leaves_it_paused(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=1)
    order = await ledger.reserve(sale)
    await ledger.sales.move(sale.sale_id, SaleStatus.PAUSED, ACTOR)

    await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)

    assert (await ledger.now(sale)).status is SaleStatus.PAUSED


async def test_nothing_expires_before_its_time(ledger: Ledger) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)

    expired = await ledger.orders.expire_due(limit=10)

    assert expired == 0
    assert await ledger.orders.next_expiry_ms() == order.expires_ms
    assert await ledger.orders.get(order.order_id) == order


async def test_due_orders_of_all_sales_expire(ledger: Ledger) -> None:
    sales = [await ledger.sale(), await ledger.sale()]
    for sale in sales:
        await ledger.make_due(await ledger.reserve(sale, "ann"))
        await ledger.reserve(sale, "bob")

    expired = await ledger.orders.expire_due(limit=10)

    assert expired == 2
    for sale in sales:
        assert (await ledger.now(sale)).quantity_sold == 1
        assert (await ledger.audit(sale)).drifts == ()
    assert len(await ledger.orders.pending_releases(limit=9)) == 2


async def test_no_more_expire_than_the_limit(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=5)
    await ledger.make_due(*[await ledger.reserve(sale, f"u{n}") for n in range(5)])

    counts = [await ledger.orders.expire_due(limit=2) for _ in range(4)]

    assert counts == [2, 2, 1, 0]


async def test_aborted_sale_gives_up_its_reserved_orders(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=5)
    orders = [await ledger.reserve(sale, f"u{n}") for n in range(5)]
    await ledger.pay(orders[0].order_id)
    await ledger.open_payment(orders[1])
    assert await ledger.orders.cancel_all(sale.sale_id, actor=ACTOR, limit=9) == 0  # not aborted yet
    await ledger.sales.move(sale.sale_id, SaleStatus.CANCELLED, ACTOR)

    counts = [await ledger.orders.cancel_all(sale.sale_id, actor=ACTOR, limit=2) for _ in range(3)]

    assert counts == [2, 1, 0]
    report = await ledger.audit(sale)
    assert (report.held, report.sold, report.drifts) == (1, 1, ())


async def test_tombstone_names_the_holds_that_have_orders(ledger: Ledger) -> None:
    sale = await ledger.sale()
    owned, orphan, dead = a_hold("ann"), a_hold("bob"), a_hold("eve")
    await ledger.commit(sale, owned)
    await ledger.orders.tombstone(sale.sale_id, [dead])
    size = (await ledger.now(sale)).log_size

    have = await ledger.orders.tombstone(sale.sale_id, [owned, orphan, dead, orphan])

    assert set(have) == {owned.hold_id, dead.hold_id}
    releases = await ledger.orders.pending_releases(limit=9)
    assert [(release.hold_id, release.forget_key) for release in releases] == [
        (dead.hold_id, True),
        (orphan.hold_id, True),
    ]
    assert (await ledger.now(sale)).log_size == size
    assert (await ledger.audit(sale)).drifts == ()


@pytest.mark.parametrize("user", ["", "x" * 300, "nul\0", "half \ud800"])
async def test_hold_that_can_be_no_order_dies_all_the_same(ledger: Ledger, user: str) -> None:
    sale = await ledger.sale()
    hold = a_hold(user, quantity=0)

    have = await ledger.orders.tombstone(sale.sale_id, [hold])

    assert have == []
    assert await ledger.commit(sale, a_hold("ann", hold_id=hold.hold_id)) == ["tombstoned"]


async def test_key_of_a_tombstone_may_be_used_again(ledger: Ledger) -> None:
    sale = await ledger.sale()
    await ledger.orders.tombstone(sale.sale_id, [a_hold("ann", key="k")])

    said = await ledger.commit(sale, a_hold("ann", key="k"))

    assert said == ["committed"]


async def test_settled_releases_are_gone(ledger: Ledger) -> None:
    sale = await ledger.sale()
    for user in ("ann", "bob"):
        order = await ledger.reserve(sale, user)
        await ledger.orders.cancel(order.order_id, user_id=None, actor=ACTOR)
    first, second = await ledger.orders.pending_releases(limit=9)

    await ledger.orders.releases_done([first.release_id])
    await ledger.orders.releases_done([first.release_id])
    await ledger.orders.releases_done([])

    assert await ledger.orders.pending_releases(limit=9) == [second]


async def test_holds_are_told_apart_by_what_became_of_them(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=4)
    live, paid, closed, releasing = [await ledger.reserve(sale, f"u{n}") for n in range(4)]
    await ledger.pay(paid.order_id)
    await ledger.orders.cancel(closed.order_id, user_id=None, actor=ACTOR)
    await ledger.orders.releases_done([row.release_id for row in await ledger.orders.pending_releases(limit=9)])
    await ledger.orders.cancel(releasing.order_id, user_id=None, actor=ACTOR)
    ids = [order.order_id for order in (live, paid, closed, releasing)]

    states = await ledger.orders.closing_hold_ids(sale.sale_id, [*ids, an_id(), "no id"])

    assert states == dict(zip(ids, ["live", "live", "closed", "releasing"], strict=True))
    assert await ledger.orders.live_hold_ids(sale.sale_id) == {live.order_id, paid.order_id}


async def test_order_is_found_by_its_key(ledger: Ledger) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale, "ann", key="k")

    assert await ledger.orders.by_key(sale.sale_id, "ann", "k") == order
    assert await ledger.orders.by_key(sale.sale_id, "ann", "other") is None
    assert await ledger.orders.by_key(sale.sale_id, "bob", "k") is None
    assert await ledger.orders.by_key("no id", "ann", "k\0") is None


async def test_order_shows_its_latest_payment(ledger: Ledger) -> None:
    order = await ledger.reserve(await ledger.sale())
    await ledger.open_payment(order, "AUTHORIZED")

    shown = await ledger.orders.get(order.order_id)

    assert shown is not None
    assert shown.payment is not None
    assert (shown.payment.state, shown.payment.attempt, shown.payment.gateway) == ("AUTHORIZED", 1, "simulated")


@pytest.mark.parametrize("cursor", ["no id", ""])
async def test_cursor_that_is_none_finds_nothing(ledger: Ledger, cursor: str) -> None:
    sale = await ledger.sale()
    await ledger.reserve(sale)

    page = await ledger.orders.page(sale.sale_id, status=None, cursor=cursor, limit=9)

    assert (page.orders, page.next_cursor) == ((), None)


async def test_pages_hold_every_order_once(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=9)
    holds = holds_of(9)
    await ledger.commit(sale, *holds)
    await ledger.orders.cancel(holds[4].hold_id, user_id=None, actor=ACTOR)
    await ledger.pay(holds[2].hold_id)
    await ledger.reserve(await ledger.sale())

    seen: list[str] = []
    cursor = None
    while True:
        page = await ledger.orders.page(sale.sale_id, status=None, cursor=cursor, limit=2)
        seen += [order.order_id for order in page.orders]
        cursor = page.next_cursor
        if cursor is None:
            break
    cancelled = await ledger.orders.page(sale.sale_id, status=OrderStatus.CANCELLED, cursor=None, limit=2)

    assert seen == sorted(hold.hold_id for hold in holds)
    assert [order.order_id for order in cancelled.orders] == [holds[4].hold_id]


async def test_refunded_unit_goes_back_on_sale_once(ledger: Ledger) -> None:
    sale = await ledger.sale(quantity_available=1)
    order = await ledger.reserve(sale)
    await ledger.pay(order.order_id)

    returned = [await ledger.sql.fetchval("select return_order($1)", order.order_id) for _ in range(2)]

    assert returned == [True, False]
    report = await ledger.audit(sale)
    assert (report.free, report.sold, report.drifts) == (1, 0, ())
    assert await ledger.orders.live_hold_ids(sale.sale_id) == set()


async def test_order_that_expired_cannot_be_paid(ledger: Ledger) -> None:
    sale = await ledger.sale()
    order = await ledger.reserve(sale)
    await ledger.make_due(order)
    await ledger.orders.expire_due(limit=9)
    before = await ledger.everything()

    paid = await ledger.pay(order.order_id)

    assert paid is False
    assert await ledger.everything() == before
