"""The simulated gateway over real HTTP: what its methods do, what its book keeps, and what a silence means."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from doorbuster.adapters.payments import GatewayNotConfiguredError, build_gateway
from doorbuster.adapters.payments.simulated import SimulatedGateway
from doorbuster.adapters.payments.simulated_book import Book
from doorbuster.config import Settings
from doorbuster.engine.payment_ports import (
    Absent,
    ActionRequired,
    Authorized,
    Captured,
    Declined,
    NotExecuted,
    Unknown,
    Voided,
)
from doorbuster.engine.ports import StoreUnavailable
from payments.conformance import Case, Methods, exercise_gateway
from payments.gateway_process import GatewayProcess, gateway_process

METHODS = Methods(approved="pm_ok", declined="pm_declined", capture_refused="pm_capture_fails")


async def test_every_gateway_keeps_the_port_promises(gateway: SimulatedGateway) -> None:
    await exercise_gateway(gateway, METHODS)


async def test_a_gateway_that_is_down_executes_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gateway = SimulatedGateway(f"http://127.0.0.1:{port}")
    case = Case(gateway, "pm_ok")

    answer = await gateway.authorize(case.charge)

    assert isinstance(answer, NotExecuted)
    assert isinstance(await gateway.look_up(case.charge), NotExecuted)
    with pytest.raises(StoreUnavailable):
        await gateway.whole_book()
    await gateway.close()


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("pm_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_never_heard_of", "invalid_payment_method"),
    ],
)
async def test_a_declining_method_names_its_reason(gateway: SimulatedGateway, method: str, reason: str) -> None:
    case = Case(gateway, method)

    answer = await gateway.authorize(case.charge)

    assert answer == Declined(reason=reason)
    (line,) = await gateway.charges_of(case.charge.order_id)
    assert (line.authorized, line.captured_cents, line.voided) == (False, 0, False)


async def test_an_internal_error_leaves_nothing_behind(gateway: SimulatedGateway) -> None:
    case = Case(gateway, "pm_error")

    answer = await gateway.authorize(case.charge)

    assert isinstance(answer, Unknown)
    assert await gateway.look_up(case.charge) == Absent()
    assert await gateway.charges_of(case.charge.order_id) == []


async def test_a_silence_before_the_work_leaves_nothing_behind(impatient: SimulatedGateway) -> None:
    case = Case(impatient, "pm_timeout_before")

    answer = await impatient.authorize(case.charge)

    assert isinstance(answer, Unknown)
    assert await impatient.look_up(case.charge) == Absent()
    assert await impatient.charges_of(case.charge.order_id) == []


async def test_a_silence_after_the_work_is_found_by_looking_up(impatient: SimulatedGateway) -> None:
    case = Case(impatient, "pm_timeout_after")

    answer = await impatient.authorize(case.charge)

    assert isinstance(answer, Unknown)
    assert isinstance(await impatient.look_up(case.charge), Authorized)
    assert isinstance(await impatient.authorize(case.charge), Authorized)


async def test_a_slow_method_is_authorized_once_whoever_asks(gateway: SimulatedGateway) -> None:
    case = Case(gateway, "pm_slow")

    answers = await asyncio.gather(*(gateway.authorize(case.charge) for _ in range(5)))

    assert all(answer == answers[0] for answer in answers)
    assert isinstance(answers[0], Authorized)
    assert len(await gateway.charges_of(case.charge.order_id)) == 1


async def test_an_action_of_the_buyer_authorizes(gateway: SimulatedGateway, shared_process: GatewayProcess) -> None:
    case = Case(gateway, "pm_action_required")
    asked = await gateway.authorize(case.charge)
    assert isinstance(asked, ActionRequired)
    assert await gateway.look_up(case.charge) == asked
    body = {"order_id": case.charge.order_id, "amount_cents": 1999, "currency": "USD", "payment_method": "pm_ok"}

    async with aiohttp.ClientSession() as buyer, buyer.post(asked.data["confirm"], json=body) as response:
        assert response.status == 200

    assert isinstance(await gateway.look_up(case.charge), Authorized)


async def test_an_action_can_be_given_up(gateway: SimulatedGateway) -> None:
    case = Case(gateway, "pm_action_required")
    await gateway.authorize(case.charge)

    answer = await gateway.void(case.charge, case.void_key)

    assert answer == Voided()
    assert await gateway.look_up(case.charge) == Voided()


async def test_one_key_never_means_two_charges(gateway: SimulatedGateway, shared_process: GatewayProcess) -> None:
    case = Case(gateway, "pm_ok")
    await gateway.authorize(case.charge)
    body = {"order_id": case.charge.order_id, "amount_cents": 1, "currency": "USD", "payment_method": "pm_ok"}

    async with (
        aiohttp.ClientSession() as other,
        other.post(f"{shared_process.url}/v1/charges/{case.charge.key}", json=body) as response,
    ):
        status = response.status

    assert status == 409
    (line,) = await gateway.charges_of(case.charge.order_id)
    assert line.amount_cents == 1999


async def test_a_second_capture_under_another_key_is_refused(gateway: SimulatedGateway) -> None:
    case = Case(gateway, "pm_ok")
    await gateway.authorize(case.charge)
    await gateway.capture(case.charge, case.capture_key)

    answer = await gateway.capture(case.charge, "another key")

    assert not isinstance(answer, Captured)
    (line,) = await gateway.charges_of(case.charge.order_id)
    assert line.captured_cents == 1999


async def test_a_malformed_call_changes_nothing(gateway: SimulatedGateway, shared_process: GatewayProcess) -> None:
    case = Case(gateway, "pm_ok")
    url = f"{shared_process.url}/v1/charges/{case.charge.key}"

    async with aiohttp.ClientSession() as other:
        async with other.post(url, data=b"{") as broken:
            broken_status = broken.status
        async with other.post(url, data=b"x" * 20_000) as large:
            large_status = large.status
        async with other.get(f"{shared_process.url}/elsewhere") as nowhere:
            nowhere_status = nowhere.status

    assert (broken_status, large_status, nowhere_status) == (400, 400, 404)
    assert await gateway.look_up(case.charge) == Absent()


async def test_the_book_survives_a_kill(own_gateway: SimulatedGateway, own_process: GatewayProcess) -> None:
    cases = [Case(own_gateway, "pm_ok") for _ in range(20)]
    await asyncio.gather(*(own_gateway.authorize(case.charge) for case in cases))
    await own_gateway.capture(cases[0].charge, cases[0].capture_key)
    await own_gateway.void(cases[1].charge, cases[1].void_key)
    before = await own_gateway.whole_book()

    own_process.kill()
    own_process.start()

    assert len(before) == 20
    assert await own_gateway.whole_book() == before
    assert isinstance(await own_gateway.capture(cases[0].charge, cases[0].capture_key), Captured)
    assert isinstance(await own_gateway.authorize(cases[1].charge), Declined)


async def test_an_orderly_stop_ends_within_its_time(own_gateway: SimulatedGateway, own_process: GatewayProcess) -> None:
    case = Case(own_gateway, "pm_timeout_before")
    hanging = asyncio.ensure_future(own_gateway.authorize(case.charge))
    await own_gateway.look_up(case.charge)

    code = own_process.stop()

    assert code == 0
    assert isinstance(await hanging, Unknown | NotExecuted)


async def test_a_line_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    with gateway_process(path) as process:
        gateway = SimulatedGateway(process.url)
        case = Case(gateway, "pm_ok")
        await gateway.authorize(case.charge)
        before = await gateway.whole_book()
        process.kill()
        with path.open("ab") as file:
            file.write(b'{"idempotency_key":"half')
        process.start()

        after = await gateway.whole_book()

        assert after == before
        await gateway.close()


async def test_two_processes_never_share_a_book(tmp_path: Path) -> None:
    first = Book(tmp_path / "book.jsonl")

    with pytest.raises(BlockingIOError):
        Book(tmp_path / "book.jsonl")

    await first.close()
    await Book(tmp_path / "book.jsonl").close()


async def test_the_book_is_public_in_the_agreed_form(
    own_gateway: SimulatedGateway, own_process: GatewayProcess
) -> None:
    case = Case(own_gateway, "pm_ok")
    await own_gateway.authorize(case.charge)
    await own_gateway.capture(case.charge, case.capture_key)

    async with aiohttp.ClientSession() as anyone, anyone.get(f"{own_process.url}/book") as response:
        book = await response.json()

    assert book == {
        "charges": [
            {
                "idempotency_key": case.charge.key,
                "order_id": case.charge.order_id,
                "amount_cents": 1999,
                "currency": "USD",
                "authorized": True,
                "captured_cents": 1999,
                "refunded_cents": 0,
                "voided": False,
            }
        ]
    }


def test_a_configuration_without_a_gateway_is_refused() -> None:
    with pytest.raises(GatewayNotConfiguredError, match="DOORBUSTER_GATEWAY_URL"):
        build_gateway(Settings(gateway_url=""))
    with pytest.raises(GatewayNotConfiguredError, match="simulated"):
        build_gateway(Settings(payment_gateway="cash", gateway_url="http://127.0.0.1:1"))


def test_the_configured_gateway_is_built() -> None:
    gateway = build_gateway(Settings(gateway_url="http://127.0.0.1:1"))

    assert gateway.name == "simulated"
