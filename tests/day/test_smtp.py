"""Mails over real SMTP: what a server may answer, and what nobody may make of a mail."""

from collections import Counter
from pathlib import Path

import pytest

from day.mail_server import Post, post_office
from doorbuster.adapters.notify.files import FileMailer
from doorbuster.adapters.notify.smtp import SmtpMailer
from doorbuster.engine.day_ports import Mail, NotSent


def mail(number: int = 1, to: str = "", subject: str = "Hello") -> Mail:
    return Mail(
        to=to or f"u{number}@example.com",
        subject=subject,
        text=f"text {number}",
        html=f"<p>html {number}</p>",
        message_id=f"m{number}",
        headers={"Auto-Submitted": "auto-generated"},
    )


def mailer(post: Post) -> SmtpMailer:
    return SmtpMailer(post.url, sender="Shop <shop@example.com>", timeout_s=5)


@pytest.mark.parametrize("url", ["", "http://mail.example.com", "smtp://", "mail.example.com:25"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="DOORBUSTER_SMTP_URL"):
        SmtpMailer(url, sender="shop@example.com")


async def test_server_that_is_away() -> None:
    async with post_office() as post:
        pass  # gone again

    outcomes = await mailer(post).send_many([mail(1), mail(2)])

    assert all(outcome is not None and not outcome.final and not outcome.unsure for outcome in outcomes)
    with pytest.raises(NotSent, match="does not answer"):
        await mailer(post).send(mail())


async def test_recipient_who_does_not_exist_is_final_and_the_others_get_theirs() -> None:
    async with post_office() as post:
        post.answer = lambda address: "550 no such user" if address.startswith("u2@") else "250 OK"

        outcomes = await mailer(post).send_many([mail(number) for number in range(1, 6)])

    finals = [outcome.final if outcome else None for outcome in outcomes]
    assert finals == [None, True, None, None, None]
    assert post.recipients == [f"u{number}@example.com" for number in (1, 3, 4, 5)]


@pytest.mark.parametrize("bad", ["\u00fc@example.com", "=?utf-8?b??=@example.com"])
async def test_mail_that_cannot_be_made_takes_no_other_with_it(bad: str) -> None:
    mails = [mail(number) for number in range(20)]
    mails[7] = mail(to=bad)
    async with post_office() as post:
        outcomes = await mailer(post).send_many(mails)

    finals = [outcome.final for outcome in outcomes if outcome is not None]
    assert finals == [True]
    assert len(post.mails) == 19


async def test_file_that_cannot_be_made_takes_no_other_with_it(tmp_path: Path) -> None:
    mails = [mail(1), mail(2, to="=?utf-8?b??=@example.com"), mail(3)]

    outcomes = await FileMailer(tmp_path, sender="shop@example.com").send_many(mails)

    assert [outcome.final if outcome else None for outcome in outcomes] == [None, True, None]


@pytest.mark.parametrize("answer", ["550 who are you", "451 not now", "530 log in first"])
async def test_server_that_takes_nothing_from_the_sender_says_nothing_of_the_recipients(answer: str) -> None:
    async with post_office() as post:
        post.sender_answer = answer

        outcomes = await mailer(post).send_many([mail(1), mail(2)])

    assert [(outcome.away, outcome.final) for outcome in outcomes if outcome] == [(True, False)] * 2


async def test_server_that_hangs_gets_no_whole_batch() -> None:
    """What was not begun in time is given back; each that was begun may have arrived."""
    async with post_office() as post:
        post.hangs = True
        hasty = SmtpMailer(post.url, sender="shop@example.com", timeout_s=3.0, batch_s=1.5)

        outcomes = await hasty.send_many([mail(number) for number in range(12)])

    assert [outcome.unsure for outcome in outcomes if outcome] == [True] * 4 + [False] * 8
    assert all(outcome and outcome.away for outcome in outcomes[4:])


async def test_password_is_told_to_nobody_in_clear() -> None:
    async with post_office() as post:
        url = post.url.replace("smtp+plain://", "smtp://ann:secret@")

        [outcome] = await SmtpMailer(url, sender="shop@example.com", timeout_s=5).send_many([mail()])

    assert outcome is not None
    assert outcome.away
    assert "STARTTLS" in str(outcome)


async def test_bodies_are_in_seven_bits() -> None:
    """Nobody is asked whether he takes eight."""
    async with post_office() as post:
        await mailer(post).send(Mail(to="ann@example.com", subject="x", text="St\u00e5hl", html="<p>S\u00f6hne</p>"))

    [found] = post.to("ann@example.com")
    assert {part["Content-Transfer-Encoding"] for part in found.iter_parts()} <= {"base64", "quoted-printable"}
    assert [part.get_content().strip() for part in found.iter_parts()] == ["St\u00e5hl", "<p>S\u00f6hne</p>"]


async def test_server_that_is_busy_is_not_final() -> None:
    async with post_office() as post:
        post.answer = lambda _: "451 try again later"

        [outcome] = await mailer(post).send_many([mail()])

    assert outcome is not None
    assert (outcome.final, outcome.unsure, str(outcome)) == (False, False, "451 try again later")


async def test_connection_that_breaks_after_the_text_is_reported_as_not_known() -> None:
    """One mail of many; the others go over the next connection."""
    async with post_office() as post:
        post.drop_after = 7

        outcomes = await mailer(post).send_many([mail(number) for number in range(40)])

    unsure = [outcome for outcome in outcomes if outcome is not None]
    assert [outcome.unsure for outcome in unsure] == [True]
    assert len(post.mails) == 39


async def test_nobody_gets_two() -> None:
    async with post_office() as post:
        outcomes = await mailer(post).send_many([mail(number) for number in range(300)])

    assert outcomes == [None] * 300
    assert set(Counter(post.recipients).values()) == {1}


@pytest.mark.parametrize(
    "bad",
    [
        Mail(to="ann@example.com\r\nBcc: eve@example.com", subject="x", text="t"),
        Mail(to="ann@example.com", subject="x\nBcc: eve@example.com", text="t"),
        Mail(to="ann@example.com", subject="x", text="t", headers={"X-A": "b\r\nBcc: eve@example.com"}),
    ],
)
async def test_nobody_adds_a_header(bad: Mail) -> None:
    async with post_office() as post:
        [outcome] = await mailer(post).send_many([bad])

    assert outcome is not None
    assert outcome.final
    assert post.mails == []


async def test_what_arrives() -> None:
    async with post_office() as post:
        await mailer(post).send(mail(to="ann@example.com", subject="Ståhl & Söhne"))

    [found] = post.to("ann@example.com")
    assert found["From"] == "Shop <shop@example.com>"
    assert found["Subject"] == "Ståhl & Söhne"
    assert found["Message-ID"] == "<m1@example.com>"
    parts = [part.get_content().strip() for part in found.iter_parts()]
    assert parts == ["text 1", "<p>html 1</p>"]
