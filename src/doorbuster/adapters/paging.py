"""Ways to reach the person on duty: implements `engine.day_ports.Pager`.

Owns: which address is which way. An address may hold a secret: it is never logged, ways are named by kind and host.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp

from doorbuster.engine.day_ports import Mail, Mailer, NotSent, PageCall

_TIMEOUT_S: Final = 10.0


class OnCallPager:
    """`addresses`: https://… gets a JSON POST, mailto:… a mail, anything else is Apprise's. ValueError if one of those
    is there and Apprise is not."""

    def __init__(self, addresses: Sequence[str], mailer: Mailer, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._mailer = mailer
        self._timeout_s = timeout_s
        self._ways: list[tuple[str, Callable[[PageCall], Awaitable[None]]]] = [
            self._way(address) for address in addresses
        ]

    @property
    def configured(self) -> bool:
        return bool(self._ways)

    async def page(self, call: PageCall) -> Sequence[str]:
        """All ways at once; whoever is reached first does not spare the others."""
        outcomes = await asyncio.gather(*(self._try(send, call) for _, send in self._ways))
        reached = [name for (name, _), problem in zip(self._ways, outcomes, strict=True) if problem is None]
        if not reached:
            tried = "; ".join(f"{name}: {problem}" for (name, _), problem in zip(self._ways, outcomes, strict=True))
            raise NotSent(tried or "DOORBUSTER_ON_CALL_URLS names nobody")
        return reached

    async def _try(self, send: Callable[[PageCall], Awaitable[None]], call: PageCall) -> NotSent | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await send(call)
        except NotSent as problem:
            return problem
        except (aiohttp.ClientError, OSError) as problem:  # a time-out is an OSError
            return NotSent(type(problem).__name__)
        return None

    def _way(self, address: str) -> tuple[str, Callable[[PageCall], Awaitable[None]]]:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https"):
            return f"webhook {parts.hostname}", lambda call: self._post(address, call)
        if parts.scheme == "mailto":
            to = unquote(parts.path)
            return f"mail {to}", lambda call: self._mail(to, call)
        return f"apprise {parts.scheme}", self._apprise(address)

    async def _post(self, url: str, call: PageCall) -> None:
        body = {
            "key": call.key,
            "title": call.title,
            "text": call.text,
            "severity": call.severity,
            "resolved": call.resolved,
            "sale_id": call.sale_id or None,
        }
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json=body, allow_redirects=False) as answer,  # which would make an empty GET of it
        ):
            if not 200 <= answer.status < 300:
                raise NotSent(f"answered {answer.status}")

    async def _mail(self, to: str, call: PageCall) -> None:
        text = f"{call.text}\n\nKey: {call.key}\n"
        await self._mailer.send(Mail(to=to, subject=_headline(call), text=text))

    @staticmethod
    def _apprise(address: str) -> Callable[[PageCall], Awaitable[None]]:
        try:
            import apprise  # noqa: PLC0415 - an extra
        except ImportError as problem:
            raise ValueError(
                "DOORBUSTER_ON_CALL_URLS has an address of Apprise's; install doorbuster[alerts]"
            ) from problem
        library: Any = apprise
        service = library.Apprise()
        if not service.add(address):
            raise ValueError("DOORBUSTER_ON_CALL_URLS has an address that neither we nor Apprise know")

        async def send(call: PageCall) -> None:
            if not await service.async_notify(title=_headline(call), body=call.text):
                raise NotSent("it was not taken")

        return send


def _headline(call: PageCall) -> str:
    return f"[{'resolved' if call.resolved else call.severity}] {call.title}"
