"""A request and a reply as the handlers see them; no server library is known here.

Owns: the two shapes, and how problems are said (RFC 9457). Read next: `routes.py`.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from doorbuster.domain.outcomes import Code, Refusal

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
_ALWAYS: Final = b"x-content-type-options: nosniff\r\n"
_UNCACHED: Final = b"cache-control: no-store\r\n"
_RETRY_STEP_MS: Final = 100
"""Retry times are rounded up to this: a spread fine enough, and few enough documents to keep all of them."""
Header = tuple[bytes, bytes]

_encoder = msgspec.json.Encoder()


class Request:
    """One request. Header names are lower case; `parameters` are those of the path."""

    __slots__ = ("_by_name", "body", "body_too_large", "headers", "keep_alive", "method", "parameters", "path", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: list[Header],
        body: bytes,
        *,
        by_name: dict[bytes, bytes] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.body_too_large = False
        self.keep_alive = True
        self.parameters: Mapping[str, str] = {}
        self._by_name = by_name

    def header(self, name: bytes) -> bytes | None:
        """The header of this name; of several the last."""
        if self._by_name is None:
            self._by_name = dict(self.headers)
        return self._by_name.get(name)


class Reply:
    """What goes back; never changed once made, because a crowd that is told one thing shares one reply.

    `headers` are those besides content-type and content-length. Nobody keeps an answer unless it says cache-control.
    """

    __slots__ = ("body", "code", "content_type", "head", "headers", "status")

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
        lines = b"content-type: %b\r\ncontent-length: %d\r\n%b" % (content_type, len(body), _ALWAYS)
        cached = False
        for name, value in headers:
            lines += b"%b: %b\r\n" % (name, value)
            cached = cached or name == b"cache-control"
        self.head = lines if cached else lines + _UNCACHED

    def lines(self) -> list[Header]:
        """All headers, as `head` has them in bytes."""
        pairs = (line.partition(b": ") for line in self.head.splitlines())
        return [(name, value) for name, _, value in pairs]

    def with_header(self, name: bytes, value: bytes) -> "Reply":
        return Reply(self.status, self.body, self.content_type, (*self.headers, (name, value)), self.code)


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

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def json_reply(status: int, value: Any, headers: tuple[Header, ...] = ()) -> Reply:
    return Reply(status, _encoder.encode(value), JSON, headers)


def problem_reply(refusal: Refusal, *, status: int | None = None, headers: tuple[Header, ...] = ()) -> Reply:
    """The problem document of a refusal; `status` only where HTTP itself has a word for it (400, 405)."""
    reply = _problem_reply(refusal, status or refusal.rule.status)
    for name, value in headers:
        reply = reply.with_header(name, value)
    return reply


@lru_cache(maxsize=4096)
def _problem_reply(refusal: Refusal, status: int) -> Reply:
    """Kept, because a crowd is told the same thing ten thousand times."""
    rule, code = refusal.rule, refusal.code.value
    retry_after_ms = refusal.retry_after_ms
    headers: tuple[Header, ...] = ()
    if retry_after_ms is not None:
        retry_after_ms = math.ceil(retry_after_ms / _RETRY_STEP_MS) * _RETRY_STEP_MS
        headers = ((b"retry-after", b"%d" % max(1, math.ceil(retry_after_ms / 1000))),)
    if refusal.code is Code.UNAUTHENTICATED:
        headers = (*headers, (b"www-authenticate", b'Bearer realm="doorbuster"'))
    problem = Problem(
        type=f"urn:doorbuster:problem:{code}",
        title=rule.title,
        status=status,
        code=code,
        detail=refusal.detail,
        advice=rule.advice,
        retry_after_ms=retry_after_ms,
    )
    return Reply(status, _encoder.encode(problem), PROBLEM, headers, code)
