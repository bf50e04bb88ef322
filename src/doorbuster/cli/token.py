"""`doorbuster token`: tokens for buyers, and where the operator's is."""

import os
from pathlib import Path
from typing import Annotated

import typer

from doorbuster.cli import client
from doorbuster.cli.secrets import BUYER_SECRET_BYTES_MIN

token_app = typer.Typer(help="Tokens for buyers and operators.", no_args_is_help=True)

DataDirOption = Annotated[Path | None, typer.Option(help="Data directory of `up`. Default: .doorbuster.")]


@token_app.command()
def buyer(
    user: Annotated[str, typer.Argument(help="The shop's id of the buyer.")],
    ttl: Annotated[int, typer.Option(min=1, help="Seconds until it expires.")] = 3600,
    data_dir: DataDirOption = None,
) -> None:
    """Print a token for one buyer, signed with DOORBUSTER_BUYER_SECRET or the secret in the data directory."""
    from doorbuster.adapters.system import wall_ms  # noqa: PLC0415
    from doorbuster.api.auth import sign  # noqa: PLC0415
    from doorbuster.domain.limits import USER_ID_LENGTH_MAX  # noqa: PLC0415

    if not 0 < len(user) <= USER_ID_LENGTH_MAX or not user.isprintable():
        client.fail(f"a buyer's id has 1 to {USER_ID_LENGTH_MAX} printable characters")
    secret = client.secret_from("DOORBUSTER_BUYER_SECRET", client.data_dir(data_dir) / "buyer-secret")
    if len(secret.encode()) < BUYER_SECRET_BYTES_MIN:
        client.fail(f"the buyer secret has fewer than {BUYER_SECRET_BYTES_MIN} bytes; no gate would accept the token")
    audience = os.environ.get("DOORBUSTER_BUYER_AUDIENCE") or "doorbuster"
    print(sign(secret, user, audience=audience, now_s=wall_ms() // 1000, ttl_s=ttl))


@token_app.command()
def operator(
    show: Annotated[bool, typer.Option("--show", help="Print the token itself.")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Say where the operator's token is."""
    file = client.data_dir(data_dir) / "admin-token"
    if show:
        print(client.secret_from("DOORBUSTER_ADMIN_TOKEN", file))
    elif os.environ.get("DOORBUSTER_ADMIN_TOKEN"):
        print("DOORBUSTER_ADMIN_TOKEN")
    elif file.exists():
        print(file.absolute())
    else:
        client.fail(f"there is no {file.absolute()}; `doorbuster up` makes it, or set DOORBUSTER_ADMIN_TOKEN")
