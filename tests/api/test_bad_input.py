"""Input of every bad kind: it gets its code, says what is wrong, and changes nothing."""

import json

import pytest
import structlog

from api.gate import ADMIN, Gate

ORDERS = "/v1/sales/{sale}/orders"

BAD_ORDERS = {
    "quantity 0": b'{"quantity":0}',
    "negative quantity": b'{"quantity":-50}',
    "huge quantity": b'{"quantity":1000000000000}',
    "quantity beyond 64 bits": b'{"quantity":99999999999999999999999999}',
    "quantity as text": b'{"quantity":"1"}',
    "quantity as float": b'{"quantity":1.5}',
    "quantity as bool": b'{"quantity":true}',
    "quantity null": b'{"quantity":null}',
    "unknown field": b'{"quantity":1,"price_cents":1}',
    "not an object": b"[1]",
    "empty body": b"",
    "cut short": b'{"quantity":1',
    "trailing text": b'{"quantity":1} x',
    "NaN": b'{"quantity":NaN}',
    "bad UTF-8": b'{"quantity":1,"\xff\xfe":1}',
    "deep nesting": b"[" * 100_000,
    "one megabyte": b'{"quantity":1,"a":"' + b"x" * 1_000_000 + b'"}',
}

BAD_SALES = {
    "no units": {"quantity_available": 0},
    "negative units": {"quantity_available": -50},
    "10^12 units": {"quantity_available": 10**12},
    "units as text": {"quantity_available": "10"},
    "units as float": {"quantity_available": 1.5},
    "negative price": {"price_cents": -1},
    "huge price": {"price_cents": 10**15},
    "unknown currency": {"currency": "XYZ"},
    "currency in small letters": {"currency": "eur"},
    "empty title": {"title": " "},
    "long title": {"title": "x" * 201},
    "control characters": {"title": "a\u0000b"},
    "no product": {"product_id": None},
    "limit 0": {"per_user_limit": 0},
    "negative hold": {"checkout_ttl_seconds": -1},
    "hold of a year": {"checkout_ttl_seconds": 31_536_000},
    "end before start": {"start_time": "2027-02-01T10:00:00Z", "end_time": "2027-02-01T09:00:00Z"},
    "end at start": {"start_time": "2027-02-01T10:00:00Z", "end_time": "2027-02-01T10:00:00Z"},
    "end in the past": {"start_time": "2020-01-01T10:00:00Z", "end_time": "2020-01-01T11:00:00Z"},
    "window of a year": {"end_time": "2029-01-01T00:00:00Z"},
    "time without offset": {"start_time": "2027-02-01T10:00:00"},
    "no time at all": {"start_time": "tomorrow"},
    "time as number": {"start_time": 1_800_000_000},
    "unknown mode": {"mode": "auction"},
    "a standby limit for a race": {"standby_limit": 3},
    "a negative standby limit": {"mode": "queue", "standby_limit": -1},
    "a claim window of a second": {"mode": "queue", "claim_window_seconds": 1},
    "a claim window beyond the hold": {"mode": "queue", "claim_window_seconds": 601},
    "entries for a queue": {"mode": "queue", "entry_opens_at": "2020-01-01T00:00:00Z"},
    "a beacon for a queue": {"mode": "queue", "beacon_round": 7},
    "entries after the start": {"mode": "draw", "entry_opens_at": "2099-01-01T00:00:00Z"},
    "round zero of a beacon": {"mode": "draw", "beacon_round": 0},
    "unknown field": {"discount": 5},
}

BAD_KEYS = {"too long": "k" * 256, "control character": "a\tb", "not ASCII": "schlüssel"}


@pytest.mark.parametrize("kind", BAD_ORDERS)
async def test_bad_order_is_refused_and_changes_nothing(gate: Gate, kind: str) -> None:
    before = await gate.state()

    answer = await gate.call(
        "POST", ORDERS.format(sale=gate.sale_id), raw=BAD_ORDERS[kind], token=gate.token(), key="k"
    )

    assert (answer.status, answer.code) == (422, "invalid-request"), answer.raw
    assert answer.json["detail"]
    assert await gate.state() == before


@pytest.mark.parametrize("kind", BAD_KEYS)
async def test_bad_idempotency_key_is_refused(gate: Gate, kind: str) -> None:
    before = await gate.state()

    answer = await gate.order(key=BAD_KEYS[kind])

    assert (answer.status, answer.code) == (422, "invalid-request")
    assert await gate.state() == before


@pytest.mark.parametrize("kind", BAD_SALES)
async def test_bad_sale_is_refused_and_not_created(gate: Gate, kind: str) -> None:
    answer = await gate.create(**BAD_SALES[kind])

    assert (answer.status, answer.code) == (422, "invalid-request"), answer.raw
    assert answer.json["detail"]
    assert len((await gate.admin("GET", "/sales")).json["sales"]) == 1


@pytest.mark.parametrize("changes", [{"price_cents": 1}, {"currency": "USD"}, {"mode": "race", "product_id": "other"}])
async def test_terms_a_buyer_was_promised_stay(gate: Gate, changes: dict[str, object]) -> None:
    """The sale has begun."""
    before = await gate.state()

    answer = await gate.admin("PATCH", f"/sales/{gate.sale_id}", changes)

    assert (answer.status, answer.code) == (409, "conflict")
    assert await gate.state() == before


async def test_stock_is_topped_up_and_cut_to_what_is_not_sold(gate: Gate) -> None:
    await gate.order("u1")
    await gate.order("u2")

    more = await gate.admin("PATCH", f"/sales/{gate.sale_id}", {"quantity_available": 10})
    too_few = await gate.admin("PATCH", f"/sales/{gate.sale_id}", {"quantity_available": 1})
    fewer = await gate.admin("PATCH", f"/sales/{gate.sale_id}", {"quantity_available": 2})

    assert more.json["availability"] == {"state": "open", "free": 8, "held": 2, "sold": 0}
    assert (too_few.status, too_few.code) == (409, "conflict")
    assert fewer.json["availability"] == {"state": "all_held", "free": 0, "held": 2, "sold": 0}
    assert (await gate.admin("POST", f"/sales/{gate.sale_id}/audit", {})).json["verdict"] == "in_step"


@pytest.mark.parametrize(
    "number", ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "pm_4111111111111111"]
)
async def test_card_number_is_refused_and_not_repeated(gate: Gate, number: str) -> None:
    order = (await gate.order()).json["order_id"]

    answer = await gate.pay(order, method=number)

    assert (answer.status, answer.code) == (422, "invalid-request")
    assert b"1111" not in answer.raw
    assert gate.gateway.charges == {}


async def test_somebody_elses_order_is_not_found(gate: Gate) -> None:
    order = (await gate.order("ann")).json["order_id"]
    before = await gate.state()

    answers = [
        await gate.call("GET", f"/v1/orders/{order}", token=gate.token("eve")),
        await gate.call("DELETE", f"/v1/orders/{order}", token=gate.token("eve")),
        await gate.pay(order, "eve"),
    ]

    assert {(answer.status, answer.code) for answer in answers} == {(404, "not-found")}
    assert await gate.state() == before


@pytest.mark.parametrize("sale", ["nonsense", "..", "0", "%00", "{sale}", "01A20A92-F24E-72F5-A311-30D807643E96"])
async def test_what_is_no_id_is_not_found(gate: Gate, sale: str) -> None:
    answer = await gate.call("GET", f"/v1/sales/{sale}")

    assert (answer.status, answer.code) == (404, "not-found")


async def test_wrong_method_names_the_right_ones(gate: Gate) -> None:
    answer = await gate.call("PUT", f"/v1/orders/{gate.sale_id}")

    assert answer.status == 405
    assert answer.headers[b"allow"] == b"DELETE, GET, HEAD"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "cursor=x", "limit=1&limit=2", "page=2", "status=x"]
)
async def test_bad_query_is_refused(gate: Gate, query: str) -> None:
    answer = await gate.admin("GET", f"/sales/{gate.sale_id}/orders?{query}")

    assert (answer.status, answer.code) == (422, "invalid-request")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/sales", "/v1/sales/", "/v2/sales/x", "/v1//sales"])
async def test_unknown_route_is_not_found(gate: Gate, path: str) -> None:
    answer = await gate.call("GET", path)

    assert (answer.status, answer.code) == (404, "not-found")


async def test_fault_of_a_handler_is_unavailable_and_tells_nothing(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(gate.services.board, "get", broken)

    answer = await gate.order()

    assert (answer.status, answer.code) == (503, "unavailable")
    assert b"secret" not in answer.raw
    assert b"ZeroDivision" not in answer.raw


async def test_blocklist_takes_csv(gate: Gate) -> None:
    csv = b'user_id,why\nann,fraud\n"bob"\n\n'
    path = f"/v1/admin/sales/{gate.sale_id}/blocklist"

    answer = await gate.call("PUT", path, raw=csv, token=ADMIN, headers={"content-type": "text/csv; charset=utf-8"})

    assert answer.json == {"added": 2, "removed": 0, "total": 2}
    assert [(await gate.order(user)).code for user in ("ann", "bob", "cy")] == ["blocked", "blocked", ""]


async def test_sale_reads_back_as_it_was_given(gate: Gate) -> None:
    given = gate.terms(per_user_limit=2, checkout_ttl_seconds=77, title="Zwölf Äpfel 🍏")

    created = (await gate.call("POST", "/v1/admin/sales", given, token=ADMIN)).json
    read = (await gate.admin("GET", f"/sales/{created['sale_id']}")).json

    assert {name: read[name] for name in given} == given
    assert {name: created[name] for name in given} == given


async def test_same_key_gives_the_same_order_and_says_so(gate: Gate) -> None:
    first = await gate.order(key="one intent")
    again = await gate.order(key="one intent")

    assert (first.status, again.status) == (201, 201)
    assert first.raw == again.raw
    assert b"idempotency-replayed" not in first.headers
    assert again.headers[b"idempotency-replayed"] == b"true"
    assert (await gate.admin("GET", f"/sales/{gate.sale_id}")).json["quantity_sold"] == 1


async def test_request_id_is_given_back_only_if_it_is_one(gate: Gate) -> None:
    good = await gate.call("GET", "/livez", headers={"X-Request-Id": "req-1"})
    bad = await gate.call("GET", "/livez", headers={"X-Request-Id": "a b\u00e9"})

    assert good.headers[b"x-request-id"] == b"req-1"
    assert b"x-request-id" not in bad.headers


async def test_operators_requests_have_an_id_in_any_case(gate: Gate) -> None:
    asked = await gate.call("GET", "/v1/admin/sales", headers={"Authorization": f"Bearer {ADMIN}"})
    named = await gate.call("GET", "/v1/admin/sales", headers={"Authorization": "x", "X-Request-Id": "req-2"})

    assert len(asked.headers[b"x-request-id"]) == 36
    assert named.headers[b"x-request-id"] == b"req-2"


async def test_every_line_that_is_logged_for_a_request_has_its_id(gate: Gate) -> None:
    gate.cut_off()
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await gate.call("GET", f"/v1/sales/{gate.sale_id}/draw", headers={"X-Request-Id": "req-3"})

    assert [line.get("request_id") for line in lines] == ["req-3"]


async def test_documentation_is_whole_and_needs_nothing_from_elsewhere(gate: Gate) -> None:
    document = (await gate.call("GET", "/openapi.json")).json
    page = (await gate.call("GET", "/docs")).raw.decode()

    assert document["openapi"] == "3.1.0"
    references = {part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]}
    assert references <= set(document["components"]["schemas"])
    for path in document["paths"]:
        assert path.replace("{", "{") in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://127", "")
    assert "https://" not in page


async def test_quantity_that_somebody_else_changed_is_not_changed(gate: Gate) -> None:
    """Two operators read the same number; the second would withdraw what the first added."""
    path = f"/sales/{gate.sale_id}"
    read = (await gate.admin("GET", path)).json["quantity_available"]
    first = await gate.admin("PATCH", path, {"quantity_available": read + 100, "expected_quantity": read})

    for wanted in (read + 10, read + 100):
        second = await gate.admin("PATCH", path, {"quantity_available": wanted, "expected_quantity": read})
        assert (second.status, second.json["code"]) == (409, "conflict")
        assert f"it is {read + 100} units now" in second.json["detail"]

    assert first.status == 200
    assert (await gate.admin("GET", path)).json["quantity_available"] == read + 100


@pytest.mark.parametrize("name", ["x" * 65, "a\x7fb", "caf\u00e9", "a\tb"])
async def test_operator_who_cannot_be_named_does_nothing(gate: Gate, name: str) -> None:
    answer = await gate.admin("POST", f"/sales/{gate.sale_id}/pause", {"reason": "x"}, operator=name)
    assert (answer.status, answer.json["code"]) == (422, "invalid-request")
    assert "X-Operator" in answer.json["detail"]
    assert (await gate.admin("GET", f"/sales/{gate.sale_id}")).json["status"] == "ACTIVE"


async def test_each_act_is_one_line_that_says_who_and_why(gate: Gate) -> None:
    path = f"/sales/{gate.sale_id}"
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await gate.admin("POST", f"{path}/pause", {"reason": "the site is slow"}, operator="ann")
        await gate.admin("GET", path, operator="bob")
        await gate.admin("POST", f"{path}/open")

    said = [(line["act"], line["code"], line["by"], line["why"]) for line in lines if "act" in line]
    assert said == [
        (f"POST /v1/admin{path}/pause", "ok", "operator:ann", "the site is slow"),
        (f"POST /v1/admin{path}/open", "conflict", "operator", ""),
    ]
    assert "by" not in structlog.contextvars.get_contextvars()


async def test_image_is_written_anew_once_for_one_epoch(gate: Gate) -> None:
    path = f"/sales/{gate.sale_id}"
    epoch = (await gate.admin("GET", path)).json["epoch"]
    for _ in range(2):
        answer = await gate.admin("POST", f"{path}/rebuild", {"expected_epoch": epoch})
        assert (answer.status, answer.json["epoch"]) == (200, epoch + 1)
    early = await gate.admin("POST", f"{path}/rebuild", {"expected_epoch": epoch + 2})
    assert (early.json["code"], (await gate.admin("GET", path)).json["epoch"]) == ("conflict", epoch + 1)
    assert (await gate.admin("POST", f"{path}/rebuild")).json["epoch"] == epoch + 2
