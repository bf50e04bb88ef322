"""Options that mean the same in every command that asks a running Doorbuster.

Owns: their words. Read next: `client.py`, which does the asking.
"""

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option(help="Address of a gate. Default: DOORBUSTER_URL, else that of the data directory.")
]
DataDir = Annotated[Path | None, typer.Option(help="Data directory of `up`. Default: .doorbuster.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer's JSON.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the sale and who: your account, or DOORBUSTER_OPERATOR.")]
