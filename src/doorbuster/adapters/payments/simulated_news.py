"""Webhooks of the simulated gateway: what one looks like, how it is signed, and how it is checked.

Owns: the signature, which is an HMAC-SHA256 of time and body as common gateways make it: `t=<seconds>,v1=<hex>`,
several `v1` while a secret is exchanged. Knows neither HTTP nor the book. Read next: `simulated_sender.py`.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from doorbuster.engine.payment_ports import News, NotNews

SIGNATURE_HEADER: Final = "gateway-signature"
TOLERANCE_S: Final = 300
"""How old a delivery may be, as common gateways have it: each delivery is signed anew, however old its event is."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The body. `charge` is the key of a charge, `kind` what happened to it: authorized, declined, action_required,
    captured, voided or refunded."""

    event_id: str
    kind: str
    charge: str
    order_id: str
    created: int


_decoder = msgspec.json.Decoder(Event)


def sign(secret: str, body: bytes, now_s: int) -> str:
    """The header's value."""
    return f"t={now_s},v1={_mac(secret, body, str(now_s))}"


def read(header: str, body: bytes, secrets: Sequence[str], now_ms: int) -> News | NotNews:
    """A delivery, if one of the secrets made its signature within the tolerance."""
    if not secrets:
        return NotNews(reason="no secret for webhooks is set (DOORBUSTER_GATEWAY_WEBHOOK_SECRETS)")
    parts = [part.partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name.strip() == "t"]
    macs = [value for name, _, value in parts if name.strip() == "v1"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12 or not macs:
        return NotNews(reason=f"the {SIGNATURE_HEADER} header is missing or malformed")
    expected = [_mac(secret, body, times[0]) for secret in secrets]
    if not any(hmac.compare_digest(mac.encode(), good.encode()) for mac in macs for good in expected):
        return NotNews(reason="the signature was made with another secret, or of another body")
    if abs(now_ms / 1000 - int(times[0])) > TOLERANCE_S:
        return NotNews(reason=f"the signature is more than {TOLERANCE_S} seconds away from now")
    try:
        event = _decoder.decode(body)
    except msgspec.MsgspecError as problem:
        return NotNews(reason=f"the body is no event: {problem}")
    if not 1 <= len(event.event_id) <= 255 or "\0" in event.event_id + event.kind + event.charge:
        return NotNews(reason="the event has no usable id")
    return News(event_id=event.event_id, kind=event.kind, key=event.charge)


def _mac(secret: str, body: bytes, time: str) -> str:
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()
