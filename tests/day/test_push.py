"""From the waitlist to the browser: on both ledgers, to a push service over real HTTP."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from conformance.ledger_bench import ACTOR, HOUR, MINUTE, LedgerBench
from day.browsers import Browser, PushService, b64, push_service, unb64
from doorbuster.adapters.notify import build_vapid, push_terms
from doorbuster.adapters.notify.delivery import ByPush
from doorbuster.adapters.notify.letters import Letters
from doorbuster.adapters.notify.push import WebPusher
from doorbuster.adapters.notify.sealing import PAYLOAD_BYTES_MAX, seal
from doorbuster.adapters.notify.vapid import Vapid
from doorbuster.config import Settings, load_settings
from doorbuster.domain.notices import Channel, NoticeKind
from doorbuster.domain.plan import Plan
from doorbuster.domain.sale import Sale
from doorbuster.engine.day_ports import Asked, NotSent, Push
from doorbuster.engine.notifying import NoticeSender, Notifying
from doorbuster.reference.clock import SeededIds

KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with push_service() as there:
        yield there


def settings(**changes: object) -> Settings:
    return load_settings(push_private_key=KEY, mail_from="Shop <shop@example.com>", **changes)


def pusher(*, timeout_s: float = 5) -> WebPusher:
    vapid = build_vapid(settings())
    assert vapid is not None
    return WebPusher(vapid, timeout_s=timeout_s)


def sender(bench: LedgerBench, seed: int = 1) -> NoticeSender:
    return NoticeSender(
        store=bench.ledger.notices,
        sales=bench.sales,
        timeline=bench.timeline,
        channel=Channel.PUSH,
        deliver=ByPush(Letters(settings()), pusher()),
        clock=bench.ledger.clock,
        ids=SeededIds(seed),
    )


async def waited_for(bench: LedgerBench, *browsers: Browser) -> Sale:
    sale = await bench.sale(start_ms=bench.now_ms() + HOUR, end_ms=bench.now_ms() + 2 * HOUR, title="Lamp")
    for number, browser in enumerate(browsers):
        await bench.ledger.waitlist.join(sale.sale_id, f"u{number}", None, browser.subscription)
    return sale


async def remind(bench: LedgerBench, sale: Sale) -> object:
    asked = Asked(sale=sale, plan=Plan(), now_ms=bench.now_ms(), attempt=1)
    return await Notifying(bench.ledger.notices, bench.ledger.clock).in_an_hour(asked)


async def fate(bench: LedgerBench, sale: Sale) -> object:
    return await Notifying(bench.ledger.notices, bench.ledger.clock).progress(sale.sale_id, NoticeKind.HOUR)


def message(browser: Browser, payload: bytes = b"{}") -> Push:
    return Push(to=browser.subscription, payload=payload, ttl_s=60, topic="topic", urgent=True)


async def outcome(push: Push, *, timeout_s: float = 5) -> NotSent | None:
    [found] = await pusher(timeout_s=timeout_s).send_many([push])
    return found


def test_sealing_gives_what_the_example_of_the_rfc_has() -> None:
    """RFC 8291 section 5."""
    body = seal(
        b"When I grow up, I want to be a watermelon",
        to=unb64("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
        auth=unb64("BTBZMqHH6r4Tts7J_aSIgg"),
        key=ec.derive_private_key(int.from_bytes(unb64(KEY), "big"), ec.SECP256R1()),
        salt=unb64("DGv6ra1nlYgDCS1FRnbzlw"),
    )

    assert b64(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3"
        "jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def test_longest_payload_fits_what_every_service_takes() -> None:
    browser = Browser("https://push.example.com/a")
    key = ec.generate_private_key(ec.SECP256R1())

    body = seal(
        b'"' + b"x" * (PAYLOAD_BYTES_MAX - 2) + b'"', to=browser.public, auth=b"a" * 16, key=key, salt=b"s" * 16
    )

    assert len(body) == 4_096
    with pytest.raises(ValueError, match="at most"):
        seal(b"x" * (PAYLOAD_BYTES_MAX + 1), to=browser.public, auth=b"a" * 16, key=key, salt=b"s" * 16)


@pytest.mark.parametrize("key", ["short", b64(b"k" * 31), b64(bytes(32)), b64(b"\xff" * 32), "é" * 43])
def test_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of the curve's library, in its own words
        Vapid(key, "mailto:ops@example.com")


def test_whom_to_ask_is_part_of_the_set_up() -> None:
    with pytest.raises(ValueError, match="DOORBUSTER_PUSH_SUBJECT"):
        build_vapid(settings(push_subject="ops@example.com"))
    assert push_terms(load_settings()) is None
    terms = push_terms(settings(push_services=" a.example.com  *.b.example.com "))
    assert terms is not None
    assert list(terms.services) == ["a.example.com", "*.b.example.com"]


def test_token_is_signed_once_for_many_messages_and_anew_before_it_is_over() -> None:
    vapid = Vapid(KEY, "mailto:ops@example.com")
    first = vapid.authorization("https://push.example.com", 1_000)

    assert vapid.authorization("https://push.example.com", 1_000 + 10 * 3_600) == first
    assert vapid.authorization("https://push.example.com", 1_000 + 11 * 3_600 + 1) != first
    assert vapid.authorization("https://other.example.com", 1_000) != first


async def test_what_a_browser_gets(bench: LedgerBench, service: PushService) -> None:
    browser = service.browser("ann")
    sale = await waited_for(bench, browser)
    await bench.timeline.set_plan(sale.sale_id, Plan(pages=("https://shop.example.com/lamp",)), ACTOR)
    assert await remind(bench, sale) == {"people": 1, "queued": 1}

    assert await sender(bench).run_once() == {"sent": 1, "refused": 0, "later": 0}

    [got] = service.to(browser)
    assert browser.read(got.body) == {
        "web_push": 8030,
        "notification": {
            "title": "In an hour: Lamp",
            "body": "The sale begins in an hour.",
            "tag": sale.sale_id,
            "navigate": "https://shop.example.com/lamp",
        },
        "sale_id": sale.sale_id,
        "kind": "1h",
    }
    who = got.sender(service.url)
    assert (who["sub"], who["k"]) == ("mailto:shop@example.com", Vapid(KEY, "mailto:").public_key)
    assert got.headers["content-encoding"] == "aes128gcm"
    assert got.headers["urgency"] == "high"
    assert int(got.headers["ttl"]) == 30 * 60, "worth nothing half an hour before the start"
    assert len(got.headers["topic"]) <= 32
    assert await fate(bench, sale) == {"pushes_sent": 1}


async def test_without_a_page_the_shop_s_own_script_shows_it(bench: LedgerBench, service: PushService) -> None:
    browser = service.browser("ann")
    await remind(bench, await waited_for(bench, browser))
    await sender(bench).run_once()

    content = browser.read(service.to(browser)[0].body)

    assert "web_push" not in content
    assert "navigate" not in content["notification"]


async def test_everybody_is_told_once_by_each_way_they_gave(bench: LedgerBench, service: PushService) -> None:
    """Two senders at once."""
    browsers = [service.browser(f"b{number}") for number in range(150)]
    sale = await waited_for(bench, *browsers)
    await bench.ledger.waitlist.join(sale.sale_id, "u0", "ann@example.com")
    assert await remind(bench, sale) == {"people": 150, "queued": 151}
    assert await remind(bench, sale) == {"people": 150, "queued": 0}

    async def send(seed: int) -> None:
        one = sender(bench, seed)
        while await one.run_once():
            pass

    await asyncio.gather(send(1), send(2))

    assert all(len(service.to(browser)) == 1 for browser in browsers)
    assert await fate(bench, sale) == {"mails_pending": 1, "pushes_sent": 150}


@pytest.mark.parametrize("status", [404, 410])
async def test_browser_that_is_gone_is_left_alone(bench: LedgerBench, service: PushService, status: int) -> None:
    """For every sale, until it asks anew."""
    browser = service.browser("ann")
    sale, other = await waited_for(bench, browser), await waited_for(bench, browser)
    await remind(bench, sale)
    service.answers(status)

    assert await sender(bench).run_once() == {"sent": 0, "refused": 1, "later": 0}

    assert await fate(bench, sale) == {"pushes_unsubscribed": 1}
    assert await remind(bench, other) == {"people": 1, "queued": 0}
    service.answers(201)
    await bench.ledger.waitlist.join(other.sale_id, "u0", None, browser.subscription)
    assert await remind(bench, other) == {"people": 1, "queued": 1}
    assert await sender(bench).run_once() == {"sent": 1, "refused": 0, "later": 0}


async def test_service_that_is_busy_is_asked_when_it_says(bench: LedgerBench, service: PushService) -> None:
    browser = service.browser("ann")
    sale = await waited_for(bench, browser)
    await remind(bench, sale)
    service.answers(429, Retry_After="120")
    one = sender(bench)

    assert await one.run_once() == {"sent": 0, "refused": 0, "later": 1}
    assert one.down
    service.answers(201)
    await bench.ledger.advance_ms(MINUTE)
    assert await one.run_once() == {}
    await bench.ledger.advance_ms(MINUTE)

    assert await one.run_once() == {"sent": 1, "refused": 0, "later": 0}
    assert len(service.to(browser)) == 1


async def test_message_that_may_have_arrived_is_not_sent_again(bench: LedgerBench, service: PushService) -> None:
    sale = await waited_for(bench, service.browser("ann"))
    await remind(bench, sale)
    service.answer = lambda _: None

    await sender(bench).run_once()

    service.answers(201)
    await bench.ledger.advance_ms(10 * MINUTE)
    assert await sender(bench).run_once() == {}
    assert await fate(bench, sale) == {"pushes_unknown": 1}


async def test_late_reminder_is_not_sent(bench: LedgerBench, service: PushService) -> None:
    sale = await waited_for(bench, service.browser("ann"))
    await remind(bench, sale)
    await bench.ledger.advance_ms(30 * MINUTE)

    assert await sender(bench).run_once() == {}

    assert await fate(bench, sale) == {"pushes_expired": 1}
    assert not service.delivered


async def test_words_of_the_answers(service: PushService) -> None:
    browser = service.browser("ann")
    """401 and 403 are about who sends; 429 and 503 about the service."""
    for status, final, away in (
        (400, True, False),
        (401, False, False),
        (403, False, False),
        (413, True, False),
        (301, True, False),
        (500, False, False),
        (503, False, True),
        (429, False, True),
    ):
        service.answers(status)
        found = await outcome(message(browser))
        assert found is not None
        assert (found.final, found.away, found.gone, found.unsure) == (final, away, False, False), status
        assert str(found).startswith(str(status))


async def test_pause_may_be_a_date_or_nonsense(service: PushService) -> None:
    browser = service.browser("ann")
    for text, least in (("Fri, 31 Dec 2100 23:59:59 GMT", HOUR), ("Mon, 01 Jan 2001 00:00:00 GMT", 0), ("soon", 0)):
        service.answers(503, Retry_After=text)
        found = await outcome(message(browser))
        assert found is not None
        assert (found.pause_ms > 0) == (least > 0)


async def test_service_that_is_not_there_and_one_that_hangs() -> None:
    async with push_service() as gone:
        browser = gone.browser("ann")
    found = await outcome(message(browser))
    assert found is not None
    assert not found.unsure, "nobody heard anything"

    async with push_service() as hanging:
        hanging.hangs = True
        found = await outcome(message(hanging.browser("ann")), timeout_s=0.3)
    assert found is not None
    assert found.unsure, "it may have been taken"


@pytest.mark.parametrize("host", ["a..push.example.com", ".push.example.com", "a" * 64 + ".example.com"])
async def test_host_that_cannot_be_looked_up_takes_no_other_with_it(service: PushService, host: str) -> None:
    bad = msgspec.structs.replace(service.browser("bad").subscription, endpoint=f"https://{host}/x")
    pushes = [message(service.browser(f"b{number}")) for number in range(5)]
    pushes[2] = msgspec.structs.replace(pushes[2], to=bad)

    outcomes = await pusher().send_many(pushes)

    assert len(service.delivered) == 4
    assert [at for at, found in enumerate(outcomes) if found is not None] == [2]


async def test_service_that_hangs_gets_no_whole_batch() -> None:
    async with push_service() as hanging:
        hanging.hangs = True
        vapid = build_vapid(settings())
        assert vapid is not None
        hasty = WebPusher(vapid, timeout_s=3.0, batch_s=1.5)
        outcomes = await hasty.send_many([message(hanging.browser(f"b{number}")) for number in range(40)])

    assert [found.away for found in outcomes if found] == [False] * 32 + [True] * 8


async def test_message_too_long_and_broken_keys_are_final(service: PushService) -> None:
    browser = service.browser("ann")
    too_long = await outcome(message(browser, b"x" * (PAYLOAD_BYTES_MAX + 1)))
    assert too_long is not None
    assert too_long.final
    assert not service.delivered
