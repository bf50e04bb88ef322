"""The list of accounts that may not take part: what a file may look like, and that the counter has all of it."""

import pytest

from api.gate import ADMIN, Answer, Gate


async def put(gate: Gate, text: str, query: str = "") -> Answer:
    path = f"/v1/admin/sales/{gate.sale_id}/blocklist{query}"
    return await gate.call("PUT", path, raw=text.encode(), token=ADMIN, headers={"content-type": "text/csv"})


def listed(gate: Gate) -> list[str]:
    return sorted(gate.shop.ledger.blocked[gate.sale_id])


@pytest.mark.parametrize(
    "text",
    [
        "ann\nbob\n",
        "\ufeffann\r\nbob",
        "user_id\n\n  ann \nbob\n\n",
        '"ann"\n"bob"\n',
        "ann,\nbob,\n",
        "email,user_id\na@example.com,ann\nb@example.com,bob\n",
        'user_id,why\nann,"fraud, twice"\nbob\n',
    ],
)
async def test_files_that_name_ann_and_bob(gate: Gate, text: str) -> None:
    answer = await put(gate, text)

    assert answer.json == {"added": 2, "removed": 0, "total": 2}
    assert listed(gate) == ["ann", "bob"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("email,account\na@example.com,ann\n", "row 1 has several columns, and none is called user_id"),
        ("ann\nbob,b@example.com\n", "row 2 has several columns"),
        ("email,user_id\na@example.com,ann\nb@example.com,\n", "row 3 has no user_id"),
        ("ann\nbob\x07\n", "row 2: a user id has at most 200 printable characters"),
        ("user_id\nann\n" + "x" * 201 + "\n", "row 3: a user id has at most 200 printable characters"),
        ('user_id\n"ann\n', "row 2: unexpected end of data"),
    ],
)
async def test_file_that_is_not_understood_is_refused_whole(gate: Gate, text: str, said: str) -> None:
    await put(gate, "mallory")

    answer = await put(gate, text)

    assert (answer.status, answer.code) == (422, "invalid-request")
    assert said in answer.json["detail"]
    assert listed(gate) == ["mallory"]


async def test_row_of_a_long_list_is_named(gate: Gate) -> None:
    rows = [f"user-{number}" for number in range(1, 25_001)]
    rows[20_004] = "\x07"

    answer = await put(gate, "\n".join(rows))

    assert "row 20005: " in answer.json["detail"]
    assert listed(gate) == []


async def test_reason_of_a_file_stands_in_the_query(gate: Gate) -> None:
    kept = await put(gate, "ann", "?reason=chargebacks%20of%20May")
    refused = await put(gate, "bob", f"?reason={'x' * 501}")
    twice = await gate.call(
        "PUT", f"/v1/admin/sales/{gate.sale_id}/blocklist?reason=a", {"user_ids": ["bob"], "reason": "b"}, token=ADMIN
    )

    assert (kept.status, refused.status, twice.status) == (200, 422, 422)
    [action] = [action for action in gate.shop.ledger.actions if action.what == "blocklist"]
    assert action.actor.reason == "chargebacks of May"
    assert listed(gate) == ["ann"]


async def test_repeat_after_a_list_was_cut_off_has_the_image_written_anew(gate: Gate) -> None:
    """The gate died between the ledger and the counter: the same list again finds nothing new in the ledger."""
    gate.shop.ledger.blocked[gate.sale_id] = {"ann", "bob"}

    answer = await put(gate, "ann\nbob")

    assert answer.json == {"added": 0, "removed": 0, "total": 2}
    sale = await gate.shop.sales.get(gate.sale_id)
    assert sale is not None
    assert sale.rebuild_reason == "the block list reached the counter in part"


async def test_list_that_reached_the_counter_asks_for_nothing(gate: Gate) -> None:
    await put(gate, "ann\nbob")
    await put(gate, "bob\ncy")

    sale = await gate.shop.sales.get(gate.sale_id)
    assert sale is not None
    assert not sale.rebuild_reason
