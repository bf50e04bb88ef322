"""The words of mails and of push messages, for each kind of notice.

Owns: subjects, sentences, links, and the headers by which a mail program offers to unsubscribe (RFC 8058).
Titles and addresses come from people: everything is escaped where HTML is made.
"""

import uuid
from datetime import UTC, datetime
from typing import Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from doorbuster.config import Settings
from doorbuster.domain.money import amount
from doorbuster.domain.notices import REMINDERS, NoticeKind
from doorbuster.domain.plan import Plan, address_of
from doorbuster.domain.push import encoded
from doorbuster.engine.day_ports import Mail, Push
from doorbuster.engine.notifying import Letter

_WORDS: Final = {
    NoticeKind.WON: ("It is yours: {title}", "You bought it. Thank you for being there."),
    NoticeKind.LOST: ("The sale is over: {title}", "The sale is over, and no order of yours stands."),
    NoticeKind.ABORTED: (
        "Called off: {title}",
        "The sale was called off. What was reserved is cancelled, and what was paid is given back.",
    ),
}

_PUSH_VERSION: Final = 8030
"""Marks a declarative push message: a browser that knows them shows it without a script of the shop."""
_PUSH_TITLE_MAX: Final = 200


class Letters:
    """`compose` makes the mail of one notice, `push` the message to one browser."""

    def __init__(self, settings: Settings) -> None:
        self._public_url = settings.public_url.rstrip("/")
        self._page_base = settings.cdn_base_url or settings.public_url
        environment = Environment(
            loader=PackageLoader("doorbuster.adapters.notify"),
            autoescape=select_autoescape(["html.j2"]),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
        )
        self._text = environment.get_template("mail.txt.j2")
        self._html = environment.get_template("mail.html.j2")

    def push(self, letter: Letter, now_ms: int) -> Push:
        """What waits for a browser that is off is replaced by what comes after it: an hour before, by five minutes
        before. `tag` does the same for what it shows."""
        notice = letter.notice
        assert notice.push is not None, "a mail is no push message"
        _, subject, lead = _said(letter, now_ms)
        shown = {
            "title": subject[:_PUSH_TITLE_MAX],
            "body": lead,
            "tag": notice.sale_id,
        }
        page = self._page(letter.plan)
        content = {
            **({"web_push": _PUSH_VERSION} if page else {}),
            "notification": {**shown, "navigate": page} if page else shown,
            "sale_id": notice.sale_id,
            "kind": notice.kind.value,
        }
        return Push(
            to=notice.push,
            payload=msgspec.json.encode(content),
            ttl_s=max(0, notice.expires_ms - now_ms) // 1000,
            topic=encoded(uuid.UUID(notice.sale_id).bytes),
            urgent=notice.kind in REMINDERS,
        )

    def compose(self, letter: Letter, now_ms: int) -> Mail:
        notice, sale, plan = letter.notice, letter.sale, letter.plan
        title, subject, lead = _said(letter, now_ms)
        unsubscribe = f"{self._public_url}/v1/unsubscribe/{notice.token}" if self._public_url else ""
        starts = datetime.fromtimestamp(sale.start_ms / 1000, UTC)
        values = {
            "subject": subject,
            "lead": lead,
            "title": title,
            "price": amount(sale.price_cents, sale.currency),
            "starts": f"{starts:%A, %d %B %Y, %H:%M} UTC" if notice.kind in REMINDERS else "",
            "starts_iso": starts.isoformat(),
            "page": self._page(plan),
            "unsubscribe": unsubscribe,
        }
        headers = {"Auto-Submitted": "auto-generated", "X-Entity-Ref-ID": f"{notice.sale_id}-{notice.kind.value}"}
        if unsubscribe.startswith("https://"):
            headers["List-Unsubscribe"] = f"<{unsubscribe}>"
            headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        return Mail(
            to=notice.email,
            subject=subject,
            text=self._text.render(values),
            html=self._html.render(values),
            message_id=f"{notice.kind.value}.{notice.notice_id}.{notice.sale_id}",
            headers=headers,
        )

    def _page(self, plan: Plan) -> str:
        """The sale's own page: the first of those its plan names."""
        return address_of(self._page_base, plan.pages[0]) if plan.pages else ""


def _said(letter: Letter, now_ms: int) -> tuple[str, str, str]:
    """Title, subject and first sentence; a title of several lines is one line here."""
    title = " ".join(letter.sale.title.split())
    if letter.notice.kind in REMINDERS:
        ahead = _ahead(letter.sale.start_ms - now_ms)
        return title, f"I{ahead[1:]}: {title}", f"The sale begins {ahead}."
    subject, lead = _WORDS[letter.notice.kind]
    return title, subject.format(title=title), lead


def _ahead(ms: int) -> str:
    """How long it is until then, as people say it: reminders take their time where there are many."""
    minutes = round(ms / 60_000)
    if minutes > 90:
        return f"in {round(minutes / 60)} hours"
    if 55 <= minutes <= 65:
        return "in an hour"
    if minutes <= 1:
        return "in a minute"
    return "in five minutes" if minutes == 5 else f"in {minutes} minutes"
