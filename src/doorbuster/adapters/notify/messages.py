"""A mail as RFC 5322 has it.

Owns: the headers every mail has. Line ends in a header are refused by the standard library (ValueError), so nobody's
address or title adds a header of its own.
"""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime, parseaddr
from typing import Final

from doorbuster.engine.day_ports import Mail

_SEVEN_BITS: Final = default.clone(cte_type="7bit")
"""Not every server takes more (RFC 6152), and none is asked."""

UNWRITABLE: Final = (ValueError, LookupError, TypeError, AttributeError)
"""What libraries raise of an address, a title or a host that they cannot write: one message's, never its batch's."""


def message_of(mail: Mail, *, sender: str, now_ms: int) -> EmailMessage:
    """ValueError if a header would not be one line."""
    message = EmailMessage(_SEVEN_BITS)
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, UTC))
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    if mail.message_id:
        message["Message-ID"] = f"<{mail.message_id}@{domain}>"
    for name, value in mail.headers.items():
        message[name] = value
    message.set_content(mail.text)
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    return message
