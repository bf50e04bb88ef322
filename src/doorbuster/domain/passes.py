"""A pass: what a buyer shows to the shop that charges for the unit, and the keys passes are signed with.

Owns: what a pass says, which order has one, which key signs it and how long a key is published. Keeps: I11 (a pass ends
with its hold, never later), I9 (amount and currency are the order's).
A pass is a function of its order and the keys alone: every gate makes the same one, at every time.
Read next: `engine/passes.py`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from doorbuster.domain import limits
from doorbuster.domain.order import Order
from doorbuster.domain.sale import PaymentMode, Sale
from doorbuster.domain.transitions import OrderStatus

KEY_AHEAD_MS: Final = 3_600_000
"""How long a new key is published before it signs. Shops keep published keys, commonly for five minutes to half an
hour: whoever looks once an hour has the key when the first pass needs it."""
KEYS_MAX_AGE_S: Final = 300
"""How long the published keys may be kept by a cache between the gates and the shop."""
KEY_KEPT_MS: Final = (limits.CHECKOUT_TTL_SECONDS_MAX + limits.EXTENSION_SECONDS_MAX + 3_600) * 1000
"""How long a key stays published after the next one began to sign: the longest hold, and an hour for slow clocks."""

assert KEY_AHEAD_MS >= 4 * KEYS_MAX_AGE_S * 1000


class PassKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the ledger has it. `leaves_ms`: when it is published no longer; None while no other has followed it."""

    key_id: str
    secret: bytes
    made_ms: int
    signs_from_ms: int
    leaves_ms: int | None

    def __repr__(self) -> str:
        return f"PassKey({self.key_id})"  # the secret must not reach a log


class KeyState(StrEnum):
    """What a published key is good for."""

    NEXT = "next"  # published so that shops have it in time
    SIGNING = "signing"
    LEAVING = "leaving"  # passes it signed may still be out


def has_pass(sale: Sale, order: Order) -> bool:
    """Only what waits for the shop's payment; what is paid for, or over, opens no door."""
    return sale.payment_mode is PaymentMode.EXTERNAL and order.status is OrderStatus.RESERVED


def key_for(keys: Sequence[PassKey], reserved_ms: int) -> PassKey | None:
    """Which of the keys, the newest first, signs the pass of an order that was reserved then. An order older than every
    key left has the oldest: its own was dropped because somebody else may have it."""
    return next((key for key in keys if key.signs_from_ms <= reserved_ms), keys[-1] if keys else None)


def key_states(keys: Sequence[PassKey], now_ms: int) -> list[tuple[PassKey, KeyState]]:
    """The keys, the newest first, with what each is good for."""
    signing = key_for(keys, now_ms)
    found: list[tuple[PassKey, KeyState]] = []
    for key in keys:
        if key is signing:
            state = KeyState.SIGNING
        else:
            state = KeyState.NEXT if key.signs_from_ms > now_ms else KeyState.LEAVING
        found.append((key, state))
    return found


def claims_of(sale: Sale, order: Order, *, issuer: str, audience: str) -> dict[str, str | int]:
    """What the pass says. Times are whole seconds, rounded down: a pass never outlives its hold (I11)."""
    return {
        "iss": issuer,
        "aud": audience,
        "sub": order.user_id,
        "jti": order.order_id,
        "iat": order.reserved_ms // 1000,
        "exp": order.expires_ms // 1000,
        "sale_id": order.sale_id,
        "order_id": order.order_id,
        "product_id": sale.product_id,
        "quantity": order.quantity,
        "amount_cents": order.amount_cents,  # I9
        "currency": order.currency,
    }
