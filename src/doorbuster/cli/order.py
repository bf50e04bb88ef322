"""`doorbuster order`: what an operator does with one order, over the HTTP API of a running Doorbuster.

Owns: the names of its commands. Every command has `--json`. Read next: `client.py` for exit codes.
"""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from doorbuster.cli import client
from doorbuster.cli.options import DataDir, Json, Reason, Url

order_app = typer.Typer(help="Refund or cancel one order.", no_args_is_help=True)

OrderId = Annotated[str, typer.Argument(help="The order's id.")]


@order_app.command()
def refund(
    order: OrderId, reason: Reason = "", url: Url = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Give a paid order's money back, and its units. Asking again is safe."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("POST", _path(order, "refund"), {"reason": reason})
    _print(found, as_json=as_json)
    if not as_json and found["payment"]["state"] != "REFUNDED":
        print("The gateway has not confirmed yet; a worker goes on until it does.")


@order_app.command()
def cancel(
    order: OrderId, reason: Reason = "", url: Url = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Give the units of a reserved order back."""
    found = client.Operator(url, data_dir, as_json=as_json).ask("POST", _path(order, "cancelled"), {"reason": reason})
    _print(found, as_json=as_json)


def _path(order: str, verb: str) -> str:
    return f"/orders/{quote(order, safe='')}/{verb}"


def _print(order: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(order, indent=2))
        return
    payment = order["payment"]
    print(f"{order['order_id']}  {order['status']}  {order['amount_cents']} {order['currency']}")
    if payment is not None:
        print(f"payment {payment['attempt']} at {payment['gateway']}: {payment['state']}")
