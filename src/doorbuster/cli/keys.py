"""`doorbuster keys`: the keys that passes for an existing shop are signed with, over the HTTP API, and new ones for web
push.

Owns: the names of its commands. Every command has `--json`. Read next: `client.py` for exit codes.
"""

import json
import sys
from typing import Annotated, Any

import typer

from doorbuster.cli import client
from doorbuster.cli.options import DataDir, Json, Url
from doorbuster.cli.secrets import new_secret

keys_app = typer.Typer(help="Keys of the passes that an existing shop checks, and of web push.", no_args_is_help=True)


@keys_app.command("list")
def list_keys(*, url: Url = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show which key signs, which will, and which is published for passes that are still out."""
    _print(client.Operator(url, data_dir, as_json=as_json).ask("GET", "/keys"), as_json=as_json)


@keys_app.command()
def rotate(
    *,
    leaked: Annotated[
        bool, typer.Option("--leaked", help="Somebody else may have the keys: drop them now, sign anew at once.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; kept with the key.")] = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a new key. It is published for an hour before it signs; the old one stays until its passes are over."""
    body: client.Body = {"leaked": leaked, "reason": reason}
    _print(client.Operator(url, data_dir, as_json=as_json).ask("POST", "/keys/rotate", body), as_json=as_json)


@keys_app.command()
def push(*, as_json: Json = False) -> None:
    """Make a key pair for web push (VAPID) and print it; nothing is stored. Browsers are bound to the key they
    subscribed with: keep it."""
    from doorbuster.adapters.notify.vapid import Vapid  # noqa: PLC0415 - 0.7 s of every command's start

    private_key = new_secret()
    pair = {"private_key": private_key, "public_key": Vapid(private_key, "mailto:").public_key}
    if as_json:
        print(json.dumps(pair, indent=2))
        return
    print(f"DOORBUSTER_PUSH_PRIVATE_KEY={pair['private_key']}")
    print(f"browsers will see {pair['public_key']}", file=sys.stderr)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for key in found["keys"]:
        until = f", published until {key['leaves_at']}" if key["leaves_at"] else ""
        print(f"{key['kid']}  {key['state']:<8} signs from {key['signs_from']}{until}")
