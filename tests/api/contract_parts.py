"""The parts of the contract that have files of their own, put together.

A part has `CASES`; one whose routes are called like any other also has `PATHS`, and says in `BUYER` which of them are a
buyer's and in `WITH_BODY` which refuse a bad body (`NO_SALE`: which know no such sale).
"""

from collections.abc import Awaitable, Callable
from typing import Any

from api import (
    contract_actions,
    contract_external,
    contract_money,
    contract_queue,
    contract_rehearsal,
    contract_system,
    contract_timeline,
    contract_waitlist,
    contract_webhooks,
)
from api.gate import Answer, Gate

Case = Callable[[Gate], Awaitable[Answer]]

_PARTS: tuple[Any, ...] = (
    contract_queue,
    contract_money,
    contract_webhooks,
    contract_external,
    contract_system,
    contract_timeline,
    contract_waitlist,
    contract_rehearsal,
    contract_actions,
)
CASES: dict[tuple[str, str], Case] = {name: answer for part in _PARTS for name, answer in part.CASES.items()}
PATHS: dict[str, tuple[str, str, object]] = {
    name: path for part in _PARTS for name, path in getattr(part, "PATHS", {}).items()
}
_MARKED = (contract_timeline, contract_waitlist, contract_rehearsal, contract_actions)
BUYER = " ".join(getattr(part, "BUYER", "") for part in _MARKED)
OPERATOR = " ".join(name for part in _MARKED for name in getattr(part, "OPERATOR", "").split())
ANYONE = contract_waitlist.ANYONE
WITH_BODY = " ".join(part.WITH_BODY for part in _MARKED)
BY_PAGE = "list-samples list-alerts"
NO_SALE = " ".join(part.NO_SALE for part in _MARKED)
