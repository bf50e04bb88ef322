"""`doorbuster rehearse`: has a sale rehearsed, shows how it goes, and ends with the sheet.

Owns: what a person sees of a rehearsal. Exit codes: 0 go, 1 no-go or refused, 2 it could not be asked or was stopped.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from doorbuster.cli import client
from doorbuster.cli.sale import path_of

_LOOK_S: Final = 1.0
_LOOKS_ASKED: Final = 10
_LOOKS_UNHEARD: Final = 60
_WIDTH: Final = 10


def run(sale: str, wish: dict[str, Any], *, stop: bool, url: str | None, folder: Path | None, as_json: bool) -> int:
    operator = client.Operator(url, folder, as_json=as_json)
    path = f"{path_of(sale)}/rehearsal"
    if stop:
        found = operator.ask("DELETE", f"{path}?{urlencode({'reason': wish.get('reason', '')})}")
        print(json.dumps(found, indent=2) if as_json else f"asked to stop; it is {found['state']}")
        return 0
    found = operator.ask("POST", path, {name: value for name, value in wish.items() if value is not None})
    try:
        found = _follow(operator, path, found, quiet=as_json)
    except KeyboardInterrupt:
        operator.ask("DELETE", path)
        print("\nasked to stop; what it made is cleared away", file=sys.stderr)
        return client.NOT_ASKED
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    if found["verdict"] is None:
        return client.NOT_ASKED
    return 0 if found["verdict"] == "go" else client.REFUSED


def _follow(operator: client.Operator, path: str, found: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """To its end. It goes on also while nobody can say how."""
    asked = unheard = 0
    while found["state"] in {"asked", "running"}:
        if not quiet and not unheard:
            _tell(found)
        asked += found["state"] == "asked"
        if asked == _LOOKS_ASKED:
            print("no worker has taken it yet; is one running?", file=sys.stderr)
        time.sleep(_LOOK_S)
        seen = operator.look(path)
        unheard = unheard + 1 if seen is None else 0
        if unheard == _LOOKS_UNHEARD:
            client.fail("nobody answers any more; it may go on all the same, and --stop ends it")
        found = seen or found
    return found


def _tell(found: dict[str, Any]) -> None:
    now = found["progress"]
    if not now:
        print(f"{found['state']} …", flush=True)
        return
    print(
        f"came {now['arrived']:,}  went {now['gone']:,}  orders {now['orders']:,}  paid {now['paid']:,}  "
        f"requests {now['requests']:,}  up to {now['peak_per_s']:,.0f}/s  p99 {now['p99_ms']:,.0f} ms",
        flush=True,
    )


def _show(found: dict[str, Any]) -> None:
    print()
    for check in found["checks"]:
        print(f"  {'✓' if check['held'] else '✗'} {check['name']:<{_WIDTH}} {check['words']}")
    figures = found["figures"]
    if figures:
        bots = f"{figures['bots']:,} of {figures['buyers']:,}"
        print(f"\n  Programs were {bots} buyers and got {figures['bots_paid']:,} of {figures['units_sold']:,} units.")
    if figures.get("gate_capacity"):
        gates = "one gate" if figures["gates"] == 1 else f"{figures['gates']} gates"
        share = f"at {figures['gates_busy']:.0%} of a core on {gates}"
        print(f"  By this a gate answers {figures['gate_capacity']:,}/s ({share}): DOORBUSTER_GATE_CAPACITY.")
    if found["differs"]:
        print("\n  Unlike the sale: " + "; ".join(found["differs"]) + ".")
    print(f"\n{(found['verdict'] or 'stopped').upper()}" + "".join(f"\n  {reason}" for reason in found["reasons"]))
