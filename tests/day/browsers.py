"""Browsers that take push messages, and the push service that they get them from, in this process.

A browser reads what it gets as RFC 8291 has it for receivers: written from the other side, nothing of the sender's.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from doorbuster.domain.push import Subscription


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    def __init__(self, endpoint: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = b"sixteen bytes ok"
        self.public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = Subscription(endpoint=endpoint, p256dh=b64(self.public), auth=b64(self._auth))

    @property
    def json(self) -> dict[str, object]:
        """What its JavaScript would send."""
        told = self.subscription
        return {"endpoint": told.endpoint, "expirationTime": None, "keys": {"p256dh": told.p256dh, "auth": told.auth}}

    def read(self, body: bytes) -> dict[str, Any]:
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        assert len(sealed) <= size
        shared = self._key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
        secret = HKDF(SHA256(), 32, self._auth, b"WebPush: info\0" + self.public + sender).derive(shared)
        key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(secret)
        nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(secret)
        padded = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\0")
        assert padded[-1:] == b"\x02"
        return json.loads(padded[:-1])


class Delivered:
    def __init__(self, request: web.Request, body: bytes) -> None:
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.path = request.path
        self.body = body

    def sender(self, audience: str) -> dict[str, Any]:
        """Who signed it, as a push service checks it."""
        scheme, _, rest = self.headers["authorization"].partition(" ")
        assert scheme == "vapid"
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unb64(parts["k"]))
        return {"k": parts["k"], **jwt.decode(parts["t"], key, algorithms=["ES256"], audience=audience)}


class PushService:
    """Takes everything with 201, or answers as `answer` says; None from it cuts the connection. `hangs`: never,
    and `held` counts those that were begun."""

    def __init__(self) -> None:
        self.delivered: list[Delivered] = []
        self.answer: Callable[[Delivered], web.Response | None] = lambda _: web.Response(status=201)
        self.hangs = False
        self.held = 0
        self.url = ""

    def browser(self, name: str) -> Browser:
        return Browser(f"{self.url}/{name}")

    def to(self, browser: Browser) -> list[Delivered]:
        return [one for one in self.delivered if f"{self.url}{one.path}" == browser.subscription.endpoint]

    def answers(self, status: int, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda _: web.Response(status=status, headers=named)

    async def handle(self, request: web.Request) -> web.Response:
        delivered = Delivered(request, await request.read())
        answer = self.answer(delivered)
        if answer is None and request.transport is not None:
            request.transport.abort()
        if answer is None or self.hangs:
            self.held += 1
            await asyncio.Event().wait()  # ends with the connection
        assert answer is not None
        if answer.status == 201:
            self.delivered.append(delivered)
        return answer


@asynccontextmanager
async def push_service() -> AsyncGenerator[PushService]:
    service = PushService()
    app = web.Application()
    app.router.add_post("/{tail:.*}", service.handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        yield service
    finally:
        await runner.cleanup()
