"""Signs passes with the keys that all gates share, and publishes the keys' public halves.

Owns: signing (EdDSA over Ed25519, RFC 8037), the document of published keys (RFC 7517), when a new key signs.
A pass is made once per order and kept: a poll signs nothing. Whoever gets no unit costs nothing here.
Read next: `domain/passes.py`, which says what a pass is; `external.py`, which takes the shop's reports.
"""

import binascii
from collections.abc import Sequence
from typing import Final, Protocol

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from doorbuster.domain.order import Order
from doorbuster.domain.passes import KeyState, PassKey, claims_of, has_pass, key_for, key_states
from doorbuster.domain.sale import Sale
from doorbuster.domain.transitions import OrderStatus
from doorbuster.engine.board import SaleBoard
from doorbuster.engine.ports import Actor, Clock, OutcomeUnknown, StoreUnavailable

_KEPT: Final = 20_000
"""Passes a gate remembers, about 20 MB; what is forgotten is signed again, in a tenth of a millisecond."""


class PassKeyStore(Protocol):
    """The keys in the ledger. May raise StoreUnavailable or OutcomeUnknown; every call may be repeated."""

    async def pass_keys(self) -> Sequence[PassKey]:
        """Keys that are published, the newest first. There is always one: whoever asks first makes it, and everybody
        else gets the same."""
        ...

    async def rotate_pass_keys(self, *, leaked: bool, actor: Actor) -> None:
        """A new key that signs in KEY_AHEAD_MS; none while one is waiting for its time. `leaked`: all keys are dropped
        and the new one signs at once."""
        ...


class Passes:
    """One per gate. `refresh` before use, and again from time to time: another gate may have made a key."""

    def __init__(self, store: PassKeyStore, board: SaleBoard, clock: Clock, *, issuer: str, audience: str) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._issuer = issuer
        self._audience = audience
        self._keys: Sequence[PassKey] = ()
        self._private: dict[str, Ed25519PrivateKey] = {}
        self._kept: dict[str, tuple[str, int, str]] = {}
        """By order id: the key, the end, the pass."""
        self.published = b'{"keys":[]}'
        """The JWKS document."""
        self.signed = 0
        """Passes signed so far."""

    async def refresh(self) -> None:
        """Read the keys. May raise StoreUnavailable or OutcomeUnknown; the old keys go on."""
        keys = await self._store.pass_keys()
        self._private = {key.key_id: Ed25519PrivateKey.from_private_bytes(key.secret) for key in keys}
        self._keys = keys
        self.published = msgspec.json.encode({"keys": [self._public(key) for key in keys]})

    async def rotate(self, actor: Actor, *, leaked: bool) -> Sequence[tuple[PassKey, KeyState]]:
        """The keys afterwards. May raise StoreUnavailable or OutcomeUnknown."""
        await self._store.rotate_pass_keys(leaked=leaked, actor=actor)
        return await self.keys()

    async def keys(self) -> Sequence[tuple[PassKey, KeyState]]:
        """The newest first, with what each is good for now. May raise StoreUnavailable or OutcomeUnknown."""
        await self.refresh()
        return key_states(self._keys, self._clock.now_ms())

    async def issue(self, order: Order) -> str | None:
        """The pass of an order, if it has one. None also while its sale is not known here: the order is told anyway,
        and the next look at it has the pass."""
        if order.status is not OrderStatus.RESERVED:
            return None  # without asking for its sale, which may be over for long
        try:
            sale = self._board.get(order.sale_id) or await self._board.look(order.sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return None
        return None if sale is None else self.of(sale, order)

    def of(self, sale: Sale, order: Order) -> str | None:
        """The pass of an order of this sale, if it has one."""
        if not has_pass(sale, order):
            return None
        key = key_for(self._keys, order.reserved_ms)
        if key is None:
            return None
        kept = self._kept.get(order.order_id)
        if kept is None or kept[:2] != (key.key_id, order.expires_ms):
            kept = (key.key_id, order.expires_ms, self._sign(sale, order, key))
            self._keep(order.order_id, kept)
        return kept[2]

    def _sign(self, sale: Sale, order: Order, key: PassKey) -> str:
        self.signed += 1
        claims = claims_of(sale, order, issuer=self._issuer, audience=self._audience)
        return jwt.encode(claims, self._private[key.key_id], algorithm="EdDSA", headers={"kid": key.key_id})

    def _keep(self, order_id: str, kept: tuple[str, int, str]) -> None:
        """In the order they were made; the oldest goes first."""
        if len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[order_id] = kept

    def _public(self, key: PassKey) -> dict[str, str]:
        raw = self._private[key.key_id].public_key().public_bytes_raw()
        x = binascii.b2a_base64(raw, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_").decode()
        return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.key_id, "x": x}
