"""Reads what callers send, and says exactly what is wrong with it.

Owns: bodies, idempotency keys, ids in paths, cursors. Every refusal leaves the state as it was, because nothing is
called before everything was read.
"""

import hashlib
import json
import re
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from doorbuster.api.http import Refused, Request
from doorbuster.api.shapes import OrderBody
from doorbuster.domain import limits
from doorbuster.domain.outcomes import Code, Refusal

T = TypeVar("T")
_encoder: Final = msgspec.json.Encoder(order="sorted")
_ID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TWICE_BYTES_MAX: Final = 64 * 1024
"""Longer bodies are lists of the operator; looking for names given twice would stop the gate for a moment."""
_decoders: dict[Any, "msgspec.json.Decoder[Any]"] = {}


def invalid(detail: str) -> Refused:
    return Refused(Refusal(Code.INVALID_REQUEST, detail))


def body_of(request: Request, shape: type[T], *, required: bool = True) -> T:
    """The body as this struct. An empty body is the struct's defaults where it is not required."""
    if request.body_too_large:
        raise invalid("the body is larger than this route takes")
    if not request.body and not required:
        return shape()
    if not _is_json(request.header(b"content-type")):
        raise invalid("the body has to be JSON (content-type: application/json)")
    return _decode(request.body, shape)


def order_of(request: Request) -> tuple[OrderBody, str]:
    """The body of an order and its digest. A crowd sends one body ten thousand times: it is read once."""
    if request.body_too_large:
        raise invalid("the body is larger than this route takes")
    if not _is_json(request.header(b"content-type")):
        raise invalid("the body has to be JSON (content-type: application/json)")
    return _order(request.body)


@lru_cache(maxsize=256)
def _order(body: bytes) -> tuple[OrderBody, str]:
    order = _decode(body, OrderBody)
    return order, digest_of(order)


@lru_cache(maxsize=64)
def _is_json(content_type: bytes | None) -> bool:
    """A body without a type is taken for what every route takes."""
    if content_type is None:
        return True
    media = content_type.partition(b";")[0].strip().lower()
    return media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json"))


def _decode(body: bytes, shape: type[T]) -> T:
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.json.Decoder(shape)
    try:
        value: T = decoder.decode(body)
        if len(body) <= _TWICE_BYTES_MAX:
            json.loads(body, object_pairs_hook=_once)
    except RecursionError as problem:
        raise invalid("the body is nested too deeply") from problem
    except msgspec.ValidationError as problem:
        raise invalid(f"the body does not fit: {problem}") from problem
    except (msgspec.DecodeError, ValueError) as problem:
        raise invalid(f"the body is not JSON: {problem}") from problem
    return value


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Two readers of a name given twice may take different values for it."""
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise invalid("the body has a name twice")


def digest_of(value: Any) -> str:
    """Stands for a body: two bodies that mean the same have the same digest, however they were written."""
    return hashlib.blake2b(_encoder.encode(value), digest_size=8).hexdigest()


def key_of(request: Request) -> str:
    """The Idempotency-Key header."""
    raw = request.header(b"idempotency-key")
    if raw is None or not raw.strip():
        raise Refused(Refusal(Code.IDEMPOTENCY_KEY_MISSING, "the Idempotency-Key header is missing"))
    key = raw.strip()
    if len(key) > limits.IDEMPOTENCY_KEY_LENGTH_MAX:
        raise invalid(f"the Idempotency-Key has {len(key)} characters; at most {limits.IDEMPOTENCY_KEY_LENGTH_MAX}")
    text = key.decode("latin-1")
    if not text.isascii() or not text.isprintable():
        raise invalid("the Idempotency-Key has characters that are not printable ASCII")
    return text


def id_of(request: Request, name: str) -> str:
    """An id from the path in its one form. What is no id is the id of nothing: not found."""
    text = request.parameters[name]
    if _ID.fullmatch(text):
        return text
    raise Refused(Refusal(Code.NOT_FOUND, "there is no such thing"))


def query_of(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters; unknown and repeated ones are refused."""
    try:
        pairs = parse_qsl(request.query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(request.query))
    except ValueError as problem:
        raise invalid("the query cannot be read") from problem
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known or name in found:
            raise invalid(f"the query parameter {name[:50]!r} is unknown or repeated; known: {', '.join(known)}")
        found[name] = value
    return found


def limit_of(query: dict[str, str]) -> int:
    text = query.get("limit")
    if text is None:
        return limits.PAGE_SIZE_DEFAULT
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= limits.PAGE_SIZE_MAX:
        raise invalid(f"limit has to be from 1 to {limits.PAGE_SIZE_MAX}")
    return int(text)


def cursor_of(query: dict[str, str]) -> str | None:
    """The cursor as it was given out; another one is refused rather than taken for the end."""
    cursor = query.get("cursor")
    if cursor is not None and not _ID.fullmatch(cursor):
        raise invalid("cursor has to be the next_cursor of the page before")
    return cursor


def checked_user(user: str, where: str) -> str:
    if len(user) > limits.USER_ID_LENGTH_MAX or not user.isprintable():
        raise invalid(f"{where}: a user id has at most {limits.USER_ID_LENGTH_MAX} printable characters")
    return user
