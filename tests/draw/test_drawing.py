"""Holding a draw: every step may be the last of a process, and several may work at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from conformance.draw_bench import DrawBench, inline
from conformance.ledger_bench import ACTOR
from doorbuster.domain.draw import BeaconNote, draw, numbers_of
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.drawing import BeaconAnswer, Drawing
from doorbuster.engine.ports import InvariantViolation, OutcomeUnknown
from draw.world import VALUE, Answers, beacon, memory_bench

USERS = [f"buyer {number}" for number in range(7)]


class Crash(Exception):
    """The process ends here."""


class Dying:
    """A ledger whose caller dies around one of its methods: before it, or after it has happened."""

    def __init__(self, ledger: object, method: str, *, after: bool) -> None:
        self._ledger = ledger
        self._method = method
        self._after = after

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **more: Any) -> Any:
            if name == self._method and not self._after:
                raise Crash
            answer = await getattr(self._ledger, name)(*args, **more)
            if name == self._method:
                raise Crash
            return answer

        return call


async def fields(drawing: Drawing, sale_id: str) -> dict[str, Any]:
    bundle = await drawing.bundle(sale_id)
    assert isinstance(bundle, bytes)
    return msgspec.json.decode(bundle)


async def test_nothing_is_drawn_before_the_start(bench: DrawBench) -> None:
    sale = await bench.open_draw(*USERS)
    before = await bench.record(sale)

    assert not await bench.drawing().run_once(sale)

    assert await bench.record(sale) == before


async def test_race_is_never_drawn(bench: DrawBench) -> None:
    sale = await bench.sale()

    assert not await bench.drawing().run_once(sale)

    assert await bench.drawing().bundle(sale.sale_id) == Refusal(Code.NOT_FOUND, "there is no such draw")


async def test_draw_follows_from_what_is_published(bench: DrawBench) -> None:
    sale = await bench.open_draw(*USERS, beacon_round=9)
    await bench.start()

    assert await bench.drawing(beacon()).run_once(sale)

    record = await bench.record(sale)
    entries = await bench.draws.entry_ids(sale.sale_id)
    assert record.ranks == draw(entries, record.seed, record.root or b"", bytes.fromhex(VALUE))
    assert record.beacon_value == VALUE
    assert sorted(numbers_of(record.ranks or b"")) == list(range(1, 8))


async def test_second_pass_changes_nothing(bench: DrawBench) -> None:
    sale = await bench.open_draw(*USERS)
    await bench.start()
    drawing = bench.drawing()
    assert await drawing.run_once(sale)
    record = await bench.record(sale)

    assert await drawing.run_once(sale)
    assert await bench.drawing(beacon("cd" * 32)).run_once(sale)

    assert await bench.record(sale) == record


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", ["record", "close", "entry_ids", "store_root", "store_order"])
async def test_crash_between_steps_loses_nothing(bench: DrawBench, method: str, after: bool) -> None:
    sale = await bench.open_draw(*USERS, beacon_round=9)
    await bench.sales.set_blocked(sale.sale_id, USERS[:1], ACTOR)
    await bench.start()
    dying: Any = Dying(bench.draws, method, after=after)
    with pytest.raises(Crash):
        await Drawing(dying, beacon(), inline).run_once(sale)
    left = await bench.record(sale)

    assert await bench.drawing(beacon()).run_once(sale)

    record = await bench.record(sale)
    assert (record.size, len(record.removed)) == (6, 1)
    assert left.root in (None, record.root)
    assert left.ranks in (None, record.ranks)
    assert [row.number for row in await bench.drawn_line(sale)] == list(range(1, 7))


async def test_two_at_once_agree(bench: DrawBench) -> None:
    """Even if only one of them reached the beacon: whose order is stored first has drawn."""
    sale = await bench.open_draw(*USERS, beacon_round=9)
    await bench.start()
    lost = Answers(BeaconAnswer(note=BeaconNote.UNREACHABLE))

    done = await asyncio.gather(*(bench.drawing(source).run_once(sale) for source in (beacon(), lost, beacon(), lost)))

    assert done == [True] * 4
    record = await bench.record(sale)
    value = bytes.fromhex(record.beacon_value or "")
    entries = await bench.draws.entry_ids(sale.sale_id)
    assert record.ranks == draw(entries, record.seed, record.root or b"", value)
    assert bool(record.beacon_value) is not bool(record.beacon_note)


async def test_beacon_is_asked_after_the_root_is_public(bench: DrawBench) -> None:
    sale = await bench.open_draw(*USERS, beacon_round=9)
    await bench.start()
    later = Answers(BeaconAnswer(wait=True), BeaconAnswer(wait=True), BeaconAnswer(value=VALUE))
    drawing = bench.drawing(later)

    assert not await drawing.run_once(sale)

    published = await fields(drawing, sale.sale_id)
    assert published["state"] == "closed"
    assert published["root"] == ((await bench.record(sale)).root or b"").hex()
    assert "seed" not in published
    assert not await drawing.run_once(sale)
    assert await drawing.run_once(sale)
    assert later.asked == [9, 9, 9]


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (None, BeaconNote.NOT_CONFIGURED),
        (Answers(BeaconAnswer(note=BeaconNote.UNREACHABLE)), BeaconNote.UNREACHABLE),
    ],
    ids=["not configured", "unreachable"],
)
async def test_draw_without_its_beacon_says_so(source: Answers | None, note: BeaconNote) -> None:
    bench = memory_bench()
    sale = await bench.open_draw(*USERS, beacon_round=9)
    await bench.start()
    drawing = bench.drawing(source)

    assert await drawing.run_once(sale)

    record = await bench.record(sale)
    entries = await bench.draws.entry_ids(sale.sale_id)
    assert record.ranks == draw(entries, record.seed, record.root or b"", b"")
    assert (await fields(drawing, sale.sale_id))["beacon"] == {"round": 9, "value": None, "note": note.value}


async def test_draw_that_promised_no_beacon_asks_none() -> None:
    bench = memory_bench()
    sale = await bench.open_draw(*USERS)
    await bench.start()
    source = beacon()

    assert await bench.drawing(source).run_once(sale)

    assert source.asked == []
    assert (await bench.record(sale)).beacon_note == ""


async def test_list_that_changed_after_its_root_stops_the_draw() -> None:
    bench = memory_bench()
    sale = await bench.open_draw(*USERS)
    await bench.rooted(sale)
    other = Dying(bench.draws, "", after=False)
    listed = await bench.draws.entry_ids(sale.sale_id)

    async def tampered(_: str) -> bytes:
        return listed[:-1] + bytes([listed[-1] ^ 1])

    vars(other)["entry_ids"] = tampered
    forged: Any = other
    with pytest.raises(InvariantViolation, match="root was published"):
        await Drawing(forged, None, inline).run_once(sale)

    assert (await bench.record(sale)).ranks is None


async def test_answer_that_was_lost_is_asked_for_again(bench: DrawBench) -> None:
    sale = await bench.open_draw(*USERS)
    await bench.start()

    class Lossy(Dying):
        def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
            async def call(*args: Any, **more: Any) -> Any:
                try:
                    return await super(Lossy, self).__getattr__(name)(*args, **more)
                except Crash as crash:
                    raise OutcomeUnknown("the answer was lost") from crash

            return call

    lossy: Any = Lossy(bench.draws, "store_order", after=True)
    drawing = Drawing(lossy, None, inline)
    with pytest.raises(OutcomeUnknown):
        await drawing.run_once(sale)

    assert await drawing.run_once(sale)


async def test_large_draw_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parted = memory_bench(), memory_bench()
    users = [f"u{number}" for number in range(1_003)]
    records: list[bytes | None] = []
    for bench, size in ((whole, 50_000), (parted, 100)):
        monkeypatch.setattr("doorbuster.engine.drawing._PART_ENTRIES", size)
        sale = await bench.open_draw(*users)
        await bench.start()
        assert await bench.drawing().run_once(sale)
        records.append((await bench.record(sale)).ranks)

    assert records[0] == records[1]


# ------------------------------------------------------------------------------------------------ publishing


async def test_seed_is_nowhere_before_the_order(bench: DrawBench) -> None:
    sale = await bench.open_draw(*USERS, beacon_round=9)
    record = await bench.record(sale)
    drawing = bench.drawing(Answers(BeaconAnswer(wait=True), BeaconAnswer(value=VALUE)))

    async def seen() -> bytes:
        bundle = await drawing.bundle(sale.sale_id)
        assert isinstance(bundle, bytes)
        return bundle + repr(await bench.current(sale)).encode()

    shown = [await seen()]
    await bench.start()
    await bench.draws.close(sale.sale_id)
    shown.append(await seen())
    assert not await drawing.run_once(sale)
    shown.append(await seen())
    assert await drawing.run_once(sale)

    assert [record.seed.hex().encode() in text for text in shown] == [False] * 3
    assert record.seed.hex().encode() in await seen()
    assert not any(record.entry_secret.hex().encode() in text for text in [*shown, await seen()])


async def test_published_file_grows_with_the_draw(bench: DrawBench) -> None:
    sale = await bench.open_draw(*USERS)
    drawing = bench.drawing()
    promised = {"version", "sale_id", "state", "commitment", "rules", "size"}

    first = await fields(drawing, sale.sale_id)
    await bench.sales.set_blocked(sale.sale_id, USERS[:2], ACTOR)
    await bench.closed(sale)
    closed = await fields(drawing, sale.sale_id)
    assert await drawing.run_once(sale)
    drawn = await fields(drawing, sale.sale_id)

    assert (first.keys(), first["state"], first["size"]) == (promised, "open", 7)
    assert closed.keys() == promised | {"removed"}
    assert (closed["state"], closed["size"], len(closed["removed"])) == ("closed", 5, 2)
    assert drawn.keys() == promised | {"removed", "root", "seed", "beacon", "entries", "order", "fingerprint"}
    assert {name: drawn[name] for name in ("commitment", "rules", "sale_id")} == {
        name: first[name] for name in ("commitment", "rules", "sale_id")
    }
    assert drawn["removed"] == closed["removed"]


async def test_published_draw_is_kept_and_made_once() -> None:
    bench = memory_bench()
    sale = await bench.open_draw(*USERS)
    await bench.drawn(sale)
    drawing = bench.drawing()

    bundles = await asyncio.gather(*(drawing.bundle(sale.sale_id) for _ in range(5)))

    assert all(bundle is bundles[0] for bundle in bundles)


async def test_old_files_give_way_to_new_ones() -> None:
    bench = memory_bench()
    drawing = bench.drawing()
    sales = [await bench.open_draw(*USERS) for _ in range(4)]
    first = await bench.drawn(sales[0])
    before = await drawing.bundle(first.sale_id)
    for sale in sales[1:]:
        await bench.drawn(sale)
        assert isinstance(await drawing.bundle(sale.sale_id), bytes)

    again = await drawing.bundle(first.sale_id)

    assert again == before
    assert again is not before
