"""From the waitlist to the mail: on both ledgers, over real SMTP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from day.mail_server import Post, post_office
from day.test_monitoring import Bell
from doorbuster.adapters.notify import build_mailer
from doorbuster.adapters.notify.delivery import ByMail
from doorbuster.adapters.notify.files import FileMailer
from doorbuster.adapters.notify.letters import Letters
from doorbuster.adapters.notify.smtp import SmtpMailer
from doorbuster.agents.notifier import NotifierAgent
from doorbuster.config import Settings, load_settings
from doorbuster.domain.notices import TRIES, Channel, NoticeKind, NoticeState
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.engine.day_ports import Asked, Mailer, StepSkipped
from doorbuster.engine.notifying import Notice, NoticeSender, NoticeStore, Notifying, Sending
from doorbuster.engine.paging import OnCall
from doorbuster.engine.ports import OutcomeUnknown, SaleStore, StoreUnavailable
from doorbuster.reference.clock import ManualClock, SeededIds
from doorbuster.reference.fleet import ReferencePages


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with post_office() as office:
        yield office


def settings(**changes: object) -> Settings:
    return load_settings(public_url="https://sale.example.com", cdn_base_url="https://shop.example.com", **changes)


class Shaky:
    """A store of notices with accidents: so many claims are done and not answered, so many outcomes not written."""

    def __init__(self, store: NoticeStore) -> None:
        self._store = store
        self.lost = self.unwritten = 0
        self.people, self.queue, self.progress = store.people, store.queue, store.progress

    async def claim(self, lease: str, channel: Channel, *, lease_ms: int, limit: int) -> Sequence[Notice]:
        claimed = await self._store.claim(lease, channel, lease_ms=lease_ms, limit=limit)
        if self.lost:
            self.lost -= 1
            raise OutcomeUnknown("the connection broke")
        return claimed

    async def record(self, lease: str, sendings: Sequence[Sending]) -> None:
        if self.unwritten:
            self.unwritten -= 1
            raise StoreUnavailable("away")
        await self._store.record(lease, sendings)


class ShakySales:
    """Sales that cannot be read so many times."""

    def __init__(self, sales: SaleStore) -> None:
        self._sales = sales
        self.away = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sales, name)

    async def get(self, sale_id: str) -> Sale | None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        return await self._sales.get(sale_id)


async def steps_of(bench: LedgerBench, sale: Sale, kind: NoticeKind = NoticeKind.LOST) -> object:
    return await Notifying(bench.ledger.notices, bench.ledger.clock).progress(sale.sale_id, kind)


def sender(
    bench: LedgerBench,
    mailer: Mailer,
    seed: int = 1,
    *,
    store: NoticeStore | None = None,
    sales: Any = None,
) -> NoticeSender:
    return NoticeSender(
        store=store or bench.ledger.notices,
        sales=sales or bench.sales,
        timeline=bench.timeline,
        channel=Channel.MAIL,
        deliver=ByMail(Letters(settings()), mailer),
        clock=bench.ledger.clock,
        ids=SeededIds(seed),
    )


def smtp(post: Post) -> SmtpMailer:
    return SmtpMailer(post.url, sender="Shop <shop@example.com>", timeout_s=5)


async def listed(bench: LedgerBench, count: int) -> Sale:
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR, title="<b>Lamp</b>")
    joining = (bench.ledger.waitlist.join(sale.sale_id, f"u{n}", f"u{n}@example.com") for n in range(count))
    await asyncio.gather(*joining)
    return sale


def asked(bench: LedgerBench, sale: Sale) -> Asked:
    return Asked(sale=sale, plan=Plan(), now_ms=bench.now_ms(), attempt=1)


async def test_everybody_on_the_list_is_told_once(bench: LedgerBench, post: Post) -> None:
    """Two senders at once, and the step twice."""
    sale = await listed(bench, 350)
    steps = Notifying(bench.ledger.notices, bench.ledger.clock)
    assert await steps.in_an_hour(asked(bench, sale)) == {"people": 350, "queued": 350}
    assert await steps.in_an_hour(asked(bench, sale)) == {"people": 350, "queued": 0}

    async def send(seed: int) -> None:
        one = sender(bench, smtp(post), seed)
        while await one.run_once():
            pass

    await asyncio.gather(send(1), send(2))

    assert post.recipients == sorted(f"u{number}@example.com" for number in range(350))
    assert await steps.progress(sale.sale_id, NoticeKind.HOUR) == {"mails_sent": 350}


async def test_server_that_is_down_loses_nothing(bench: LedgerBench) -> None:
    sale = await listed(bench, 5)
    steps = Notifying(bench.ledger.notices, bench.ledger.clock)
    await steps.in_an_hour(asked(bench, sale))
    async with post_office() as post:
        pass  # gone again
    one = sender(bench, smtp(post))

    assert await one.run_once() == {"sent": 0, "refused": 0, "later": 5}
    assert one.down
    assert await steps.progress(sale.sale_id, NoticeKind.HOUR) == {"mails_pending": 5}
    assert await one.run_once() == {}

    await bench.ledger.advance_ms(60_000)
    async with post_office(post, port=post.port):
        assert (await one.run_once())["sent"] == 5
    assert not one.down
    assert await steps.progress(sale.sale_id, NoticeKind.HOUR) == {"mails_sent": 5}


async def test_server_that_is_away_for_long_loses_nothing(bench: LedgerBench) -> None:
    """Twenty minutes before a reminder is late, and a day for those who won."""
    sale = await listed(bench, 3)
    steps = Notifying(bench.ledger.notices, bench.ledger.clock)
    await steps.in_an_hour(asked(bench, sale))
    async with post_office() as post:
        pass  # gone again
    one = sender(bench, smtp(post))

    for _ in range(40):
        await one.run_once()
        await bench.ledger.advance_ms(30_000)
    async with post_office(post, port=post.port):
        assert (await one.run_once())["sent"] == 3

    await bench.ledger.notices.queue(sale.sale_id, NoticeKind.LOST, bench.now_ms() + 72 * HOUR)
    for _ in range(24):
        assert (await one.run_once())["later"] == 3
        await bench.ledger.advance_ms(HOUR)
    async with post_office(post, port=post.port):
        assert (await one.run_once())["sent"] == 3


async def test_receiver_who_always_puts_it_off_is_given_up(bench: LedgerBench, post: Post) -> None:
    sale = await listed(bench, 1)
    await bench.ledger.notices.queue(sale.sale_id, NoticeKind.LOST, bench.now_ms() + 72 * HOUR)
    post.answer = lambda _: "451 mailbox is full"
    one = sender(bench, smtp(post))
    for _ in range(TRIES):
        assert await one.run_once()
        assert not one.trouble, "one who puts off is no trouble of ours"
        await bench.ledger.advance_ms(HOUR)

    assert await steps_of(bench, sale) == {"mails_refused": 1}
    assert await one.run_once() == {}


async def test_ledger_that_is_away_in_the_middle_loses_nothing(bench: LedgerBench, post: Post) -> None:
    """After the claim: its answer is lost, then the sale cannot be read, then the outcomes cannot be written."""
    sale = await listed(bench, 5)
    await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked(bench, sale))
    store = Shaky(bench.ledger.notices)
    sales = ShakySales(bench.sales)
    one = sender(bench, smtp(post), store=store, sales=sales)

    store.lost = 1
    with pytest.raises(OutcomeUnknown):
        await one.run_once()
    sales.away = 1
    with pytest.raises(StoreUnavailable):
        await one.run_once()
    assert await steps_of(bench, sale, NoticeKind.HOUR) == {"mails_sending": 5}, "they are owed"
    await one.run_once()
    assert await steps_of(bench, sale, NoticeKind.HOUR) == {"mails_pending": 5}
    await bench.ledger.advance_ms(MINUTE)
    store.unwritten = 2
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await one.run_once()
    await one.run_once()

    assert post.recipients == sorted(f"u{number}@example.com" for number in range(5))
    assert await steps_of(bench, sale, NoticeKind.HOUR) == {"mails_sent": 5}


async def test_mail_that_may_have_arrived_is_not_sent_again(bench: LedgerBench, post: Post) -> None:
    sale = await listed(bench, 20)
    await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked(bench, sale))
    post.drop_after = 3
    one = sender(bench, smtp(post))
    while await one.run_once():
        pass

    found = await bench.ledger.notices.progress(sale.sale_id, NoticeKind.HOUR, Channel.MAIL)

    assert {state: count for state, count in found.items() if count} == {NoticeState.SENT: 19, NoticeState.UNKNOWN: 1}


async def test_what_somebody_reads(bench: LedgerBench, post: Post) -> None:
    sale = await listed(bench, 1)
    await bench.timeline.set_plan(sale.sale_id, Plan(pages=("/lamp",)), ACTOR)
    await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked(bench, sale))
    await sender(bench, smtp(post)).run_once()

    [mail] = post.to("u0@example.com")

    text, html = (part.get_content() for part in mail.iter_parts())
    assert mail["Subject"] == "In an hour: <b>Lamp</b>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = mail["List-Unsubscribe"].strip("<>")
    assert link.startswith("https://sale.example.com/v1/unsubscribe/")
    for words in ("The sale begins in an hour.", "15.00 USD", "UTC", "https://shop.example.com/lamp", link):
        assert words in text
        assert words in html
    assert "<b>Lamp</b>" in text
    assert "&lt;b&gt;Lamp&lt;/b&gt;" in html
    assert "<b>Lamp</b>" not in html
    assert await bench.ledger.waitlist.unsubscribe(link.rpartition("/")[2])


async def test_words_are_true_when_they_are_sent(bench: LedgerBench, post: Post) -> None:
    sale = await listed(bench, 2)
    steps = Notifying(bench.ledger.notices, bench.ledger.clock)
    await steps.in_an_hour(asked(bench, sale))
    await bench.ledger.advance_ms(12 * MINUTE)
    await sender(bench, smtp(post)).run_once()
    await bench.ledger.advance_ms(45 * MINUTE)
    await steps.in_five_minutes(asked(bench, sale))
    await sender(bench, smtp(post)).run_once()
    await bench.ledger.notices.queue(sale.sale_id, NoticeKind.LOST, bench.now_ms() + HOUR)
    await sender(bench, smtp(post)).run_once()

    early, late, over = post.to("u0@example.com")

    assert [mail["Subject"] for mail in (early, late, over)] == [
        "In 48 minutes: <b>Lamp</b>",
        "In 3 minutes: <b>Lamp</b>",
        "The sale is over: <b>Lamp</b>",
    ]
    for part in early.iter_parts():
        assert "The sale begins in 48 minutes." in part.get_content()
        assert "Starts: " in part.get_content()
    assert not any("Starts: " in part.get_content() for part in over.iter_parts())
    assert await steps.results(sale.sale_id) == {"lost_mails_sent": 2}


async def test_reminder_is_skipped_when_it_is_too_late_or_for_nobody(bench: LedgerBench) -> None:
    steps = Notifying(bench.ledger.notices, bench.ledger.clock)
    empty = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR)
    with pytest.raises(StepSkipped, match="nobody"):
        await steps.in_an_hour(asked(bench, empty))
    sale = await listed(bench, 1)
    await bench.ledger.advance_ms(HOUR // 2)
    with pytest.raises(StepSkipped, match="too late"):
        await steps.in_an_hour(asked(bench, sale))
    assert await steps.in_five_minutes(asked(bench, sale)) == {"people": 1, "queued": 1}
    await bench.ledger.advance_ms(HOUR // 2)
    with pytest.raises(StepSkipped, match="too late"):
        await steps.in_five_minutes(asked(bench, sale))


async def test_without_a_server_mails_are_files(bench: LedgerBench, tmp_path: Path) -> None:
    sale = await listed(bench, 3)
    await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked(bench, sale))
    mailer = build_mailer(settings(data_dir=tmp_path))
    assert isinstance(mailer, FileMailer)

    assert (await sender(bench, mailer).run_once())["sent"] == 3

    names = sorted(path.name for path in (tmp_path / "mail").iterdir())
    assert len(names) == 3
    assert all(name.startswith("1h.") and name.endswith(f"{sale.sale_id}.eml") for name in names)


async def test_pace_is_kept(bench: LedgerBench, post: Post) -> None:
    """Ten a second: a batch of ten, and the next one a second later."""
    sale = await listed(bench, 25)
    await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked(bench, sale))
    clock = bench.ledger.clock
    agent = NotifierAgent(sender(bench, smtp(post)), clock, 10.0, "notifier")

    sent: list[int] = []
    for _ in range(6):
        await agent.run_once(clock.now_ms())
        sent.append(len(post.mails))
        clock.advance_ms(500)

    assert sent == [10, 10, 20, 20, 25, 25]


@pytest.mark.parametrize(("rate", "seconds"), [(200.0, 2.0), (1_000.0, 0.0), (50.0, 11.0)])
async def test_rate_that_is_set_is_reached(bench: LedgerBench, rate: float, seconds: float, tmp_path: Path) -> None:
    """As the worker's loop runs it: passes without a pause while there is more, and its pauses else."""
    sale = await listed(bench, 600)
    await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked(bench, sale))
    files = FileMailer(tmp_path, sender="shop@example.com")
    clock = ManualClock()
    agent = NotifierAgent(sender(bench, files), clock, rate, "notifier")

    sent, begun, last = 0, clock.monotonic(), 0.0
    while sent < 600:
        counts = await agent.run_once(0)
        if counts.get("sent"):
            sent, last = sent + counts["sent"], clock.monotonic() - begun
        if not counts.get("more"):
            clock.advance_ms(ceil(agent.interval_s * 1_050))  # as much as a loop adds by chance

    assert last <= seconds * 1.05


async def test_person_on_duty_is_called_when_nobody_is_reached(bench: LedgerBench) -> None:
    sale = await listed(bench, 2)
    await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked(bench, sale))
    async with post_office() as post:
        pass  # gone again
    bell, clock = Bell(), bench.ledger.clock
    on_call = OnCall(ReferencePages(clock), bell)
    agent = NotifierAgent(sender(bench, smtp(post)), clock, 10.0, "notifier-mail", on_call)

    for _ in range(4):
        await agent.run_once(0)
        await bench.ledger.advance_ms(30_000)
    [call] = bell.rung
    assert (call.key, call.resolved) == ("notifier-mail", False)
    assert "does not answer" in call.text

    async with post_office(post, port=post.port):
        await agent.run_once(0)
    assert [call.resolved for call in bell.rung] == [False, True]
