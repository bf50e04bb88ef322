"""What `doorbuster sale report` prints for people.

Owns: the order of things on that page. The figures are those of `GET …/report`; one that a report of an earlier
release lacks is left out. Read next: `words.py`.
"""

from collections.abc import Iterator
from typing import Any

from doorbuster.cli.tables import print_table
from doorbuster.cli.words import NONE, detail_of, duration, text
from doorbuster.domain.money import amount

Report = dict[str, Any]
Row = list[str]


def show(report: Report) -> None:
    print(f"{report['title']}: {report['status']}, a {report['mode']}")
    if report.get("rehearsal_of"):
        print(f"A rehearsal of {report['rehearsal_of']}.")
    print(_final(report))
    for title, rows in (
        ("Sold", _sold(report)),
        ("Orders", _orders(report)),
        ("Pace, after the start", _pace(report["pace"])),
        ("Fairness", _fairness(report)),
        ("Answers of all gates meanwhile", _answers(report["traffic"])),
    ):
        print(f"\n{title}")
        print_table(["", ""], [[f"  {name}", value] for name, value in rows])
    _alerts(report["alerts"])
    _timeline(report["timeline"])
    _chances(report["calibration"])


def _final(report: Report) -> str:
    if report["final"]:
        return f"Final, as of {report['as_of']}; the last audit was in step."
    why = report.get("why_not_final") or "its day is not over"
    at = report.get("final_at_earliest")
    when = f"Final at the earliest at {at}." if at else "It does not become final by itself."
    return f"As of {report['as_of']}, not final: {why}. {when}"


def _sold(report: Report) -> Iterator[Row]:
    units, money = report["availability"], report["money"]
    yield ["units", f"{units['sold']:,} sold, {units['held']:,} held, {units['free']:,} free"]
    yield ["revenue", amount(money["revenue_cents"], money["currency"])]
    yield ["given back", amount(money["refunded_cents"], money["currency"])]
    yield ["audit", text(report["audit"])]


def _orders(report: Report) -> Iterator[Row]:
    orders = report["orders"]
    yield ["joined the line", _count(orders.get("joined"))]
    yield ["granted", _count(orders["made"])]
    yield ["paid", f"{orders['paid']:,}" + (f", {orders['refunded']:,} refunded since" if orders["refunded"] else "")]
    yield ["lapsed", _count(orders["lapsed"])]
    causes = orders.get("cancelled_by_cause", {}).items()
    said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in causes if count)
    yield ["cancelled", _count(orders["cancelled"]) + (f": {said}" if said else "")]
    yield ["reserved", _count(orders["reserved"])]
    yield ["payments", f"{orders['payment_attempts']:,} tries, {orders['declined_attempts']:,} declined"]


def _pace(pace: Report) -> Iterator[Row]:
    yield ["first unit reserved", duration(pace["first_reserved_ms"])]
    yield ["in the first second", f"{pace['reserved_in_first_second']:,} units"]
    yield ["all held", duration(pace["all_held_ms"])]
    yield ["sold out", duration(pace["sold_out_ms"])]
    yield ["came back", f"{pace['units_returned']:,} units"]
    yield ["time to pay", f"{duration(pace['pay_p50_ms'])} for half, {duration(pace['pay_p95_ms'])} for 95 %"]


def _fairness(report: Report) -> Iterator[Row]:
    found = report["fairness"]
    yield ["buyers", f"{found['buyers']:,}, {found['buyers_of_several_orders']:,} with several orders"]
    yield ["most units of one buyer", _count(found["most_units_of_one_buyer"])]
    yield ["blocked accounts", _count(found["blocked_accounts"])]
    yield ["granted out of order", _count(found["grants_out_of_order"])]
    yield ["last number granted", _count(report["last_number_granted"] or None)]


def _answers(traffic: Report) -> Iterator[Row]:
    answers = sorted(traffic["answers"].items(), key=lambda item: (-item[1], item[0]))
    yield from ([code, f"{count:,}"] for code, count in answers)
    if answers:
        yield ["took", f"up to {duration(traffic['p50_ms'])} for half, up to {duration(traffic['p99_ms'])} for 99 %"]
    else:
        yield ["none", ""]


def _alerts(alerts: list[Report]) -> None:
    print("\nAlerts" + ("" if alerts else ": none"))
    if alerts:
        rows = [
            [f"  {one['rule']}", text(one["fired_at"]), one["resolved_at"] or "FIRING", one["words"]] for one in alerts
        ]
        print_table(["  rule", "from", "until", "what"], rows)


def _timeline(steps: list[Report]) -> None:
    print("\nTimeline")
    rows = [
        [f"  {step['step']}", step["due_at"], _state(step), duration(step["duration_ms"]), detail_of(step)]
        for step in steps
    ]
    print_table(["  step", "due", "state", "took", "what"], rows)


def _state(step: Report) -> str:
    again = step["next_attempt_at"] if step["state"] == "failed" else None
    return f"failed, again at {again}" if again else str(step["state"])


def _chances(judged: Report | None) -> None:
    if judged is None or judged["brier"] is None:
        return
    print(f"\nChances told in line: Brier score {judged['brier']:.3f}; of always telling the average")
    print(f"{judged['brier_base_rate']:.3f}; {judged['told']} samples, {judged['unknown']} more were told nothing.\n")
    rows = [
        [row["band"], str(row["count"]), f"{row['forecast']:.0%}", f"{row['observed']:.0%}"] for row in judged["bands"]
    ]
    print_table(["told", "samples", "meant", "came true"], rows)


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"
