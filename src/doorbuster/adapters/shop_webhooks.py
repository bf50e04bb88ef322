"""Sends a webhook: signed as Standard Webhooks says, to a checked address, within bounds.

Owns: the signature, the connection, and what is read of an answer. Keeps: nothing is sent to an address that was not
checked. A name is resolved once at each attempt, every address it has is judged, and the connection goes to one of
those: a name that says another thing at the next look has nothing to gain. Read next: `domain/addresses.py`.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook
from yarl import URL

from doorbuster import tracing
from doorbuster.domain.addresses import address_problem, url_problem
from doorbuster.domain.shop_events import ANSWER_BYTES_KEPT, ATTEMPT_TIMEOUT_MS, ENDPOINTS_MAX
from doorbuster.engine.shop_ports import Message, Sent, Target

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name."""
Judge = Callable[[str], str | None]
"""Why nothing may be sent to an address."""

_BODY_S: Final = 1.0
"""How long the beginning of a body is waited for: the status has decided already."""
_HEAD_BYTES_MAX: Final = 8_190
_HEADERS_MAX: Final = 64
_ERROR_LENGTH_MAX: Final = 300


class HttpSender:
    """Implements `engine.shop_ports.Sender`. The optional parts are the world's; tests give their own."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        timeout_s: float = ATTEMPT_TIMEOUT_MS / 1000,
        lookup: Lookup | None = None,
        judge: Judge | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._judge: Judge = judge or partial(address_problem, allow_private=allow_private)
        self._resolver = _CheckedResolver(lookup, self._judge)
        self._trust = trust
        self._session: aiohttp.ClientSession | None = None

    async def send(self, target: Target, message: Message, *, now_ms: int) -> Sent:
        """One attempt. Whatever the receiver does, it ends in a Sent."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            with tracing.part("webhook", alone=True) as span:
                sent = await self._post(target, message, now_ms)
                if span is not None:
                    span.set_attribute("http.response.status_code", sent.status or 0)
        except TimeoutError:
            sent = Sent(status=None, error=f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            sent = Sent(status=None, error=_shown(f"{type(problem).__name__}: {problem}"[:_ERROR_LENGTH_MAX]))
        return Sent(
            status=sent.status,
            error=sent.error,
            body=sent.body,
            retry_after=sent.retry_after,
            took_ms=int((loop.time() - began) * 1000),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _post(self, target: Target, message: Message, now_ms: int) -> Sent:
        problem = url_problem(target.url, allow_private=self._allow_private) or self._literal_problem(target.url)
        if problem is not None:
            return Sent(status=None, error=problem)
        async with self._client().post(
            URL(target.url, encoded=True),
            data=message.body.encode(),
            headers=_signed(target.secrets, message, now_ms),
            allow_redirects=False,
        ) as response:
            body = await _beginning(response)
            response.close()  # not read to its end: it may have none
            moved = 300 <= response.status < 400
            return Sent(
                status=response.status,
                error="redirects are not followed; set the url it leads to" if moved else "",
                body=body,
                retry_after=response.headers.get("Retry-After", "")[:100],
            )

    def _literal_problem(self, url: str) -> str | None:
        """An address in place of a name is never looked up, so it is judged here."""
        host = urlsplit(url).hostname or ""
        return self._judge(host) if ":" in host or host.replace(".", "").isdigit() else None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                force_close=True,  # a connection kept would be an address not looked up
                limit=0,  # bounded for each endpoint by whoever calls
                ssl=self._trust or True,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                auto_decompress=False,  # a small answer cannot become a large one
                read_bufsize=4 * ANSWER_BYTES_KEPT,
                max_line_size=_HEAD_BYTES_MAX,
                max_field_size=_HEAD_BYTES_MAX,
                max_headers=_HEADERS_MAX,
            )
        return self._session


class _CheckedResolver(AbstractResolver):
    """Looks a name up and refuses it if any of its addresses may not be sent to.

    Attempts at one name that wait at the same time share one look-up: names that hang bind a thread each, no more.
    """

    def __init__(self, lookup: Lookup | None, judge: Judge) -> None:
        self._threads = ThreadPoolExecutor(ENDPOINTS_MAX, "look-up")  # of its own: nothing else waits behind a name
        self._lookup = lookup or self._ask_system
        self._judge = judge
        self._under_way: dict[tuple[str, int], asyncio.Task[Sequence[str]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family  # both are welcome
        addresses = await asyncio.shield(self._shared(host, port))
        problems = [problem for problem in map(self._judge, addresses) if problem]
        if problems or not addresses:
            raise OSError(None, problems[0] if problems else "the name has no address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for task in self._under_way.values():
            task.cancel()

    def _shared(self, host: str, port: int) -> asyncio.Task[Sequence[str]]:
        task = self._under_way.get((host, port))
        if task is None:
            task = asyncio.get_running_loop().create_task(self._look(host, port))
            self._under_way[host, port] = task

            def over(done: asyncio.Task[Sequence[str]]) -> None:
                del self._under_way[host, port]
                if not done.cancelled():
                    done.exception()  # whoever waited has it; nobody may have

            task.add_done_callback(over)
        return task

    async def _look(self, host: str, port: int) -> Sequence[str]:
        return await self._lookup(host, port)

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _signed(secrets: Sequence[str], message: Message, now_ms: int) -> dict[str, str]:
    """The headers, with one signature for each secret that is good now."""
    at = datetime.fromtimestamp(now_ms // 1000, UTC)
    signatures = [Webhook(secret).sign(message.message_id, at, message.body) for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": "Doorbuster",
        "accept-encoding": "identity",
        "webhook-id": message.message_id,
        "webhook-timestamp": str(now_ms // 1000),
        "webhook-signature": " ".join(signatures),
    }


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """The first bytes of the body, as far as they come; for people alone."""
    found = b""
    try:
        async with asyncio.timeout(_BODY_S):
            while len(found) < ANSWER_BYTES_KEPT:
                chunk = await response.content.read(ANSWER_BYTES_KEPT - len(found))
                if not chunk:
                    break
                found += chunk
    except (TimeoutError, aiohttp.ClientError):
        pass
    return _shown(found.decode("utf-8", "replace"))


def _shown(text: str) -> str:
    """What a database can hold and a terminal can show."""
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)
