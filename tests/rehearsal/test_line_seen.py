"""The witness of a line: what is wrong is seen, what is right is not called wrong."""

import base64
from typing import Any

import msgspec
import pytest

from doorbuster.api.shapes import stamp
from doorbuster.rehearsal.line_seen import Memory, Told, ToldEta, Witness, eta_rose, ms_of, number_of

NOW = 1_800_000_000_000


def a_ticket(number: int) -> str:
    body = base64.urlsafe_b64encode(msgspec.json.encode(["k", "sale-1", "ann", number, 1])).rstrip(b"=")
    return f"{body.decode()}.seal"


def waiting(position: int | None, *, after_ms: int = 0, number: int = 7, **more: Any) -> Told:
    return Told(state="standby", position=position, ticket=a_ticket(number), as_of=stamp(NOW + after_ms), **more)


def test_a_number_is_read_from_a_ticket_of_any_length() -> None:
    assert [number_of(a_ticket(number)) for number in (1, 12, 123, 1_234)] == [1, 12, 123, 1_234]


def test_times_survive_being_written_and_read() -> None:
    assert ms_of(stamp(NOW + 123)) == NOW + 123


def test_a_place_that_got_worse_is_seen() -> None:
    witness = Witness()
    memory = Memory(witness, "ann")

    memory.take(waiting(4), wall_ms=NOW)
    memory.take(waiting(4, after_ms=5), wall_ms=NOW)
    memory.take(waiting(5, after_ms=10), wall_ms=NOW)

    assert witness.seen.position_rises == 1
    assert witness.seen.examples == ["ann went from place 4 to 5"]


def test_answers_that_overtook_each_other_are_compared_in_the_order_they_were_made() -> None:
    witness = Witness()
    memory = Memory(witness, "ann")

    memory.take(waiting(4, after_ms=10), wall_ms=NOW)
    memory.take(waiting(5), wall_ms=NOW)
    memory.take(waiting(4, after_ms=20), wall_ms=NOW)

    assert witness.seen.position_rises == 0


def test_two_entries_of_one_buyer_are_seen_by_number_and_by_entry_id() -> None:
    witness = Witness()
    by_number, by_id = Memory(witness, "ann"), Memory(witness, "bob")

    by_number.take(waiting(4, number=7), wall_ms=NOW)
    by_number.take(waiting(4, number=8), wall_ms=NOW)
    by_id.take(Told(state="waiting", entry_id="a", as_of=stamp(NOW)), wall_ms=NOW)
    by_id.take(Told(state="waiting", entry_id="b", as_of=stamp(NOW)), wall_ms=NOW)

    assert witness.seen.two_entries == 2


def test_an_entry_that_is_drawn_and_then_has_a_number_is_one_entry() -> None:
    witness = Witness()
    memory = Memory(witness, "ann")

    memory.take(Told(state="waiting", entry_id="a", as_of=stamp(NOW)), wall_ms=NOW)
    memory.take(waiting(40, after_ms=5), wall_ms=NOW)

    assert (witness.seen.two_entries, witness.seen.position_rises, memory.number) == (0, 0, 7)


def test_the_last_wait_the_first_over_and_the_age_are_kept() -> None:
    witness = Witness()
    memory = Memory(witness, "ann")

    memory.take(waiting(4, after_ms=30), wall_ms=NOW + 1_030)
    memory.take(Told(state="over", as_of=stamp(NOW + 90)), wall_ms=NOW + 90)
    memory.take(Told(state="over", as_of=stamp(NOW + 80)), wall_ms=NOW + 80)

    seen = witness.report()
    assert (seen.last_wait_ms, seen.first_over_ms) == (NOW + 30, NOW + 80)
    assert seen.place_age_max_ms == pytest.approx(1_000)


@pytest.mark.parametrize(
    ("before", "told", "rose"),
    [
        (ToldEta(1, 9), ToldEta(1, 9), False),
        (ToldEta(1, 9), ToldEta(0, 8), False),
        (ToldEta(1, 9), ToldEta(2, 9), True),
        (ToldEta(1, 9), ToldEta(1, 10), True),
        (ToldEta(1, 9), ToldEta(1, 10, "longer than before: because"), False),
        (ToldEta(1, 9), ToldEta(None, None, "nothing is known"), True),
        (ToldEta(1, 9), ToldEta(None, None, "the sale is paused; the line stays as it is"), False),
        (ToldEta(None, None), ToldEta(1, 90), False),
        (None, ToldEta(1, 90), False),
    ],
)
def test_a_range_that_rose_without_a_reason_is_seen(before: ToldEta | None, told: ToldEta, rose: bool) -> None:
    assert eta_rose(before, told) is rose
