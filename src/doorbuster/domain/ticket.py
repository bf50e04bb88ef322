"""A ticket: what a buyer keeps of a place, so that the place can be found again when Valkey has lost the line (Q3).

Owns: the format and the seal. Keeps: I10 (a number counts only for the buyer and the sale it was issued to).
A ticket proves that a number was issued; whether it still counts is the line's business (`LineAsk.ticket`).
The seal is HMAC-SHA256 (RFC 2104) over the readable part; the key comes from the ledger and is named in the ticket.
"""

import binascii
import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

_SEAL_BYTES: Final = 32
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


class Ticket(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`epoch` is that of the image that issued or last confirmed the number."""

    key_id: str
    sale_id: str
    user_id: str
    number: int
    epoch: int


class BadTicket(Exception):
    """The text is no ticket of ours: unreadable, sealed with an unknown key, or changed."""


_decoder: Final = msgspec.json.Decoder(Ticket)


def seal(ticket: Ticket, secret: bytes) -> str:
    """The ticket as text: URL-safe, without padding, about 200 characters."""
    body = _text_of(msgspec.json.encode(ticket))
    return (body + b"." + _text_of(hmac.digest(secret, body, "sha256"))).decode()


def open_ticket(text: str, secrets: Mapping[str, bytes]) -> Ticket:
    """The ticket of this text. Raises BadTicket unless one of these keys (by key id) sealed exactly it."""
    try:
        body, _, mark = text.encode("ascii").partition(b".")
        ticket = _decoder.decode(_bytes_of(body))
        given = _bytes_of(mark)
    except (ValueError, msgspec.DecodeError, RecursionError) as problem:
        raise BadTicket("the ticket cannot be read") from problem
    secret = secrets.get(ticket.key_id)
    if secret is None:
        raise BadTicket("the ticket was sealed with a key that is not known here")
    if len(given) != _SEAL_BYTES or not hmac.compare_digest(hmac.digest(secret, body, "sha256"), given):
        raise BadTicket("the ticket's seal is wrong")
    if _text_of(given) != mark or ticket.number < 1:
        raise BadTicket("the ticket was not written by this engine")
    return ticket


def _text_of(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_URL_SAFE)


def _bytes_of(text: bytes) -> bytes:
    if b"+" in text or b"/" in text or b"=" in text:
        raise ValueError("not base64url")
    return binascii.a2b_base64(text.translate(_STANDARD) + b"=" * (-len(text) % 4), strict_mode=True)
