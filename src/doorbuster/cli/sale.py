"""`doorbuster sale`: what an operator does with sales, over the HTTP API of a running Doorbuster.

Owns: the names of its commands and options. Every command has `--json`. Read next: `client.py` for exit codes.
"""

import json
from typing import Annotated, Any

import typer

from doorbuster.cli import client, quantity, times
from doorbuster.cli.options import DataDir, Json, Reason, Url
from doorbuster.cli.tables import print_table

sale_app = typer.Typer(help="Create, run and check sales.", no_args_is_help=True)

Sale = Annotated[str, typer.Argument(help="The sale's id.")]


@sale_app.command()
def create(
    *,
    product: Annotated[str, typer.Option(help="The shop's id of the product.")],
    quantity: Annotated[int, typer.Option(help="Units on sale.")],
    price_cents: Annotated[int, typer.Option(help="Price of one unit, in the currency's smallest part.")],
    title: Annotated[str | None, typer.Option(help="What buyers see. Default: the product's id.")] = None,
    currency: Annotated[str, typer.Option(help="ISO 4217.")] = "EUR",
    start: Annotated[str, typer.Option(help="now, +10m, or 2026-11-27T09:00:00Z.")] = "now",
    end: Annotated[str, typer.Option(help="+30m from the start, or an instant.")] = "+30m",
    mode: Annotated[str, typer.Option(help="How units are given out: race, queue or draw.")] = "race",
    payment_mode: Annotated[str | None, typer.Option(help="checkout, auto or external. Default: checkout.")] = None,
    per_user_limit: Annotated[int | None, typer.Option(help="Units one buyer may have. Default: 1.")] = None,
    checkout_ttl_seconds: Annotated[int | None, typer.Option(help="How long a unit is held. Default: 600.")] = None,
    payment_attempts: Annotated[int | None, typer.Option(help="Tries to pay one order. Default: 3.")] = None,
    standby_limit: Annotated[int | None, typer.Option(help="Buyers who may wait for returns. Default: all.")] = None,
    claim_window_seconds: Annotated[int | None, typer.Option(help="A grant nobody looks at ends early.")] = None,
    entry_opens: Annotated[str | None, typer.Option(help="From when a draw takes entries. Default: at once.")] = None,
    beacon_round: Annotated[int | None, typer.Option(help="The beacon's round to mix into the draw.")] = None,
    max_lapsed_holds: Annotated[
        int | None, typer.Option(help="Unpaid holds a buyer may let lapse. Default: 2.")
    ] = None,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create a sale. Prints its id."""
    from doorbuster.adapters.system import wall_ms  # noqa: PLC0415

    try:
        start_ms = times.instant_ms(start, base_ms=wall_ms())
        end_ms = times.instant_ms(end, base_ms=start_ms)
        entry_opens_ms = None if entry_opens is None else times.instant_ms(entry_opens, base_ms=wall_ms())
    except ValueError as problem:
        client.fail(str(problem))
    optional = {
        "payment_mode": payment_mode,
        "per_user_limit": per_user_limit,
        "checkout_ttl_seconds": checkout_ttl_seconds,
        "payment_attempts": payment_attempts,
        "standby_limit": standby_limit,
        "claim_window_seconds": claim_window_seconds,
        "entry_opens_at": None if entry_opens_ms is None else times.rfc3339(entry_opens_ms),
        "beacon_round": beacon_round,
        "max_lapsed_holds": max_lapsed_holds,
    }
    body: client.Body = {
        "product_id": product,
        "title": title or product,
        "quantity_available": quantity,
        "price_cents": price_cents,
        "currency": currency,
        "start_time": times.rfc3339(start_ms),
        "end_time": times.rfc3339(end_ms),
        "mode": mode,
        **{name: value for name, value in optional.items() if value is not None},
    }
    sale = client.Operator(url, data_dir, as_json=as_json).ask("POST", "/sales", body)
    print(json.dumps(sale, indent=2) if as_json else sale["sale_id"])


@sale_app.command("list")
def list_sales(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List sales."""
    answer = client.Operator(url, data_dir, as_json=as_json).ask("GET", f"/sales?limit={limit}")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    rows = [_row(sale) for sale in answer["sales"]]
    print_table(["sale", "title", "status", "start", "units", "free", "held", "sold"], rows)
    if answer.get("next_cursor"):
        print(f"There are more; --limit shows up to 1000, not {limit}.")


@sale_app.command()
def show(sale: Sale, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show one sale."""
    _print(client.Operator(url, data_dir, as_json=as_json).ask("GET", path_of(sale)), as_json=as_json)


@sale_app.command()
def rebuild(
    *,
    sale: Sale,
    epoch: Annotated[
        int | None, typer.Option(min=0, help="Only if it is still this one, as `show` says; may be repeated.")
    ] = None,
    reason: Reason = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write the stock counter's image anew from the database."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    body = {"reason": reason, **({} if epoch is None else {"expected_epoch": epoch})}
    _print(operator.ask("POST", f"{path_of(sale)}/rebuild", body), as_json=as_json)


@sale_app.command("top-up")
def top_up(
    *,
    sale: Sale,
    units: Annotated[int | None, typer.Argument(min=1, help="Units to add.")] = None,
    to: Annotated[int | None, typer.Option(min=1, help="So many in all; may be repeated.")] = None,
    reason: Reason = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put more units on sale."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    _print(quantity.top_up(operator, path_of(sale), units, to, reason), as_json=as_json)


@sale_app.command()
def cut(
    *,
    sale: Sale,
    units: Annotated[int | None, typer.Argument(min=1, help="Units to take away.")] = None,
    to: Annotated[int | None, typer.Option(min=1, help="So many in all; may be repeated.")] = None,
    reason: Reason = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Take units that are free off the sale. Nothing that is held or sold is touched."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    _print(quantity.cut(operator, path_of(sale), units, to, reason), as_json=as_json)


@sale_app.command("log")
def show_log(
    *,
    sale: Sale,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest last.")] = 100,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """What was done to a sale, by whom and why."""
    answer = client.Operator(url, data_dir, as_json=as_json).ask("GET", f"{path_of(sale)}/actions?limit={limit}")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    shown = [[one["at"], one["action"], one["by"], one["reason"], _brief(one["detail"])] for one in answer["actions"]]
    print_table(["when", "what", "who", "why", ""], shown[::-1])
    if answer.get("next_cursor"):
        print(f"There are older ones; --limit shows up to 1000, not {limit}.")


def _brief(detail: dict[str, Any]) -> str:
    """What a person needs of it: all terms of a sale are too many."""
    if {"from", "to"} <= detail.keys():
        return f"{detail['from']} to {detail['to']}"
    if "quantity_available" in detail:
        return f"{detail['quantity_available']:,} units"
    return ", ".join(f"{name} {value}" for name, value in detail.items() if isinstance(value, int | str))


@sale_app.command()
def audit(sale: Sale, reason: Reason = "", url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Compare both stores and the log. Exit code 1 unless they are in step."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    report = operator.ask("POST", f"{path_of(sale)}/audit", {"reason": reason})
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        facts = {name: report[name] for name in ("verdict", "available", "free", "held", "sold", "epoch", "log_size")}
        print_table(["", ""], [[name, str(value)] for name, value in facts.items()])
        for drift in report["drifts"]:
            print(f"{drift['law']}: expected {drift['expected']}, found {drift['found']}; repair: {drift['repair']}")
    if report["verdict"] != "in_step":
        raise typer.Exit(client.REFUSED)


@sale_app.command()
def reconcile(
    sale: Sale, reason: Reason = "", url: Url = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Compare the gateway's book with the paid orders. Exit code 1 unless they balance."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    found = operator.ask("POST", f"{path_of(sale)}/reconcile", {"reason": reason})
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        breaks = found.pop("breaks")
        print_table(["", ""], [[name, str(value)] for name, value in found.items() if value != ""])
        for one in breaks:
            done = "repaired" if one["repaired"] else f"repair: {one['repair']}"
            print(f"{one['kind']} of order {one['order_id']}: expected {one['expected']}, found {one['found']}; {done}")
    if found["verdict"] != "in_balance":
        raise typer.Exit(client.REFUSED)


@sale_app.command()
def report(sale: Sale, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """A sale in numbers, and how the chances that were told in its line came true."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("GET", f"{path_of(sale)}/report")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    from doorbuster.cli.sale_report import show  # noqa: PLC0415

    show(found)


@sale_app.command()
def reports(sale: Sale, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Reports of a shop that charges by itself which were refused: each may be money to give back."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = operator.ask("GET", f"{path_of(sale)}/reports?limit=1000{cursor}")
        rows += page["reports"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    if as_json:
        print(json.dumps({"reports": rows}, indent=2))
        return
    shown = [[row["last_at"], row["order_id"], row["kind"], row["reference"], row["finding"]] for row in rows]
    print_table(["when", "order", "report", "reference", "refused because"], shown)


def _verb(name: str, help_text: str) -> None:
    """Commands that differ by one word."""

    def run(sale: Sale, reason: Reason = "", url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
        operator = client.Operator(url, data_dir, as_json=as_json)
        _print(operator.ask("POST", f"{path_of(sale)}/{name}", {"reason": reason}), as_json=as_json)

    sale_app.command(name, help=help_text)(run)


_verb("warm-up", "Put the sale into the stock counter before it starts.")
_verb("open", "Start the sale now.")
_verb("pause", "Let nobody in until `resume`; holds and payments go on.")
_verb("resume", "Go on after `pause`.")
_verb("end", "End the sale now; reserved orders may still be paid.")
_verb("abort", "Call the sale off: reserved orders are cancelled, paid ones refunded.")


def path_of(sale: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415

    return f"/sales/{quote(sale, safe='')}"


def _print(sale: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(sale, indent=2))
        return
    units = sale.pop("availability", {})
    rows = [[name, str(value)] for name, value in {**sale, **units, "status": sale.get("status")}.items()]
    print_table(["", ""], [row for row in rows if row[0] != "state"])


def _row(sale: dict[str, Any]) -> list[str]:
    units = sale["availability"]
    values = [sale["sale_id"], sale["title"], sale["status"], sale["start_time"], sale["quantity_available"]]
    return [str(value) for value in [*values, units["free"], units["held"], units["sold"]]]
