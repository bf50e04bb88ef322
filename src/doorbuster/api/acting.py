"""Who acts as the operator, and why: read from the request, stored with what is done, and in the log.

Owns: the header by which one of several operators says who it is. All have one token, so this is a signature, not a
proof.
"""

from typing import Final

import msgspec
import structlog

from doorbuster.api.http import Reply, Request
from doorbuster.api.reading import invalid
from doorbuster.api.routes import Parameter
from doorbuster.api.shapes import Reason
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Refusal
from doorbuster.engine.ports import Actor

log = structlog.get_logger(__name__)

OPERATOR: Final = "operator"
HEADER: Final = "X-Operator"
NAME_LENGTH_MAX: Final = 64
REASON: Final = Parameter("why; kept with the sale", {"type": "string", "maxLength": limits.REASON_LENGTH_MAX})
_READS: Final = ("GET", "HEAD")


def actor_of(request: Request, reason: str = "") -> Actor:
    """`operator`, or `operator:ann` with `X-Operator: ann`. Lines logged until the answer say so."""
    raw = request.header(HEADER.lower().encode())
    name = b"" if raw is None else raw.strip()
    text = name.decode("latin-1")
    if len(text) > NAME_LENGTH_MAX or not text.isascii() or not text.isprintable():
        raise invalid(f"{HEADER} has to be at most {NAME_LENGTH_MAX} printable ASCII characters")
    actor = Actor(name=f"{OPERATOR}:{text}" if text else OPERATOR, reason=reason)
    structlog.contextvars.bind_contextvars(by=actor.name, why=reason)
    return actor


def reason_of(query: dict[str, str]) -> str:
    """Where the body has no place for it."""
    try:
        return msgspec.convert(query.get("reason", ""), Reason)
    except msgspec.ValidationError as problem:
        raise invalid(f"reason: {problem}") from problem


def note(request: Request, outcome: Reply | Refusal) -> None:
    """One line for each act, refused or done; reading is none."""
    if request.method not in _READS:
        code = outcome.code.value if isinstance(outcome, Refusal) else outcome.code
        log.info("the operator acted", act=f"{request.method} {request.path}", code=code)


def forget() -> None:
    """What comes next on the same connection is somebody else's."""
    structlog.contextvars.unbind_contextvars("by", "why")
