"""The pure rules: where a webhook may lead, when it is tried again, what its body is."""

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.domain import shop_events
from doorbuster.domain.addresses import address_problem, url_problem
from doorbuster.domain.shop_events import ASKED_PAUSE_MS_MAX, RETRY_AFTER_MS, asked_pause_ms, pause_after

INSIDE = (
    "10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 172.16.0.1 172.31.255.255 192.168.1.1 ::1 fc00::1 fdff::1 "
    "::ffff:10.0.0.1 ::ffff:127.0.0.1 64:ff9b::c0a8:101"
).split()
NOWHERE = (
    "0.0.0.0 0.1.2.3 169.254.169.254 192.0.0.8 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 "
    "239.1.2.3 240.0.0.1 255.255.255.255 :: fe80::1 fe80::1%eth0 fec0::1 ff02::1 100::1 2001::1 2001:db8::1 "
    "2002:7f00:1:: 3fff::1 ::ffff:0.0.0.0 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 64:ff9b:1::1 ::127.0.0.1 4000::1"
).split()
OUTSIDE = (
    "1.1.1.1 9.255.255.255 100.63.0.1 172.15.0.1 172.32.0.1 192.167.1.1 223.255.255.255 2606:4700::1111 "
    "2a00:1450:4001::200e 64:ff9b::101:101 ::ffff:1.1.1.1"
).split()


@pytest.mark.parametrize("address", [*INSIDE, *NOWHERE, "shop.example", "", "1.2.3", "0x7f.1", "2130706433"])
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert address_problem(address, allow_private=False)


@pytest.mark.parametrize("address", NOWHERE)
def test_some_addresses_are_nobodys_own_network_either(address: str) -> None:
    """Where credentials are handed out, everybody is addressed, or nobody lives."""
    assert address_problem(address, allow_private=True)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_address_is_accepted(address: str) -> None:
    assert address_problem(address, allow_private=False) is None


@pytest.mark.parametrize("address", [*INSIDE, *OUTSIDE])
def test_private_address_is_accepted_where_that_is_allowed(address: str) -> None:
    assert address_problem(address, allow_private=True) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example/hook",
        "http://shop.example/",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@shop.example/",
        "https://user:word@shop.example/",
        "https://shop.example/#part",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop.example\\@10.0.0.1/",
        "https://shop.ex%61mple/",
        "https://shop.example/a b",
        "https://shop.example/\n",
        "https://sch\u00f6n.example/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://[::1/",
        "https://127.1/",
        "https://2130706433/",
        "https://shop.example/" + "a" * 2_000,
        "https://a..example.com/hook",
        f"https://{'a' * 64}.example.com/hook",
    ],
)
def test_url_that_cannot_be_an_endpoint_is_refused(url: str) -> None:
    assert url_problem(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/hooks?a=1",
        "https://shop.example:8443/",
        "https://shop.example./",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
    ],
)
def test_good_url_is_accepted(url: str) -> None:
    assert url_problem(url, allow_private=False) is None


def test_http_is_for_private_networks_alone() -> None:
    assert url_problem("http://10.0.0.1:8000/", allow_private=True) is None
    assert url_problem("gopher://10.0.0.1/", allow_private=True)


@given(st.integers(1, len(RETRY_AFTER_MS)), st.floats(0, 1, exclude_max=True), st.none() | st.integers(0, 10**12))
def test_pause_is_the_schedules_or_what_was_asked_for(attempts: int, jitter: float, asked: int | None) -> None:
    pause = pause_after(attempts, asked_ms=asked, jitter=jitter)

    most = RETRY_AFTER_MS[attempts - 1]
    assert pause is not None
    assert 0.8 * most - 1 <= pause <= max(most, ASKED_PAUSE_MS_MAX)
    if asked is None:
        assert pause <= most
    else:
        assert pause >= min(asked, ASKED_PAUSE_MS_MAX)


def test_after_the_last_attempt_there_is_no_pause() -> None:
    assert pause_after(len(RETRY_AFTER_MS) + 1, asked_ms=5, jitter=0) is None


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "\u0663", "Thu, 01 Foo 2026 00:00:00 GMT", "12:00"])
def test_retry_after_that_says_nothing_asks_for_nothing(text: str) -> None:
    assert asked_pause_ms(text, 0) is None


def test_retry_after_is_seconds_or_a_date() -> None:
    now_ms = 1_800_000_000_000

    assert asked_pause_ms(" 30 ", now_ms) == 30_000
    assert asked_pause_ms("9" * 40, now_ms) == ASKED_PAUSE_MS_MAX
    assert asked_pause_ms(formatdate(now_ms / 1000 + 90, usegmt=True), now_ms) == 90_000
    assert asked_pause_ms(formatdate(now_ms / 1000 - 90, usegmt=True), now_ms) == 0


@pytest.mark.parametrize(("status", "good"), [(None, False), (199, False), (200, True), (299, True), (300, False)])
def test_success_is_any_2xx(status: int | None, good: bool) -> None:
    assert shop_events.is_delivered(status) is good


def test_body_has_the_three_fields_of_the_standard() -> None:
    body = shop_events.payload("order.paid", 1_800_000_000_123, '{"order_id":"1"}')

    assert json.loads(body) == {
        "type": "order.paid",
        "timestamp": "2027-01-15T08:00:00.123Z",
        "data": {"order_id": "1"},
    }


@given(st.text())
def test_whatever_retry_after_says_is_read(text: str) -> None:
    asked = asked_pause_ms(text, 0)

    assert asked is None or asked >= 0
