"""Browsers that want to be told by web push: what a subscription is, and which ones are taken.

Owns: the check of what a browser says. Keeps: messages go to push services that the operator named, nowhere else.
Sources: W3C Push API (the shape), RFC 8291 section 3.1 (the keys). Read next: `adapters/notify/push.py`.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from doorbuster.domain.addresses import has_host, url_parts

POINT_BYTES: Final = 65
"""An uncompressed point of P-256: 0x04, x, y."""
AUTH_BYTES: Final = 16
SERVICES_DEFAULT: Final = "fcm.googleapis.com *.push.services.mozilla.com *.notify.windows.com *.push.apple.com"
"""Where the browsers that people use get their messages from."""

# The curve P-256, FIPS 186-5: y² = x³ - 3x + b modulo p.
_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """`p256dh` and `auth` in base64url, as the browser's `PushSubscription` has them."""

    endpoint: str
    p256dh: str
    auth: str


def subscription_problem(subscription: Subscription, services: Sequence[str]) -> str | None:
    """What is wrong with it, or None. A point beside the curve would give away parts of a key, so it is refused."""
    point, auth = decoded(subscription.p256dh), decoded(subscription.auth)
    if point is None or len(point) != POINT_BYTES or not _on_curve(point):
        return "push.keys.p256dh is no public key of P-256 in base64url"
    if auth is None or len(auth) != AUTH_BYTES:
        return f"push.keys.auth is not {AUTH_BYTES} bytes in base64url"
    return _endpoint_problem(subscription.endpoint, services)


def origin_of(endpoint: str) -> str:
    """Scheme, host and port: whom a message is signed for (RFC 8292 section 2)."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}"


def decoded(text: str) -> bytes | None:
    """Bytes of base64url, with or without padding; None if it is something else."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def encoded(content: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _on_curve(point: bytes) -> bool:
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    return point[0] == 4 and x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0


def _endpoint_problem(endpoint: str, services: Sequence[str]) -> str | None:
    try:
        parts = url_parts(endpoint, "push.endpoint")
    except ValueError as problem:
        return str(problem)
    if "@" in parts.netloc or not has_host(parts):
        return "push.endpoint has no host that could be called"
    if any(_is_of(parts, service) for service in services):
        return None
    return f"push.endpoint is of no push service that this shop sends to: {(parts.hostname or '')[:100]}"


def _is_of(parts: SplitResult, service: str) -> bool:
    """`host` and `*.domain` mean https at its own port; `scheme://host:port` means just that."""
    if "://" in service:
        return f"{parts.scheme}://{parts.netloc}" == service.rstrip("/")
    if parts.scheme != "https" or parts.port not in (None, 443):
        return False
    host = parts.hostname or ""
    return host.endswith(service[1:]) if service.startswith("*.") else host == service
