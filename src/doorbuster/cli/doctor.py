"""`doorbuster doctor`: looks for what voids a promise, and says what to do.

Owns: the list of checks. What is wrong with a server's settings is known to its adapter; here it is asked and shown.
Nothing is changed. Read next: `doctor_servers.py`.
"""

import asyncio
import platform
import resource
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from doorbuster import __version__
from doorbuster.adapters.embedded.paths import DataDir
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
from doorbuster.adapters.embedded.valkey import EmbeddedValkey
from doorbuster.cli.doctor_servers import postgres_findings, valkey_findings
from doorbuster.cli.findings import Finding, Mark
from doorbuster.cli.secrets import BUYER_SECRET_BYTES_MIN
from doorbuster.cli.settings import read
from doorbuster.config import Settings

_ADMIN_TOKEN_BYTES_MIN: Final = 16
_DISTINCT_MIN: Final = 8
"""A secret of fewer different characters was typed, not drawn."""
_FREE_BYTES_MIN: Final = 2_000_000_000
_FILES_MIN: Final = 10_000
"""A gate has an open file per connection, and thousands of buyers come in one second."""
_BACKLOG_MIN: Final = 4_096


def run(*, data_dir: Path | None, as_json: bool) -> int:
    """Print what was found; the exit code is 1 if a promise does not hold."""
    settings = read(data_dir=data_dir)
    found = asyncio.run(examine(settings))
    broken = [finding for finding in found if finding.mark is Mark.BROKEN]
    if as_json:
        document = {"verdict": "broken" if broken else "ok", "findings": found}
        print(msgspec.json.format(msgspec.json.encode(document)).decode())
    else:
        _show(found)
        print(f"{len(broken)} to mend." if broken else "Nothing voids a promise.")
    return 1 if broken else 0


async def examine(settings: Settings) -> list[Finding]:
    """Every check, in the order a person would look."""
    data = DataDir(settings.data_dir)
    database_url = settings.database_url or EmbeddedPostgres(data.postgres, log=data.logs / "postgres.log").url
    valkey_url = settings.valkey_url or EmbeddedValkey(data.valkey, log=data.logs / "valkey.log").url
    servers = await asyncio.gather(postgres_findings(database_url), valkey_findings(valkey_url))
    versions = f"Doorbuster {__version__}, Python {platform.python_version()}, {platform.system()}"
    return [
        Finding("versions", Mark.OK, versions),
        *servers[0],
        *servers[1],
        *_servers_of_ours(settings),
        *_secrets(settings, data.root),
        *_exposure(settings),
        *_machine(data.root),
    ]


def _servers_of_ours(settings: Settings) -> Iterator[Finding]:
    if not settings.database_url or not settings.valkey_url:
        told = "embedded: for trying and for small shops; give the addresses of servers of your own for more"
        yield Finding("servers", Mark.NOTE, told)
    if settings.payment_gateway == "simulated":
        yield Finding("payments", Mark.NOTE, "the simulated gateway moves no money; set DOORBUSTER_PAYMENT_GATEWAY")


def _secrets(settings: Settings, root: Path) -> Iterator[Finding]:
    """Both secrets, wherever they are kept."""
    admin, admin_problem = _secret(settings.admin_token.get_secret_value(), root / "admin-token")
    yield _judged("operator token", admin, admin_problem, _ADMIN_TOKEN_BYTES_MIN, "DOORBUSTER_ADMIN_TOKEN")
    if settings.buyer_jwks_url and not settings.buyer_secret.get_secret_value():
        yield Finding("buyer tokens", Mark.OK, "checked by the shop's published keys")
        return
    buyer, buyer_problem = _secret(settings.buyer_secret.get_secret_value(), root / "buyer-secret")
    yield _judged("buyer secret", buyer, buyer_problem, BUYER_SECRET_BYTES_MIN, "DOORBUSTER_BUYER_SECRET")


def _secret(given: str, file: Path) -> tuple[str, str]:
    """The secret, and what is wrong with the way it is kept."""
    if given:
        return given, ""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text().strip()
    except FileNotFoundError:
        return "", f"there is none; `doorbuster up` makes {file}"
    except OSError as problem:
        return "", f"{file} cannot be read ({problem.strerror}); run the doctor as the account that runs doorbuster"
    return text, f"{file} can be read by others; chmod 600 it, and change the secret" if mode & 0o077 else ""


def _judged(about: str, secret: str, problem: str, bytes_min: int, name: str) -> Finding:
    if problem:
        return Finding(about, Mark.BROKEN, problem)
    if len(secret.encode()) < bytes_min:
        return Finding(about, Mark.BROKEN, f"is shorter than {bytes_min} bytes: set {name} to a long random one")
    if len(set(secret)) < _DISTINCT_MIN:
        return Finding(about, Mark.BROKEN, f"can be guessed: set {name} to a long random one")
    return Finding(about, Mark.OK, "long enough")


def _exposure(settings: Settings) -> Iterator[Finding]:
    if not settings.dev_identities:
        return
    if settings.host.startswith("127.") or settings.host in {"localhost", "::1"}:
        yield Finding("identities", Mark.NOTE, "anyone on this machine gets a buyer token (DEV_IDENTITIES)")
    else:
        told = f"anyone who reaches {settings.host} may be any buyer: unset DOORBUSTER_DEV_IDENTITIES"
        yield Finding("identities", Mark.BROKEN, told)


def _machine(root: Path) -> Iterator[Finding]:
    if root.exists():
        free = shutil.disk_usage(root).free
        told = f"{free / 1e9:.1f} GB free at {root}"
        enough = free >= _FREE_BYTES_MIN
        yield Finding("disk", Mark.OK if enough else Mark.NOTE, told if enough else f"{told}; make room before a sale")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= files < _FILES_MIN:
        told = f"a process may open {files} files, so a gate serves fewer connections; raise `ulimit -n`"
        yield Finding("open files", Mark.NOTE, told)
    backlog = Path("/proc/sys/net/core/somaxconn")
    if backlog.exists() and int(backlog.read_text()) < _BACKLOG_MIN:
        told = f"only {backlog.read_text().strip()} connections may wait to be accepted; raise net.core.somaxconn"
        yield Finding("backlog", Mark.NOTE, told)


def _show(found: list[Finding]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    colors = {Mark.OK: "green", Mark.NOTE: "yellow", Mark.BROKEN: "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in found:
        table.add_row(Text(finding.mark.value, style=colors[finding.mark]), finding.about, Text(finding.detail))
    Console(width=None if sys.stdout.isatty() else 250).print(table)
