"""One attempt over the network: whatever a receiver is or does, it ends soon, bounded, and nowhere inside."""

import asyncio
import datetime as dt
import ssl
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook, WebhookVerificationError

from doorbuster.adapters.shop_webhooks import HttpSender, Lookup
from doorbuster.engine.shop_ports import Message, Sent, Target
from helpers.waiting import until
from webhooks.receiver import a_raw_receiver, a_receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = Message(message_id="evt_1", body='{"type":"ping","timestamp":"2026-01-01T00:00:00.000Z","data":{}}')


async def send(url: str, sender: HttpSender | None = None, *, secrets: Sequence[str] = (SECRET,)) -> Sent:
    sender = sender or HttpSender(allow_private=True, timeout_s=5)
    try:
        return await sender.send(Target(url=url, secrets=secrets), MESSAGE, now_ms=int(time.time() * 1000))
    finally:
        await sender.close()


def names(*answers: Sequence[str]) -> tuple[Lookup, list[str]]:
    """A look-up that says another thing each time, and what it was asked."""
    asked: list[str] = []
    left = list(answers)

    async def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return left.pop(0) if len(left) > 1 else left[0]

    return lookup, asked


def certified(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server of this name needs, and a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))  # fixed: a test has no clock of its own
        .not_valid_after(dt.datetime(2120, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, public = folder / "shop.pem", made.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + public
    )
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    server.load_cert_chain(path)
    client.load_verify_locations(cadata=public.decode())
    return server, client


def only_two_is_public(address: str) -> str | None:
    """For tests alone: 127.0.0.2 is the world, and everything else is ours."""
    return None if address == "127.0.0.2" else f"{address} is a private address"


# ------------------------------------------------------------------------------------------------ where it may go


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[64:ff9b::7f00:1]"],
)
async def test_address_inside_is_never_called(host: str) -> None:
    async with a_receiver() as receiver:
        port = receiver.url.rsplit(":", 1)[1]

        sent = await send(f"https://{host}:{port}", HttpSender(timeout_s=1))

        assert sent.status is None
        assert "address" in sent.error
        assert receiver.received == []


@pytest.mark.parametrize("found", [["127.0.0.1"], ["127.0.0.2", "10.0.0.1"], ["::1"], []])
async def test_name_with_an_address_inside_is_never_called(found: list[str]) -> None:
    async with a_receiver("127.0.0.2") as receiver:
        lookup, _ = names(found)
        sender = HttpSender(allow_private=True, lookup=lookup, judge=only_two_is_public)

        sent = await send(receiver.url.replace("127.0.0.2", "shop.example"), sender)

        assert sent.status is None
        assert "address" in sent.error
        assert receiver.received == []


async def test_name_that_changes_its_mind_gains_nothing() -> None:
    """First public, then private: the connection goes to the address that was judged."""
    async with a_receiver("127.0.0.2") as outside:
        port = int(outside.url.split(":")[2].split("/")[0])
        async with a_receiver("127.0.0.1", port=port) as inside:
            lookup, asked = names(["127.0.0.2"], ["127.0.0.1"])
            sender = HttpSender(allow_private=True, lookup=lookup, judge=only_two_is_public)
            target = Target(url=outside.url.replace("127.0.0.2", "rebinding.example"), secrets=[SECRET])

            first = await sender.send(target, MESSAGE, now_ms=0)
            second = await sender.send(target, MESSAGE, now_ms=0)
            await sender.close()

            assert (first.status, second.status) == (204, None)
            assert "127.0.0.1 is a private address" in second.error
            assert (len(asked), len(outside.received), len(inside.received)) == (2, 1, 0)


async def test_attempts_that_wait_for_a_name_together_ask_once() -> None:
    async with a_receiver() as receiver:
        answered, asked = asyncio.Event(), 0

        async def lookup(host: str, port: int) -> Sequence[str]:
            nonlocal asked
            asked += 1
            await answered.wait()
            return ["127.0.0.1"]

        sender = HttpSender(allow_private=True, lookup=lookup)
        target = Target(url=receiver.url.replace("127.0.0.1", "slow.example"), secrets=[SECRET])
        attempts = [asyncio.create_task(sender.send(target, MESSAGE, now_ms=0)) for _ in range(16)]
        await until(lambda: asked == 1)
        attempts[0].cancel()
        answered.set()

        sent = await asyncio.gather(*attempts[1:])
        again = await sender.send(target, MESSAGE, now_ms=0)
        await sender.close()

        assert {one.status for one in [*sent, again]} == {204}
        assert asked == 2


async def test_name_that_nobody_knows_is_a_failure() -> None:
    sent = await send("https://nobody.invalid/")

    assert sent.status is None
    assert sent.error


async def test_attempt_ends_although_the_name_is_never_answered() -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    sent = await send("https://slow.example/", HttpSender(lookup=lookup, timeout_s=0.1))

    assert (sent.status, sent.error) == (None, "no answer within 0.1 s")


async def test_http_is_refused_outside() -> None:
    async with a_receiver() as receiver:
        sent = await send(receiver.url, HttpSender())

        assert (sent.status, receiver.received) == (None, [])
        assert "https://" in sent.error


async def test_certificate_of_nobody_is_refused() -> None:
    async with a_receiver() as receiver:
        sent = await send(receiver.url.replace("http:", "https:"))

        assert sent.status is None
        assert receiver.received == []


async def test_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_receiver() as proxy, a_receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)

        assert (await send(receiver.url)).status == 204

        assert (len(proxy.received), len(receiver.received)) == (0, 1)


# ------------------------------------------------------------------------------------------------ what it may answer


async def test_redirect_is_not_followed() -> None:
    async with a_receiver() as receiver, a_receiver() as elsewhere:
        receiver.answers(307, Location=elsewhere.url)

        sent = await send(receiver.url)

        assert (sent.status, elsewhere.received) == (307, [])
        assert "not followed" in sent.error


async def test_receiver_that_never_answers_is_given_up() -> None:
    async with a_raw_receiver(keep_open=True) as url:
        sent = await send(url, HttpSender(allow_private=True, timeout_s=0.1))

        assert (sent.status, sent.error) == (None, "no answer within 0.1 s")


async def test_receiver_that_dribbles_its_head_is_given_up() -> None:
    async with a_raw_receiver(b"HTTP/1.1 200 OK\r\n", b"X-Slow: ", keep_open=True) as url:
        sent = await send(url, HttpSender(allow_private=True, timeout_s=0.1))

        assert sent.status is None


async def test_status_counts_although_the_body_never_ends() -> None:
    async with a_raw_receiver(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfine", keep_open=True) as url:
        sent = await send(url)

        assert (sent.status, sent.body) == (200, "fine")


async def test_status_counts_although_the_body_breaks_off() -> None:
    async with a_raw_receiver(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nfine") as url:
        assert (await send(url)).status == 200


async def test_of_a_huge_answer_a_kilobyte_is_kept() -> None:
    async with a_receiver() as receiver:
        receiver.answers(500, "x" * 5_000_000)

        sent = await send(receiver.url)

        assert (sent.status, sent.body) == (500, "x" * 1_024)


async def test_answer_is_not_unpacked() -> None:
    async with a_raw_receiver(
        b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00"
    ) as url:
        sent = await send(url)

        assert (sent.status, len(sent.body)) == (500, 3)
        assert sent.body.isprintable() or "\ufffd" in sent.body
        assert "\0" not in sent.body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(1_000)) + b"\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
    ],
    ids=["nothing", "no http", "long header", "many headers", "no status"],
)
async def test_answer_that_cannot_be_read_is_a_failure(answer: bytes) -> None:
    async with a_raw_receiver(answer) as url:
        sent = await send(url)

        assert sent.status is None
        assert sent.error


async def test_nobody_listening_is_a_failure() -> None:
    async with a_raw_receiver() as url:
        pass

    sent = await send(url)

    assert sent.status is None
    assert "ClientConnectorError" in sent.error


async def test_cookies_are_not_kept() -> None:
    async with a_receiver() as receiver:
        receiver.answers(200, Set_Cookie="id=1; Path=/")
        sender = HttpSender(allow_private=True)
        target = Target(url=receiver.url, secrets=[SECRET])

        for _ in range(2):
            await sender.send(target, MESSAGE, now_ms=0)
        await sender.close()

        assert all("cookie" not in received.headers for received in receiver.received)


async def test_retry_after_is_handed_on() -> None:
    async with a_receiver() as receiver:
        date = formatdate(usegmt=True)
        receiver.answers(429, Retry_After=date)

        assert (await send(receiver.url)).retry_after == date


# ------------------------------------------------------------------------------------------------ what is sent


async def test_receiver_verifies_the_signature() -> None:
    async with a_receiver() as receiver:
        await send(receiver.url)

        [received] = receiver.received
        assert received.verified_by(SECRET)["type"] == "ping"
        assert (received.id, received.headers["content-type"]) == ("evt_1", "application/json")
        assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 10


async def test_anything_changed_on_the_way_is_seen() -> None:
    async with a_receiver() as receiver:
        await send(receiver.url)
        [received] = receiver.received

        for name, value in (("webhook-id", "evt_2"), ("webhook-timestamp", str(int(time.time()) - 5))):
            with pytest.raises(WebhookVerificationError):
                Webhook(SECRET).verify(received.body, {**received.headers, name: value})
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(received.body + b" ", received.headers)


async def test_every_good_secret_signs() -> None:
    other = "whsec_" + "QUJD" * 8
    async with a_receiver() as receiver:
        await send(receiver.url, secrets=[SECRET, other])

        [received] = receiver.received
        assert received.verified_by(SECRET) == received.verified_by(other)


async def test_attempts_at_once_do_not_wait_for_each_other() -> None:
    async with a_receiver() as receiver:
        together, arrived = asyncio.Event(), 0

        async def handle(_: web.Request) -> web.StreamResponse:
            nonlocal arrived
            arrived += 1
            if arrived == 150:
                together.set()
            await together.wait()
            return web.Response()

        receiver.handler = handle
        sender = HttpSender(allow_private=True, timeout_s=20)
        target = Target(url=receiver.url, secrets=[SECRET])

        sent = await asyncio.gather(*(sender.send(target, MESSAGE, now_ms=0) for _ in range(150)))
        await sender.close()

        assert {one.status for one in sent} == {200}


@pytest.mark.parametrize(("name", "status"), [("shop.example", 204), ("other.example", None)])
async def test_certificate_has_to_be_of_the_name_that_was_called(tmp_path: Path, name: str, status: int | None) -> None:
    """The connection goes to an address; who is there is still asked by name."""
    server, client = certified("shop.example", tmp_path)
    async with a_receiver(tls=server) as receiver:
        lookup, _ = names(["127.0.0.1"])
        sender = HttpSender(allow_private=True, lookup=lookup, trust=client)

        sent = await send(receiver.url.replace("127.0.0.1", name), sender)

        assert sent.status == status
        assert len(receiver.received) == (status is not None)
