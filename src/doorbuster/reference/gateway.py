"""A payment gateway in memory: implements `engine.payment_ports.Gateway`, with a book to compare with.

Owns: what a charge can become. It passes the suite that every gateway passes, and is the gateway of simulated worlds:
`faults` decides which calls do not arrive and which answers are lost. Methods are those of the simulated gateway, as
far as they need no time: `pm_ok`, `pm_declined`, `pm_insufficient_funds`, `pm_action_required`, `pm_error`,
`pm_timeout_before`, `pm_timeout_after`, `pm_capture_fails`; any other is declined.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, TypeVar

import msgspec

from doorbuster.engine.payment_ports import (
    Absent,
    ActionRequired,
    Authorized,
    BookEntry,
    Captured,
    CaptureRefused,
    Charge,
    Declined,
    Found,
    News,
    NoAnswer,
    NotExecuted,
    NotNews,
    Refunded,
    Unknown,
    Voided,
)
from doorbuster.engine.ports import StoreUnavailable
from doorbuster.reference.faults import Fault, Faults

_DECLINES: Final = {"pm_declined": "card_declined", "pm_insufficient_funds": "insufficient_funds"}
_APPROVED: Final = frozenset({"pm_ok", "pm_slow", "pm_timeout_after", "pm_capture_fails"})

_Answer = TypeVar("_Answer")


class ReferenceCharge(msgspec.Struct, kw_only=True):
    """What became of one key. `declined` is the reason; `tombstone`: voided before it was heard of."""

    charge: Charge
    authorized: bool = False
    declined: str = ""
    voided: bool = False
    tombstone: bool = False
    captured_under: str = ""
    refunded_under: str = ""

    @property
    def captured_cents(self) -> int:
        """What was captured and has not been given back."""
        return self.charge.amount_cents if self.captured_under and not self.refunded_under else 0


class ReferenceGateway:
    """One per world: like a gateway it outlives every process of the shop."""

    def __init__(self, faults: Faults | None = None, *, name: str = "simulated") -> None:
        self.name = name
        self.charges: dict[str, ReferenceCharge] = {}
        self.default_method: str | None = "pm_ok"
        self._faults = faults or Faults()

    async def authorize(self, charge: Charge) -> Authorized | Declined | ActionRequired | NoAnswer:
        if charge.payment_method == "pm_error":
            return Unknown(detail="internal error")
        if charge.payment_method == "pm_timeout_before":
            return Unknown(detail="no answer")
        first = charge.key not in self.charges
        answer = self._call("authorize", lambda: self._authorize(charge))
        if first and charge.payment_method == "pm_timeout_after":
            return Unknown(detail="no answer")
        return answer

    async def capture(self, charge: Charge, key: str) -> Captured | CaptureRefused | NoAnswer:
        return self._call("capture", lambda: self._capture(charge, key))

    async def void(self, charge: Charge, key: str) -> Voided | Captured | NoAnswer:
        del key  # a void is the same whoever asks for it
        return self._call("void", lambda: self._void(charge))

    async def refund(self, charge: Charge, key: str) -> Refunded | NoAnswer:
        return self._call("refund", lambda: self._refund(charge, key))

    async def look_up(self, charge: Charge) -> Found:
        return self._call("look_up", lambda: self._found(charge))

    async def book(self, sale_id: str) -> AsyncIterator[BookEntry]:
        if self._faults.draw("book") is not Fault.NONE:
            raise StoreUnavailable("the gateway does not show its book")
        for row in list(self.charges.values()):
            if row.charge.sale_id == sale_id:
                yield _entry(row)

    def read_news(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> News | NotNews:
        """What `tell` made; a gateway in memory has no clock and no age."""
        del now_ms
        if headers.get("signature") != hashlib.sha256(body).hexdigest():
            return NotNews(reason="the signature is not the gateway's")
        try:
            return msgspec.json.decode(body, type=News)
        except msgspec.MsgspecError as problem:
            return NotNews(reason=str(problem))

    @staticmethod
    def tell(news: News) -> tuple[dict[str, str], bytes]:
        """The webhook that says it: headers and body."""
        body = msgspec.json.encode(news)
        return {"signature": hashlib.sha256(body).hexdigest()}, body

    async def close(self) -> None:
        """Nothing is open."""

    def act(self, charge: Charge) -> None:
        """The buyer does what an action asks for."""
        row = self.charges[charge.key]
        row.authorized = not row.voided

    def _call(self, method: str, work: Callable[[], _Answer]) -> _Answer | NoAnswer:
        fault = self._faults.draw(method)
        if fault is Fault.NOT_EXECUTED:
            return NotExecuted(detail=f"{method} did not arrive")
        answer = work()
        return Unknown(detail=f"the answer of {method} was lost") if fault is Fault.REPLY_LOST else answer

    def _authorize(self, charge: Charge) -> Authorized | Declined | ActionRequired | NoAnswer:
        row = self.charges.get(charge.key)
        method = charge.payment_method
        if row is None:
            asks = method == "pm_action_required"
            declined = "" if asks or method in _APPROVED else _DECLINES.get(method, "invalid_payment_method")
            row = self.charges[charge.key] = ReferenceCharge(
                charge=charge, authorized=method in _APPROVED, declined=declined
            )
        if row.voided:
            return Declined(reason="voided")
        found = self._found(charge)
        if isinstance(found, Authorized | Declined | ActionRequired):
            return found
        return Authorized(ref=charge.key, amount_cents=charge.amount_cents, currency=charge.currency)

    def _capture(self, charge: Charge, key: str) -> Captured | CaptureRefused | NoAnswer:
        row = self.charges.get(charge.key)
        if row is None or not row.authorized or row.voided:
            return CaptureRefused(reason="not_authorized")
        if charge.payment_method == "pm_capture_fails":
            return CaptureRefused(reason="capture_failed")
        row.captured_under = row.captured_under or key
        if row.captured_under != key:
            return Unknown(detail="captured already, under another key")
        return Captured(ref=charge.key, amount_cents=row.charge.amount_cents, currency=row.charge.currency)

    def _void(self, charge: Charge) -> Voided | Captured:
        row = self.charges.get(charge.key)
        if row is None:
            row = self.charges[charge.key] = ReferenceCharge(charge=charge, tombstone=True)
        if row.captured_under:
            return Captured(ref=charge.key, amount_cents=row.charge.amount_cents, currency=row.charge.currency)
        row.voided = row.voided or not row.declined
        return Voided()

    def _refund(self, charge: Charge, key: str) -> Refunded | NoAnswer:
        row = self.charges.get(charge.key)
        if row is None or not row.captured_under:
            return Unknown(detail="nothing was captured")
        row.refunded_under = row.refunded_under or key
        return Refunded() if row.refunded_under == key else Unknown(detail="refunded already, under another key")

    def _found(self, charge: Charge) -> Found:
        row = self.charges.get(charge.key)
        if row is None:
            return Absent()
        if row.captured_under:
            return Captured(
                ref=charge.key,
                amount_cents=row.charge.amount_cents,
                currency=row.charge.currency,
                refunded_cents=row.charge.amount_cents if row.refunded_under else 0,
            )
        if row.voided:
            return Voided()
        if row.declined:
            return Declined(reason=row.declined)
        if not row.authorized:
            return ActionRequired(data={})
        return Authorized(ref=charge.key, amount_cents=row.charge.amount_cents, currency=row.charge.currency)


def _entry(row: ReferenceCharge) -> BookEntry:
    return BookEntry(
        key=row.charge.key,
        order_id=row.charge.order_id,
        amount_cents=row.charge.amount_cents,
        currency=row.charge.currency,
        authorized=row.authorized,
        captured_cents=row.charge.amount_cents if row.captured_under else 0,
        refunded_cents=row.charge.amount_cents if row.refunded_under else 0,
        voided=row.voided,
        ref=row.charge.key,
    )
