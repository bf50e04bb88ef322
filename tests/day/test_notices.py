"""From the waitlist to the mail: on both ledgers, over real SMTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.ledger_bench import ACTOR, HOUR, LedgerBench
from day.mail_server import Post, post_office
from doorbuster.adapters.notify import build_mailer
from doorbuster.adapters.notify.delivery import ByMail
from doorbuster.adapters.notify.files import FileMailer
from doorbuster.adapters.notify.letters import Letters
from doorbuster.adapters.notify.smtp import SmtpMailer
from doorbuster.agents.notifier import NotifierAgent
from doorbuster.config import Settings, load_settings
from doorbuster.domain.notices import Channel, NoticeKind, NoticeState
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.engine.day_ports import Asked, Mailer, StepSkipped
from doorbuster.engine.notifying import NoticeSender, Notifying
from doorbuster.reference.clock import SeededIds


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with post_office() as office:
        yield office


def settings(**changes: object) -> Settings:
    return load_settings(public_url="https://sale.example.com", cdn_base_url="https://shop.example.com", **changes)


def sender(bench: LedgerBench, mailer: Mailer, seed: int = 1) -> NoticeSender:
    return NoticeSender(
        store=bench.ledger.notices,
        sales=bench.sales,
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
