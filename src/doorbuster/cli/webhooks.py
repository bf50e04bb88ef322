"""`doorbuster webhook`: where the shop is told of events, over the HTTP API of a running Doorbuster.

Owns: the names of its commands and options. Every command has `--json`. Read next: `client.py` for exit codes.
"""

import json
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from doorbuster.cli import client
from doorbuster.cli.options import DataDir, Json, Url

webhook_app = typer.Typer(help="Tell a shop of events: endpoints and deliveries.", no_args_is_help=True)

Endpoint = Annotated[str, typer.Argument(help="The endpoint's id.")]


@webhook_app.command()
def add(
    *,
    target: Annotated[str, typer.Argument(help="Where to send: an https:// address of the shop.")],
    event: Annotated[list[str] | None, typer.Option(help="A type of event to send; repeatable. Default: all.")] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Add an endpoint. Prints its secret, which is not shown again."""
    body: client.Body = {"url": target, "event_types": event or [], "description": description}
    _made(client.Operator(url, data_dir, as_json=as_json).ask("POST", "/webhooks", body), as_json=as_json)


@webhook_app.command("list")
def list_endpoints(url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List endpoints."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("GET", "/webhooks")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [
        [one["endpoint_id"], one["url"], _state(one), " ".join(one["event_types"]) or "all", one["description"]]
        for one in found["endpoints"]
    ]
    _table(["endpoint", "url", "state", "events", "description"], rows)


@webhook_app.command()
def remove(endpoint: Endpoint, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Delete an endpoint with everything that waits for it."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("DELETE", _path(endpoint))
    print(json.dumps(found, indent=2) if as_json else "deleted")


def _switch(name: str, help_text: str, *, enabled: bool) -> None:
    def run(endpoint: Endpoint, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
        found = client.Operator(url, data_dir, as_json=as_json).ask("PATCH", _path(endpoint), {"enabled": enabled})
        print(json.dumps(found, indent=2) if as_json else _state(found))

    webhook_app.command(name, help=help_text)(run)


_switch("enable", "Send to an endpoint again; what waits for it follows.", enabled=True)
_switch("disable", "Send nothing to an endpoint, and note no more events for it.", enabled=False)


@webhook_app.command()
def rotate(
    endpoint: Endpoint,
    overlap_seconds: Annotated[int, typer.Option(help="How long the old secret signs beside the new one.")] = 86_400,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a new secret. Prints it; it is not shown again."""
    operator = client.Operator(url, data_dir, as_json=as_json)
    _made(operator.ask("POST", f"{_path(endpoint)}/rotate", {"overlap_seconds": overlap_seconds}), as_json=as_json)


@webhook_app.command("test")
def ping(endpoint: Endpoint, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Send a ping now. Exit code 1 unless it was taken."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("POST", f"{_path(endpoint)}/test")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        said = f"it answered {found['status']}" if found["status"] else "no answer"
        print(
            ": ".join(part for part in (f"{said} after {found['took_ms']} ms", found["error"], found["body"]) if part)
        )
    if not found["delivered"]:
        raise typer.Exit(client.REFUSED)


@webhook_app.command()
def deliveries(
    *,
    endpoint: Endpoint,
    state: Annotated[str | None, typer.Option(help="Only pending, delivered or dead ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what was told to an endpoint, and what waits."""
    path = f"{_path(endpoint)}/deliveries?limit={limit}" + (f"&state={quote(state)}" if state else "")
    found = client.Operator(url, data_dir, as_json=as_json).ask("GET", path)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [
        [one["delivery_id"], one["timestamp"], one["type"], one["state"], one["attempts"], one["next_attempt_at"] or "",
         one["last_status"] or "", one["last_error"]]
        for one in found["deliveries"]
    ]  # fmt: skip
    _table(["delivery", "at", "type", "state", "tries", "next", "status", "error"], rows)
    if found["next_cursor"]:
        print(f"There are more; --limit shows up to 1000, not {limit}.")


@webhook_app.command()
def resend(
    which: Annotated[str, typer.Argument(help="The delivery's id; with --dead the endpoint's.")],
    dead: Annotated[bool, typer.Option("--dead", help="Everything that was given up for this endpoint.")] = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Send a delivery once more, whatever became of it."""
    path = f"{_path(which)}/deliveries/resend-dead" if dead else f"/webhooks/deliveries/{quote(which, safe='')}/resend"
    found = client.Operator(url, data_dir, as_json=as_json).ask("POST", path)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['resent']} sent once more" if dead else f"{found['type']} is sent once more")


def _path(endpoint: str) -> str:
    return f"/webhooks/{quote(endpoint, safe='')}"


def _state(endpoint: dict[str, Any]) -> str:
    if endpoint["enabled"]:
        return "enabled"
    reason = endpoint["disabled_reason"]
    return f"disabled: {reason}" if reason else "disabled"


def _made(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(made, indent=2))
        return
    print(f"endpoint  {made['endpoint_id']}")
    print(f"secret    {made['secret']}")
    print("Keep the secret now; it is not shown again.", file=sys.stderr)


def _table(head: list[str], rows: list[list[Any]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(str(cell), overflow="fold") for cell in row))
    # What is read by a program is not cut to the width of a screen.
    Console(width=None if sys.stdout.isatty() else 250).print(table)
