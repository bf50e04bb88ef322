"""Who is on a waitlist, and that nobody is told twice, late, or against their will."""

import asyncio

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from conformance.suite import Suite
from doorbuster.domain.notices import Channel, NoticeKind, NoticeState
from doorbuster.domain.push import Subscription
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import SaleStatus
from doorbuster.engine.notifying import Notice, Sending

waitlists = Suite[LedgerBench]()
LEASE_MS = MINUTE


async def listed(bench: LedgerBench, *users: str) -> Sale:
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR)
    for user in users:
        await bench.ledger.waitlist.join(sale.sale_id, user, f"{user}@example.com")
    return sale


async def queue(bench: LedgerBench, sale: Sale, kind: NoticeKind = NoticeKind.HOUR, *, within: int = HOUR) -> int:
    return await bench.ledger.notices.queue(sale.sale_id, kind, bench.now_ms() + within)


async def claim(bench: LedgerBench, lease: str = "", limit: int = 100, channel: Channel = Channel.MAIL) -> list[Notice]:
    lease = lease or bench.ids.new_id()
    return list(await bench.ledger.notices.claim(lease, channel, lease_ms=LEASE_MS, limit=limit))


def browser(name: str) -> Subscription:
    return Subscription(endpoint=f"https://push.example.com/{name}", p256dh=f"key of {name}", auth="auth")


async def states(
    bench: LedgerBench, sale: Sale, kind: NoticeKind = NoticeKind.HOUR, channel: Channel = Channel.MAIL
) -> dict[NoticeState, int]:
    found = await bench.ledger.notices.progress(sale.sale_id, kind, channel)
    return {state: count for state, count in found.items() if count}


@waitlists
async def buyer_is_on_the_list_once(bench: LedgerBench) -> None:
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR)
    store = bench.ledger.waitlist

    told = await asyncio.gather(*(store.join(sale.sale_id, "ann", "ann@example.com") for _ in range(20)))

    assert sum(told) == 1
    assert await store.counts() == {sale.sale_id: 1}
    assert await store.leave(sale.sale_id, "ann")
    assert not await store.leave(sale.sale_id, "ann")
    assert (await store.counts()).get(sale.sale_id, 0) == 0


@waitlists
async def many_join_in_one_moment(bench: LedgerBench) -> None:
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR)
    joining = (bench.ledger.waitlist.join(sale.sale_id, f"u{number % 300}", None) for number in range(600))

    told = await asyncio.gather(*joining)

    assert sum(told) == 300
    assert await bench.ledger.notices.people(sale.sale_id) == 300
    assert await queue(bench, sale) == 0


@waitlists
async def later_address_replaces_the_one_before(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann")
    await bench.ledger.waitlist.join(sale.sale_id, "ann", None)
    await bench.ledger.waitlist.join(sale.sale_id, "ann", "other@example.com")

    await queue(bench, sale)

    assert [notice.email for notice in await claim(bench)] == ["other@example.com"]


@waitlists
async def everybody_is_told_once(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann", "bob")
    assert await queue(bench, sale) == 2
    assert await queue(bench, sale) == 0
    await bench.ledger.waitlist.join(sale.sale_id, "eve", "eve@example.com")
    assert await queue(bench, sale) == 1

    parts = await asyncio.gather(*(claim(bench, limit=2) for _ in range(5)))

    assert sorted(notice.user_id for part in parts for notice in part) == ["ann", "bob", "eve"]
    assert not await claim(bench)


@waitlists
async def notice_whose_sender_died_is_not_sent_again(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann")
    await queue(bench, sale)
    [notice] = await claim(bench, lease := bench.ids.new_id())
    await bench.ledger.advance_ms(LEASE_MS)

    assert not await claim(bench)

    assert await states(bench, sale) == {NoticeState.UNKNOWN: 1}
    await bench.ledger.notices.record(lease, [Sending(notice_id=notice.notice_id, state=NoticeState.PENDING)])
    assert await states(bench, sale) == {NoticeState.UNKNOWN: 1}


@waitlists
async def notice_that_could_not_be_sent_is_tried_again(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann")
    await queue(bench, sale)
    [notice] = await claim(bench, lease := bench.ids.new_id())
    later = Sending(notice_id=notice.notice_id, state=NoticeState.PENDING, words="away", pause_ms=5_000)
    await bench.ledger.notices.record(lease, [later])
    assert not await claim(bench)

    await bench.ledger.advance_ms(5_000)

    [again] = await claim(bench, lease := bench.ids.new_id())
    assert (again.notice_id, again.attempts) == (notice.notice_id, 2)
    await bench.ledger.notices.record(lease, [Sending(notice_id=again.notice_id, state=NoticeState.SENT)])
    assert await states(bench, sale) == {NoticeState.SENT: 1}


@waitlists
async def late_reminder_is_not_sent(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann")
    await queue(bench, sale, within=MINUTE)
    await bench.ledger.advance_ms(MINUTE)

    assert not await claim(bench)

    assert await states(bench, sale) == {NoticeState.EXPIRED: 1}


@waitlists
async def unsubscribed_address_is_never_written_to(bench: LedgerBench) -> None:
    """Of no sale, and not even what was queued before."""
    sale = await listed(bench, "ann", "bob")
    await queue(bench, sale)
    store = bench.ledger.waitlist
    [first, _] = await claim(bench, lease := bench.ids.new_id())
    again = Sending(notice_id=first.notice_id, state=NoticeState.PENDING)
    await bench.ledger.notices.record(lease, [again])

    assert await store.unsubscribed(first.token) is False
    assert await store.unsubscribe(first.token)
    assert await store.unsubscribe(first.token)

    assert await store.unsubscribed(first.token) is True
    assert not await claim(bench)
    assert (await states(bench, sale))[NoticeState.UNSUBSCRIBED] == 1
    other = await listed(bench, "ann")
    assert await queue(bench, other) == 0
    assert await store.unsubscribed("no token") is None
    assert not await store.unsubscribe(bench.ids.new_id())


@waitlists
async def winners_and_losers_are_told_apart(bench: LedgerBench) -> None:
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR, quantity_available=2)
    for user in ("ann", "bob", "eve"):
        await bench.ledger.waitlist.join(sale.sale_id, user, f"{user}@example.com")
    sale = await bench.sales.get(sale.sale_id) or sale
    opened = await bench.sales.move(sale.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)
    assert isinstance(opened, Sale)
    await bench.paid(opened, "ann")
    await bench.reserve(opened, "bob")

    assert await queue(bench, sale, NoticeKind.WON) == 1
    assert await queue(bench, sale, NoticeKind.LOST) == 2

    told = {notice.user_id: notice.kind for notice in await claim(bench)}
    assert told == {"ann": NoticeKind.WON, "bob": NoticeKind.LOST, "eve": NoticeKind.LOST}


@waitlists
async def both_ways_that_were_given_are_used(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann")
    await bench.ledger.waitlist.join(sale.sale_id, "ann", None, browser("phone"))
    await bench.ledger.waitlist.join(sale.sale_id, "bob", None, browser("laptop"))

    assert await queue(bench, sale) == 3
    assert await queue(bench, sale) == 0

    [mail] = await claim(bench)
    pushes = await claim(bench, channel=Channel.PUSH)
    assert (mail.user_id, mail.email, mail.push) == ("ann", "ann@example.com", None)
    assert [(notice.user_id, notice.push) for notice in pushes] == [
        ("ann", browser("phone")),
        ("bob", browser("laptop")),
    ]
    assert not any(notice.email or notice.token for notice in pushes)
    assert mail.expires_ms == pushes[0].expires_ms == bench.now_ms() + HOUR


@waitlists
async def later_browser_replaces_the_one_before(bench: LedgerBench) -> None:
    sale = await listed(bench)
    for name in ("phone", "laptop"):
        await bench.ledger.waitlist.join(sale.sale_id, "ann", None, browser(name))
    await bench.ledger.waitlist.join(sale.sale_id, "ann", None)
    await queue(bench, sale)

    assert [notice.push for notice in await claim(bench, channel=Channel.PUSH)] == [browser("laptop")]


@waitlists
async def browser_with_new_keys_is_told_with_those(bench: LedgerBench) -> None:
    """Even what was queued before; two buyers may share a browser, in one moment too, which is told once."""
    sale = await listed(bench)
    await bench.ledger.waitlist.join(sale.sale_id, "ann", None, browser("phone"))
    await queue(bench, sale)
    anew = Subscription(endpoint=browser("phone").endpoint, p256dh="another key", auth="another")
    joining = (bench.ledger.waitlist.join(sale.sale_id, user, None, anew) for user in ("ann", "bob"))
    assert await asyncio.gather(*joining) == [False, True]
    assert await queue(bench, sale) == 0

    assert [notice.push for notice in await claim(bench, channel=Channel.PUSH)] == [anew]


@waitlists
async def browser_that_is_gone_is_told_nothing_of_any_sale(bench: LedgerBench) -> None:
    """Not even what was queued before, until it asks anew."""
    sale, other = await listed(bench), await listed(bench)
    for one in (sale, other):
        await bench.ledger.waitlist.join(one.sale_id, "ann", "ann@example.com", browser("phone"))
        await queue(bench, one)
    [first] = await claim(bench, lease := bench.ids.new_id(), limit=1, channel=Channel.PUSH)

    gone = Sending(notice_id=first.notice_id, state=NoticeState.UNSUBSCRIBED, words="410")
    await bench.ledger.notices.record(lease, [gone])

    assert not await claim(bench, channel=Channel.PUSH)
    for one in (sale, other):
        assert await states(bench, one, channel=Channel.PUSH) == {NoticeState.UNSUBSCRIBED: 1}
        assert await queue(bench, one, NoticeKind.MINUTES) == 1, "the mail alone"
    await bench.ledger.waitlist.join(sale.sale_id, "ann", None, browser("phone"))
    assert await queue(bench, sale, NoticeKind.MINUTES) == 1


@waitlists
async def channels_do_not_wait_for_each_other(bench: LedgerBench) -> None:
    """What is closed on the way takes no place in a batch."""
    sale = await listed(bench, *(f"u{number}" for number in range(20)))
    await queue(bench, sale, within=MINUTE)
    await bench.ledger.waitlist.join(sale.sale_id, "ann", "ann@example.com", browser("phone"))
    await bench.ledger.advance_ms(MINUTE)
    await queue(bench, sale)

    assert [notice.user_id for notice in await claim(bench, limit=5)] == ["ann"]
    assert [notice.user_id for notice in await claim(bench, limit=5, channel=Channel.PUSH)] == ["ann"]
    assert await states(bench, sale) == {NoticeState.EXPIRED: 20, NoticeState.SENDING: 1}


@waitlists
async def sale_that_is_put_off_reminds_anew(bench: LedgerBench) -> None:
    """Who was told of the old start is told of the new one, and what waits for the old one is not sent."""
    sale = await listed(bench, "ann", "bob")
    await queue(bench, sale)
    [told] = await claim(bench, lease := bench.ids.new_id(), limit=1)
    assert told.start_ms == sale.start_ms
    await bench.ledger.notices.record(lease, [Sending(notice_id=told.notice_id, state=NoticeState.SENT)])

    later = bench.terms(start_ms=sale.start_ms + HOUR, end_ms=sale.end_ms + HOUR)
    put_off = await bench.sales.change(sale.sale_id, later, await bench.current(sale), ACTOR)
    assert isinstance(put_off, Sale)

    assert not await claim(bench)
    assert await states(bench, sale) == {NoticeState.SENT: 1, NoticeState.EXPIRED: 1}
    assert await queue(bench, put_off) == 2
    assert await queue(bench, put_off) == 0
    assert [notice.start_ms for notice in await claim(bench)] == [put_off.start_ms] * 2


@waitlists
async def reminder_queued_for_a_start_that_is_no_more_is_not_sent(bench: LedgerBench) -> None:
    """Its step had read the sale before it was moved."""
    sale = await listed(bench, "ann")
    await bench.ledger.notices.queue(sale.sale_id, NoticeKind.HOUR, bench.now_ms() + HOUR, sale.start_ms - MINUTE)

    assert not await claim(bench)
    assert await states(bench, sale) == {NoticeState.EXPIRED: 1}


@waitlists
async def nobody_is_reminded_of_a_sale_that_is_called_off_or_has_begun(bench: LedgerBench) -> None:
    aborted, opened = await listed(bench, "ann"), await listed(bench, "bob")
    for sale in (aborted, opened):
        await queue(bench, sale, NoticeKind.MINUTES)
    await bench.sales.move(aborted.sale_id, SaleStatus.CANCELLED, ACTOR)
    await bench.sales.move(opened.sale_id, SaleStatus.ACTIVE, ACTOR, start_now=True)
    await queue(bench, aborted, NoticeKind.ABORTED)

    assert [notice.kind for notice in await claim(bench)] == [NoticeKind.ABORTED]

    for sale in (aborted, opened):
        assert await states(bench, sale, NoticeKind.MINUTES) == {NoticeState.EXPIRED: 1}


@waitlists
async def results_of_a_sale_let_reminders_of_another_go_first(bench: LedgerBench) -> None:
    over, next_one = await listed(bench, *(f"u{number}" for number in range(10))), await listed(bench, "ann")
    await queue(bench, over, NoticeKind.LOST)
    await bench.ledger.advance_ms(1)
    await queue(bench, next_one, NoticeKind.MINUTES)

    first, second = await claim(bench, limit=1), await claim(bench, limit=20)

    assert [notice.user_id for notice in first] == ["ann"]
    assert [notice.kind for notice in second] == [NoticeKind.LOST] * 10


@waitlists
async def claim_that_was_not_answered_is_given_again_to_its_lease(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann", "bob", "eve")
    await queue(bench, sale)
    lost = await claim(bench, lease := bench.ids.new_id(), limit=2)

    assert await claim(bench, lease, limit=2) == lost
    assert [notice.attempts for notice in lost] == [1, 1]
    assert len(await claim(bench)) == 1


@waitlists
async def try_that_was_none_is_not_counted(bench: LedgerBench) -> None:
    sale = await listed(bench, "ann")
    await queue(bench, sale)
    for _ in range(3):
        [notice] = await claim(bench, lease := bench.ids.new_id())
        assert notice.attempts == 1
        untried = Sending(notice_id=notice.notice_id, state=NoticeState.PENDING, words="away", counts=False)
        await bench.ledger.notices.record(lease, [untried])


@waitlists
async def who_left_is_told_nothing_and_who_moved_is_told_there(bench: LedgerBench) -> None:
    """Also of what was queued before."""
    sale = await listed(bench, "ann", "bob")
    await bench.ledger.waitlist.join(sale.sale_id, "bob", None, browser("phone"))
    await queue(bench, sale)
    await bench.ledger.waitlist.leave(sale.sale_id, "ann")
    await bench.ledger.waitlist.join(sale.sale_id, "bob", "other@example.com", browser("laptop"))

    assert [notice.email for notice in await claim(bench)] == ["other@example.com"]
    assert [notice.push for notice in await claim(bench, channel=Channel.PUSH)] == [browser("laptop")]

    assert await states(bench, sale) == {NoticeState.UNSUBSCRIBED: 1, NoticeState.SENDING: 1}


@waitlists
async def address_is_one_however_it_is_spelled(bench: LedgerBench) -> None:
    """And is told once, however many accounts gave it."""
    sale = await listed(bench, "ann")
    joining = [("bob", "Ann@Example.com"), ("eve", "ANN@example.com"), ("dan", "Dan@x.org"), ("den", "dan@X.org")]
    await asyncio.gather(*(bench.ledger.waitlist.join(sale.sale_id, user, email) for user, email in joining))

    assert await queue(bench, sale) == 2
    notices = await claim(bench)

    [ann] = [notice for notice in notices if notice.email.lower() == "ann@example.com"]
    await bench.ledger.waitlist.unsubscribe(ann.token)
    other = await listed(bench)
    await bench.ledger.waitlist.join(other.sale_id, "bob", "aNN@EXAMPLE.com")
    assert await queue(bench, other) == 0
