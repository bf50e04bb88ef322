"""What an error reply of Valkey means for the caller: try elsewhere, nothing happened, or who knows.

Owns: the reading of error replies. Keeps: I1 (a call that may have run is never sent again by this package).
"""

from enum import StrEnum
from typing import Final

import msgspec

from doorbuster.engine.ports import InvariantViolation, OutcomeUnknown, StoreUnavailable


class Verdict(StrEnum):
    """What may be done about an error reply."""

    MOVED = "moved"  # refused by a node that does not own the slot: send to the owner
    ASK = "ask"  # refused by a node that hands the slot over: ask the new owner once
    NO_FUNCTION = "no_function"  # refused because the library is gone: load it and send again
    REFUSED = "refused"  # refused before anything ran
    BROKEN = "broken"  # the function ran and stopped: what it did is unknown
    BAD_CALL = "bad_call"  # the function found arguments that no honest caller sends


SENT_AGAIN: Final = frozenset({Verdict.MOVED, Verdict.ASK, Verdict.NO_FUNCTION})
"""Refusals that are answered by sending again; all of them come before anything runs."""


class Redirect(msgspec.Struct, frozen=True):
    """Where a cluster says a slot is. An empty host means the node that was asked."""

    slot: int
    host: str
    port: int


_RAN: Final = ("@user_function", "script:")
"""Texts that Valkey puts into errors raised while a function runs; dispatch refusals do not have them."""


def verdict_of(problem: Exception) -> Verdict:
    text = str(problem)
    word = text.partition(" ")[0]
    if word == "MOVED":
        return Verdict.MOVED
    if word == "ASK":
        return Verdict.ASK
    if word == "BADCALL":
        return Verdict.BAD_CALL
    if any(mark in text for mark in _RAN):
        return Verdict.BROKEN
    if "function not found" in text.lower():
        return Verdict.NO_FUNCTION
    return Verdict.REFUSED


def redirect_of(problem: Exception) -> Redirect:
    """Reads `MOVED 3999 127.0.0.1:6381` and `ASK …`; an IPv6 host stands there without brackets."""
    _, slot, place = str(problem).split(" ", 2)
    host, _, port = place.rpartition(":")
    return Redirect(int(slot), "" if host == "?" else host.strip("[]"), int(port))


def as_accident(problem: Exception, verdict: Verdict) -> Exception:
    """The exception of the port for an error reply that is not acted on any further."""
    match verdict:
        case Verdict.BAD_CALL:
            return InvariantViolation(f"valkey was given arguments it cannot take: {problem}")
        case Verdict.BROKEN:
            return OutcomeUnknown(f"a valkey function stopped half-way: {problem}")
        case Verdict.MOVED | Verdict.ASK | Verdict.NO_FUNCTION | Verdict.REFUSED:
            return StoreUnavailable(f"valkey refused the call: {problem}")
