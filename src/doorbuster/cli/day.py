"""`doorbuster sale timeline`, `plan`, `run-step`, `skip-step`, `block`: the sale's day.

Owns: the names of its commands and options. Every command has `--json`. Read next: `sale.py`, `client.py`.
"""

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from doorbuster.cli import client
from doorbuster.cli.options import DataDir, Json, Reason, Url
from doorbuster.cli.sale import Sale, path_of, sale_app
from doorbuster.cli.tables import print_table
from doorbuster.cli.words import detail_of, duration, text

__all__ = ["sale_app"]

StepArgument = Annotated[str, typer.Argument(help="The step's name, as the timeline shows it.")]


@sale_app.command()
def timeline(sale: Sale, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """The steps of the sale's day. Exit code 1 if one failed."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("GET", f"{path_of(sale)}/timeline")
    _show(found, as_json=as_json)
    if any(step["state"] == "failed" for step in found["steps"]):
        raise typer.Exit(client.REFUSED)


@sale_app.command("run-step")
def run_step(
    *, sale: Sale, step: StepArgument, reason: Reason = "", url: Url = None, data_dir: DataDir = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Have a step done now, also a second time."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    _show(operator.ask("POST", f"{path_of(sale)}/timeline/{step}/run", {"reason": reason}), as_json=as_json)


@sale_app.command("skip-step")
def skip_step(
    *,
    sale: Sale,
    step: StepArgument,
    reason: Annotated[str, typer.Option(help="Why; shown in the timeline.")],
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Leave a step out."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    _show(operator.ask("POST", f"{path_of(sale)}/timeline/{step}/skip", {"reason": reason}), as_json=as_json)


@sale_app.command()
def plan(
    *,
    sale: Sale,
    crowd: Annotated[
        int | None, typer.Option(min=0, help="People expected in the first minute; 0: nobody said.")
    ] = None,
    page: Annotated[
        list[str] | None, typer.Option(help="A path or address to fetch before the sale; again for each.")
    ] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(help="RULE=VALUE: alarm from there; again for each rule.")
    ] = None,
    rehearse: Annotated[bool | None, typer.Option(help="Whether the sale is rehearsed half an hour before.")] = None,
    multiple: Annotated[
        float | None, typer.Option(min=0.1, max=10, help="The rehearsal's crowd, in crowds that are expected.")
    ] = None,
    reason: Reason = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what the sale's day is prepared for, or change some of it."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    found = operator.ask("GET", f"{path_of(sale)}/plan")
    given = {
        "expected_crowd": crowd,
        "pages": page,
        "rehearse": rehearse,
        "rehearsal_multiple": multiple,
        "thresholds": None if threshold is None else dict(_threshold(one) for one in threshold),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        found = operator.ask("PUT", f"{path_of(sale)}/plan", {**found, **changes, "reason": reason})
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print_table(["", ""], [[name, text(value)] for name, value in found.items()])


@sale_app.command()
def samples(
    *,
    sale: Sale,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """What the sale looked like every half minute."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("GET", f"{path_of(sale)}/samples?limit={limit}")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    names = [
        "at",
        "free",
        "held",
        "sold",
        "waiting",
        "answers_per_s",
        "granted_per_s",
        "error_rate",
        "p99_ms",
        "gates_ready",
    ]
    rows = [["?" if row[name] is None else str(row[name]) for name in names] for row in found["samples"]]
    print_table([name.replace("_", " ") for name in names], rows)


@sale_app.command()
def alerts(sale: Sale, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """What was alarming about the sale. Exit code 1 while something is."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("GET", f"{path_of(sale)}/alerts")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        rows = [
            [row["rule"], row["severity"], row["fired_at"] or "", row["resolved_at"] or "FIRING", row["words"]]
            for row in found["alerts"]
        ]
        print_table(["rule", "severity", "from", "until", "what"], rows)
    if found["firing"]:
        raise typer.Exit(client.REFUSED)


@sale_app.command()
def block(
    *,
    sale: Sale,
    file: Annotated[Path, typer.Argument(help="One account a line, or CSV with a column user_id.", exists=True)],
    reason: Reason = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Replace the list of accounts that may not take part."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    query = f"?{urlencode({'reason': reason})}" if reason else ""
    answer = operator.send_file("PUT", f"{path_of(sale)}/blocklist{query}", file, "text/csv")
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['total']} accounts are blocked: {answer['added']} new, {answer['removed']} no longer.")


def show_gates(url: str | None, folder: Path | None, *, as_json: bool) -> int:
    """Prints the gates; returns how many are ready."""
    found = client.Operator(url, folder, as_json=as_json).ask("GET", "/gates")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        rows = [
            [
                gate["host"],
                str(gate["pid"]),
                "ready" if gate["ready"] else "not ready",
                f"{gate['clock_offset_ms']} ms",
                f"{gate['busy']:.0%}",
            ]
            for gate in found["gates"]
        ]
        print_table(["host", "pid", "", "clock off by", "busy"], rows)
    ready: int = found["ready"]
    return ready


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows: list[list[str]] = []
    for step in found["steps"]:
        mark = "→ " if step["step"] == found["next"] else "  "
        took = "" if step["duration_ms"] is None else duration(step["duration_ms"])
        tries = str(step["attempts"]) if step["attempts"] else ""
        rows.append([mark + step["step"], step["due_at"], step["state"], tries, took, detail_of(step)])
    print_table(["  step", "due", "state", "tries", "took", "what"], rows)


def _threshold(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not RULE=VALUE") from None
