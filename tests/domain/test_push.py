"""Which subscriptions of browsers are taken."""

import base64

import msgspec
import pytest

from doorbuster.domain.push import SERVICES_DEFAULT, Subscription, origin_of, subscription_problem

POINT = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
"""The browser's key in the example of RFC 8291."""
GOOD = Subscription(endpoint="https://fcm.googleapis.com/fcm/send/abc", p256dh=POINT, auth="BTBZMqHH6r4Tts7J_aSIgg")
SERVICES = SERVICES_DEFAULT.split()


def beside_the_curve() -> str:
    point = bytearray(base64.urlsafe_b64decode(POINT + "="))
    point[-1] ^= 1
    return base64.urlsafe_b64encode(bytes(point)).decode()


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc",
        "https://fcm.googleapis.com:443/fcm/send/abc",
        "https://updates.push.services.mozilla.com/wpush/v2/abc",
        "https://wns2-by3p.notify.windows.com/w/?token=abc",
        "https://web.push.apple.com/QABC",
    ],
)
def test_browsers_of_today_are_taken(endpoint: str) -> None:
    assert subscription_problem(msgspec.structs.replace(GOOD, endpoint=endpoint), SERVICES) is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/abc",
        "https://fcm.googleapis.com:8443/abc",
        "https://a..push.services.mozilla.com/abc",
        f"https://{'a' * 64}.push.services.mozilla.com/abc",
        "https://fcm.googleapis.com.example.com/abc",
        "https://evilfcm.googleapis.com/abc",
        "https://push.apple.com/abc",
        "https://fcm.googleapis.com@127.0.0.1/abc",
        "https://user:word@fcm.googleapis.com/abc",
        "https://127.0.0.1\\@fcm.googleapis.com/abc",
        "https://169.254.169.254/latest",
        "https://[::1/abc",
        "https://fcm.googleapis.com:99999/abc",
        "https:///abc",
        "file:///etc/passwd",
        "https://fcm.googleapis.com/a b",
        "https://fcm.googleapis.com/\n",
        "https://fcm.googleapis.com/" + "x" * 2_000,
        "",
    ],
)
def test_messages_go_to_known_push_services_alone(endpoint: str) -> None:
    problem = subscription_problem(msgspec.structs.replace(GOOD, endpoint=endpoint), SERVICES)

    assert problem is not None
    assert problem.startswith("push.endpoint")


@pytest.mark.parametrize(
    "point", ["", "AAAA", POINT[:-2], "A" + POINT[1:], "%%%", "é", POINT + "AA", beside_the_curve()]
)
def test_key_that_is_no_point_of_the_curve_is_refused(point: str) -> None:
    assert subscription_problem(msgspec.structs.replace(GOOD, p256dh=point), SERVICES) is not None


@pytest.mark.parametrize("auth", ["", "AAAA", GOOD.auth + "AAAA", "!!!!!!!!!!!!!!!!!!!!!!"])
def test_secret_of_another_length_is_refused(auth: str) -> None:
    assert subscription_problem(msgspec.structs.replace(GOOD, auth=auth), SERVICES) is not None


def test_padding_is_not_asked_for_nor_minded() -> None:
    padded = msgspec.structs.replace(GOOD, p256dh=POINT + "=", auth=GOOD.auth + "==")

    assert subscription_problem(padded, SERVICES) is None


def test_whole_address_means_just_that_one() -> None:
    inside = msgspec.structs.replace(GOOD, endpoint="http://push.internal:8080/abc")

    assert subscription_problem(inside, ["http://push.internal:8080"]) is None
    assert subscription_problem(inside, ["http://push.internal:8081"]) is not None
    assert subscription_problem(inside, ["push.internal"]) is not None
    assert subscription_problem(inside, []) is not None


def test_origin_is_scheme_host_and_port() -> None:
    assert (
        origin_of("https://updates.push.services.mozilla.com/wpush/v2/abc?x")
        == "https://updates.push.services.mozilla.com"
    )
    assert origin_of("http://127.0.0.1:81/abc") == "http://127.0.0.1:81"
