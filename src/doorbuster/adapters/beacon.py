"""The public beacon over HTTP: one round of drand, from any server that has it.

Owns: the fetch, its bounds, and how long a round is waited for. Keeps: I10 as far as this side can: a value is taken
only if it is of the round that was asked for and, where the server shows the signature, made of it.
What a server may do wrong ends in a note, never in an exception. Read next: `engine/drawing.py`.
"""

import asyncio
import hashlib
import re
from typing import Final

import aiohttp
import msgspec
import structlog

from doorbuster.config import Settings
from doorbuster.domain.draw import BeaconNote
from doorbuster.engine.drawing import BeaconAnswer

log = structlog.get_logger(__name__)

_TRY_TIMEOUT_S: Final = 2.0
"""One attempt: other draws wait behind it."""
_PAUSE_S: Final = 0.5
"""Between two attempts for a round: it comes at its own time, and the servers are public."""
_BYTES_MAX: Final = 64 * 1024
"""A round is half a kilobyte."""
_ROUNDS_MAX: Final = 1_000
_VALUE: Final = re.compile(r"[0-9a-f]{64}")


class _Round(msgspec.Struct):
    """What drand answers, other fields aside."""

    round: int
    randomness: str
    signature: str | None = None


class _Trouble(Exception):
    """Why an attempt gave no value."""

    def __init__(self, detail: str, note: BeaconNote) -> None:
        super().__init__(detail)
        self.note = note


class _Patience(msgspec.Struct):
    """How it stands with a round that has not come."""

    until: float
    tried_at: float
    note: BeaconNote = BeaconNote.UNREACHABLE


class HttpBeacon:
    """Implements `engine.drawing.Beacon`. `url` has `{round}` in it."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._patience: dict[int, _Patience] = {}

    async def value(self, round_number: int) -> BeaconAnswer:
        """Patience begins with the first question for a round, and again in a process that was started anew."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        patience = self._patience.get(round_number)
        if patience is None:
            while len(self._patience) >= _ROUNDS_MAX:
                self._patience.pop(next(iter(self._patience)))
            patience = self._patience[round_number] = _Patience(until=now + self._timeout_s, tried_at=now - _PAUSE_S)
        if now - patience.tried_at >= _PAUSE_S:
            patience.tried_at = now
            try:
                found = await self._fetch(round_number, min(_TRY_TIMEOUT_S, max(0.1, patience.until - now)))
            except _Trouble as trouble:
                patience.note = trouble.note
                log.warning("no value of the beacon yet", round=round_number, url=self._url, problem=str(trouble))
            else:
                self._patience.pop(round_number, None)
                return BeaconAnswer(value=found)
        if loop.time() < patience.until:
            return BeaconAnswer(wait=True, note=patience.note)
        return BeaconAnswer(note=patience.note)

    async def _fetch(self, round_number: int, timeout_s: float) -> str:
        try:
            return _value_of(await self._get(round_number, timeout_s), round_number)
        except (aiohttp.ClientError, OSError, ValueError) as problem:  # a time-out is an OSError
            detail = f"{type(problem).__name__}: {problem}"
            raise _Trouble(detail, BeaconNote.UNREACHABLE) from problem

    async def _get(self, round_number: int, timeout_s: float) -> bytes:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        url = self._url.replace("{round}", str(round_number))
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _Trouble(f"status {response.status}", BeaconNote.UNREACHABLE)
            content = b""
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > _BYTES_MAX:
                    raise _Trouble(f"more than {_BYTES_MAX} bytes", BeaconNote.UNUSABLE)
            return content


def _value_of(content: bytes, round_number: int) -> str:
    try:
        found = msgspec.json.decode(content, type=_Round)
        signature = None if found.signature is None else bytes.fromhex(found.signature)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        raise _Trouble(f"not a round: {problem}", BeaconNote.UNUSABLE) from problem
    if found.round != round_number:
        raise _Trouble(f"round {found.round} instead of {round_number}", BeaconNote.UNUSABLE)
    value = found.randomness.lower()
    if not _VALUE.fullmatch(value):
        raise _Trouble("its randomness is not 32 bytes in hex", BeaconNote.UNUSABLE)
    if signature is not None and hashlib.sha256(signature).hexdigest() != value:
        raise _Trouble("its randomness is not made of its signature", BeaconNote.UNUSABLE)
    return value


def build_beacon(settings: Settings) -> HttpBeacon | None:
    """The one that is configured; None if there is none."""
    return HttpBeacon(settings.beacon_url, settings.beacon_timeout_seconds) if settings.beacon_url else None
