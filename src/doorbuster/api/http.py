"""A request and a reply as the handlers see them; no server library is known here.

Owns: the two shapes, and how problems are said (RFC 9457). Read next: `routes.py`.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from doorbuster.domain.outcomes import RULES, Code, Refusal

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
Header = tuple[bytes, bytes]

_encoder = msgspec.json.Encoder()


class Request:
    """One request. Header names are lower case; `parameters` are those of the path."""

    __slots__ = ("_by_name", "body", "body_too_large", "headers", "method", "parameters", "path", "query")

    def __init__(self, method: str, path: str, query: bytes, headers: list[Header], body: bytes) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.body_too_large = False
        self.parameters: Mapping[str, str] = {}
        self._by_name: dict[bytes, bytes] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The header of this name; of several the last."""
        if self._by_name is None:
            self._by_name = dict(self.headers)
        return self._by_name.get(name)


class Reply:
    """What goes back. `headers` do not repeat content-type and content-length."""

    __slots__ = ("body", "code", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON,
        headers: tuple[Header, ...] = (),
        code: str = "ok",
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.code = code


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem document. `code` is stable; `advice` says what the caller may do."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    advice: str = ""
    retry_after_ms: int | None = None


class Refused(Exception):
    """Raised by handlers to answer with a problem."""

    def __init__(self, refusal: Refusal, *, status: int | None = None, headers: tuple[Header, ...] = ()) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal
        self.status = status
        self.headers = headers


def json_reply(status: int, value: Any, headers: tuple[Header, ...] = ()) -> Reply:
    return Reply(status, _encoder.encode(value), JSON, headers)


def problem_reply(refusal: Refusal, *, status: int | None = None, headers: tuple[Header, ...] = ()) -> Reply:
    """The problem document of a refusal; `status` only where HTTP itself has a word for it (405)."""
    status = status or refusal.rule.status
    body, own_headers = _problem(refusal, status)
    return Reply(status, body, PROBLEM, (*headers, *own_headers), refusal.code.value)


@lru_cache(maxsize=4096)
def _problem(refusal: Refusal, status: int) -> tuple[bytes, tuple[Header, ...]]:
    """Body and headers. Kept, because a crowd is told the same thing ten thousand times."""
    rule, code = RULES[refusal.code], refusal.code.value
    problem = Problem(
        type=f"urn:doorbuster:problem:{code}",
        title=rule.title,
        status=status,
        code=code,
        detail=refusal.detail,
        advice=rule.advice,
        retry_after_ms=refusal.retry_after_ms,
    )
    headers: tuple[Header, ...] = ()
    if refusal.retry_after_ms is not None:
        seconds = max(1, math.ceil(refusal.retry_after_ms / 1000))
        headers = ((b"retry-after", str(seconds).encode()),)
    if refusal.code is Code.UNAUTHENTICATED:
        headers = (*headers, (b"www-authenticate", b'Bearer realm="doorbuster"'))
    return _encoder.encode(problem), headers
