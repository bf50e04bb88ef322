"""One call to Stripe, and what it means when there is no answer.

Owns: deadlines, how many calls are out at once, and the sorting of failures: a definite no, nothing happened, unknown.
The SDK's own repeats are off: who repeats is the settler, with the same key. Read next: `stripe.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import aiohttp
import msgspec
import stripe

from doorbuster import tracing
from doorbuster.engine.payment_ports import NoAnswer, NotExecuted, Unknown

CALL_S: Final = 3.0
"""Deadline of one call. An authorization is two of them, so the longest operation is six seconds, below the ten after
which an attempt counts as abandoned."""
CALLS_MAX: Final = 64
"""Calls out at once: Stripe's limit is a hundred a second for an account, of which each takes about half a second."""
_REPLAYED: Final = "idempotent-replayed"

T = TypeVar("T")
Work = Callable[[stripe.StripeClient, Any], Awaitable[Any]]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """No object came back. `definite`: Stripe has decided, and repeating changes nothing. `stored`: the failure is what
    Stripe keeps for the key, so the key will never do."""

    answer: NoAnswer
    code: str = ""
    definite: bool = False
    stored: bool = False


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """What came back. `replayed`: from Stripe's memory of an earlier call with the same key."""

    value: T
    replayed: bool


class StripeCalls:
    """A client of one account."""

    def __init__(self, secret_key: str, *, api_base: str = "", call_s: float | None = None) -> None:
        self._http: stripe.AIOHTTPClient | None = None
        self._client: stripe.StripeClient | None = None
        self._secret_key = secret_key
        self._api_base = api_base
        self._call_s = call_s or CALL_S
        self._slots = asyncio.Semaphore(CALLS_MAX)

    async def make(self, shape: type[T], work: Work, *, key: str = "") -> Answer[T] | Failure:
        """The object that came back, or why there is none. Never raises for what a network or Stripe does."""
        options = {"idempotency_key": key} if key else {}
        try:
            with tracing.part(f"stripe {shape.__name__}", alone=True):
                async with self._slots, asyncio.timeout(self._call_s):
                    thing = await work(self._open(), options)
        except TimeoutError:
            return _unknown("no answer in time")
        except stripe.StripeError as problem:
            return failure_of(problem)
        response: Any = thing.last_response
        replayed = response is not None and str(response.headers.get(_REPLAYED)) == "true"
        try:
            return Answer(msgspec.convert(thing.to_dict(), type=shape), replayed)
        except msgspec.ValidationError as problem:
            return _unknown(f"an object of another shape: {problem}")

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close_async()

    def _open(self) -> stripe.StripeClient:
        """Made inside the loop it is used in."""
        if self._client is None:
            self._http = stripe.AIOHTTPClient(timeout=None)  # pyright: ignore[reportArgumentType] # the deadline is ours
            more: dict[str, Any] = {"base_addresses": {"api": self._api_base}} if self._api_base else {}
            self._client = stripe.StripeClient(self._secret_key, http_client=self._http, max_network_retries=0, **more)
        return self._client


def failure_of(problem: stripe.StripeError) -> Failure:
    """What an error of the SDK means. A refused connection and a refused request did nothing; a decision against a card
    or a state is definite; a conflict of keys, a fault of Stripe's own and a broken connection are unknown."""
    details: Any = problem
    code, status = str(details.code or ""), int(details.http_status or 0)
    detail = f"{type(problem).__name__} {status or ''} {code}".strip()
    if isinstance(problem, stripe.APIConnectionError):
        refused = isinstance(problem.__cause__, aiohttp.ClientConnectorError)
        return Failure(answer=NotExecuted(detail=detail)) if refused else _unknown(detail)
    if isinstance(problem, stripe.CardError):
        decline: Any = details.error
        return _definite(detail, str(getattr(decline, "decline_code", None) or code or "declined"))
    if isinstance(problem, stripe.RateLimitError | stripe.AuthenticationError | stripe.PermissionError):
        return Failure(answer=NotExecuted(detail=detail), code=code)
    if isinstance(problem, stripe.InvalidRequestError) and 400 <= status < 500 and status != 409:
        return _definite(detail, code or "invalid_request")
    headers: Any = details.headers or {}
    stored = status >= 500 and str(headers.get(_REPLAYED)) == "true"
    return Failure(answer=Unknown(detail=detail), code=code, stored=stored)


def _definite(detail: str, code: str) -> Failure:
    return Failure(answer=Unknown(detail=detail), code=code, definite=True)


def _unknown(detail: str) -> Failure:
    return Failure(answer=Unknown(detail=detail))
