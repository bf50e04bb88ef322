"""The log: whoever changes one byte of it is found out, and it replays to the present state (I15)."""

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sales import NOW, SALE, Log
from doorbuster.domain.chain import LogKind, LogRow, Replay, Replayer, first_head, next_head, text_of


def replayed(rows: list[LogRow]) -> Replay:
    replayer = Replayer(SALE)
    replayer.add(rows)
    return replayer.state


def a_log() -> Log:
    """A sale of ten with everything in it that can happen."""
    log = Log()
    log.add(LogKind.CREATED, 10, epoch=0)
    log.add(LogKind.EPOCH, 0, epoch=1)
    log.add(LogKind.RESERVED, 2, "order-1")
    log.add(LogKind.RESERVED, 1, "order-2")
    log.add(LogKind.PAID, 2, "order-1")
    log.add(LogKind.STOCK, -3)
    log.add(LogKind.EXPIRED, 1, "order-2")
    log.add(LogKind.RESERVED, 3, "order-3")
    log.add(LogKind.CANCELLED, 3, "order-3")
    log.add(LogKind.REFUNDED, 2, "order-1")
    log.add(LogKind.EPOCH, 0, epoch=2)
    return log


ROWS = len(a_log().rows)
TAMPERED: dict[str, Any] = {
    "sale_id": "sale-2",
    "seq": 99,
    "kind": None,  # another one than the row has
    "order_id": "order-9",
    "quantity": 7,
    "epoch": 9,
    "at_ms": NOW - 1,
    "hash": hashlib.sha256(b"forged").digest(),
}


def test_text_of_a_row_names_no_buyer() -> None:
    row = a_log().rows[2]

    assert text_of(row) == f"sale-1|3|reserved|order-1|2|1|{NOW + 2}".encode()


def test_head_is_the_hash_of_the_head_before_and_the_row() -> None:
    row = a_log().rows[0]

    assert first_head(SALE) == hashlib.sha256(b"sale-1").digest()
    assert next_head(first_head(SALE), row) == hashlib.sha256(first_head(SALE) + text_of(row)).digest() == row.hash


def test_whole_log_replays_to_its_end() -> None:
    log = a_log()

    state = replayed(log.rows)

    assert state == Replay(size=ROWS, head=log.head, available=7, held=0, sold=0, epoch=2, fault="")


def test_empty_log_has_the_first_head() -> None:
    assert replayed([]) == Replay(head=first_head(SALE))


@pytest.mark.parametrize("name", TAMPERED)
@pytest.mark.parametrize("at", range(ROWS))
def test_changed_field_is_found_in_its_row(at: int, name: str) -> None:
    rows = a_log().rows
    kinds = [LogKind.STOCK, LogKind.PAID]
    value = next(kind for kind in kinds if kind is not rows[at].kind) if name == "kind" else TAMPERED[name]
    rows[at] = msgspec.structs.replace(rows[at], **{name: value})

    state = replayed(rows)

    assert f"row {at + 1}" in state.fault
    assert state.size == at


@given(st.integers(0, ROWS - 1), st.integers(0, 31), st.integers(1, 255))
def test_changed_byte_of_a_hash_is_found(at: int, byte: int, flip: int) -> None:
    rows = a_log().rows
    changed = bytearray(rows[at].hash)
    changed[byte] ^= flip
    rows[at] = msgspec.structs.replace(rows[at], hash=bytes(changed))

    assert replayed(rows).fault == f"row {at + 1} does not hash to its stored value"


@given(st.integers(0, ROWS - 1), st.data())
def test_changed_byte_of_a_text_is_found(at: int, data: st.DataObject) -> None:
    rows = a_log().rows
    name = data.draw(st.sampled_from(["order_id", "sale_id"]))
    text: str = getattr(rows[at], name)
    changed = data.draw(st.text(max_size=12).filter(lambda other: other != text))
    rows[at] = msgspec.structs.replace(rows[at], **{name: changed.encode("utf-8", "replace").decode()})

    assert replayed(rows).fault == f"row {at + 1} does not hash to its stored value"


@pytest.mark.parametrize("at", range(ROWS))
def test_missing_row_is_named(at: int) -> None:
    rows = a_log().rows
    del rows[at]

    state = replayed(rows)

    # Without its last row a log is a shorter log: the stored length and head betray it (the audit's law).
    assert state.fault == ("" if at == ROWS - 1 else f"row {at + 1} is missing; found row {at + 2}")


def test_rows_in_another_order_are_found() -> None:
    rows = a_log().rows
    rows[2], rows[3] = rows[3], rows[2]

    assert replayed(rows).fault == "row 3 is missing; found row 4"


def test_log_of_another_sale_is_no_log_of_this() -> None:
    replayer = Replayer("sale-2")
    replayer.add(a_log().rows)

    assert replayer.state.fault == "row 1 does not hash to its stored value"


@given(st.integers(1, ROWS))
def test_log_read_in_parts_is_the_same_log(cut: int) -> None:
    rows = a_log().rows
    replayer = Replayer(SALE)

    replayer.add(rows[:cut])
    replayer.add(rows[cut:])

    assert replayer.state == replayed(rows)


IMPOSSIBLE: list[tuple[LogKind, int, str, int, str]] = [
    (LogKind.CREATED, 5, "", 1, "a sale is created once"),
    (LogKind.EPOCH, 0, "", 1, "epoch 1 after 1"),
    (LogKind.EPOCH, 0, "", 0, "epoch 0 after 1"),
    (LogKind.RESERVED, 1, "held", 1, "order held is reserved twice"),
    (LogKind.RESERVED, 1, "paid", 1, "order paid is reserved twice"),
    (LogKind.PAID, 1, "nobody", 1, "order nobody is not reserved with 1 units"),
    (LogKind.PAID, 2, "held", 1, "order held is not reserved with 2 units"),
    (LogKind.PAID, 1, "paid", 1, "order paid is not reserved with 1 units"),
    (LogKind.CANCELLED, 1, "paid", 1, "order paid is not reserved with 1 units"),
    (LogKind.CANCELLED, 1, "gone", 1, "order gone is not reserved with 1 units"),
    (LogKind.EXPIRED, 1, "gone", 1, "order gone is not reserved with 1 units"),
    (LogKind.EXPIRED, 3, "held", 1, "order held is not reserved with 3 units"),
    (LogKind.REFUNDED, 1, "held", 1, "order held is not paid with 1 units"),
    (LogKind.REFUNDED, 2, "paid", 1, "order paid is not paid with 2 units"),
    (LogKind.RESERVED, 9, "more", 1, "10 held + 1 sold exceed 10"),
    (LogKind.STOCK, -9, "", 1, "1 held + 1 sold exceed 1"),
]


@pytest.mark.parametrize(("kind", "quantity", "order_id", "epoch", "fault"), IMPOSSIBLE)
def test_row_that_cannot_be_is_named(kind: LogKind, quantity: int, order_id: str, epoch: int, fault: str) -> None:
    """A forger who recomputes the hashes still has to tell a possible story."""
    log = Log()
    log.add(LogKind.CREATED, 10, epoch=0)
    log.add(LogKind.EPOCH, 0, epoch=1)
    for order, kinds in {
        "held": [LogKind.RESERVED],
        "paid": [LogKind.RESERVED, LogKind.PAID],
        "gone": [LogKind.RESERVED, LogKind.CANCELLED],
    }.items():
        for step in kinds:
            log.add(step, 1, order)
    before = replayed(log.rows)
    log.add(kind, quantity, order_id, epoch=epoch)
    log.add(LogKind.STOCK, 100)

    state = replayed(log.rows)

    assert fault in state.fault
    assert f"row {before.size + 1}" in state.fault


@given(st.data())
def test_units_are_conserved_by_any_legal_sequence(data: st.DataObject) -> None:
    """I1 and I2 in the log alone: free + held + sold = available after every row, and each of them counted twice."""
    log, live = Log(), dict[str, tuple[LogKind, int]]()
    available, epoch = data.draw(st.integers(1, 20)), 0
    log.add(LogKind.CREATED, available, epoch=epoch)
    for number in range(data.draw(st.integers(0, 25))):
        free = available - sum(units for _, units in live.values())
        held = [order for order, (kind, _) in live.items() if kind is LogKind.RESERVED]
        paid = [order for order, (kind, _) in live.items() if kind is LogKind.PAID]
        kinds = [LogKind.STOCK, LogKind.EPOCH]
        kinds += [LogKind.RESERVED] if free else []
        kinds += [LogKind.PAID, LogKind.CANCELLED, LogKind.EXPIRED] if held else []
        kinds += [LogKind.REFUNDED] if paid else []
        kind, order, quantity = data.draw(st.sampled_from(kinds)), "", 0
        match kind:
            case LogKind.STOCK:
                quantity = data.draw(st.integers(-free, 5))
                available += quantity
            case LogKind.EPOCH:
                epoch += 1
            case LogKind.RESERVED:
                order, quantity = f"order-{number}", data.draw(st.integers(1, free))
                live[order] = (kind, quantity)
            case LogKind.PAID:
                order = data.draw(st.sampled_from(held))
                quantity = live[order][1]
                live[order] = (kind, quantity)
            case _:
                order = data.draw(st.sampled_from(paid if kind is LogKind.REFUNDED else held))
                quantity = live.pop(order)[1]
        log.add(kind, quantity, order, epoch=epoch)

    state = replayed(log.rows)

    assert state.fault == ""
    assert state.held == sum(units for kind, units in live.values() if kind is LogKind.RESERVED)
    assert state.sold == sum(units for kind, units in live.values() if kind is LogKind.PAID)
    assert (state.available, state.epoch, state.head) == (available, epoch, log.head)
