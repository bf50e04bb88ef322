"""`doorbuster up`: everything on one machine, until a signal."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

from doorbuster import telemetry
from doorbuster.adapters.embedded.errors import EmbeddedError
from doorbuster.cli.settings import read, whole
from doorbuster.cli.supervisor import Stack

_SECOND_WISH_S: Final = 0.5


def run(
    *,
    port: int | None,
    host: str | None,
    gates: int | None,
    data_dir: Path | None,
    dev_identities: bool | None,
    log_format: str | None,
) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit code: 0 after a clean stop, 2 if it cannot start."""
    settings = whole(
        read(port=port, host=host, gates=gates, data_dir=data_dir, dev_identities=dev_identities, log_format=log_format)
    )
    telemetry.configure_logging(settings, process="up")
    return asyncio.run(_run(Stack(settings)))


async def _run(stack: Stack) -> int:
    stop = _on_signals()
    start = asyncio.get_running_loop().create_task(stack.start())
    stopped = asyncio.get_running_loop().create_task(stop.wait())
    await asyncio.wait([start, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)  # it cleans up behind itself
        return 0
    try:
        start.result()
    except EmbeddedError as problem:
        print(f"doorbuster: {problem}", file=sys.stderr)
        stopped.cancel()
        return 2
    print(summary(stack), flush=True)
    await stopped
    print("stopping …", flush=True)
    await stack.stop()
    return 0


def _on_signals() -> asyncio.Event:
    """Set by the first signal that asks for an end. Ctrl-C a moment later waits for nobody."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    first_at: list[float] = []

    def asked(number: signal.Signals) -> None:
        # A terminal or `timeout` may send the same wish twice at once; a person cannot.
        again = bool(first_at) and loop.time() - first_at[0] > _SECOND_WISH_S
        if again and number is signal.SIGINT and sys.platform == "linux":
            os._exit(1)  # everything below dies with us, and what is committed is committed
        first_at.append(loop.time())
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` means it
            loop.add_signal_handler(number, asked, number)
    return stop


def summary(stack: Stack) -> str:
    """What a person wants to know when everything is up."""
    data = stack.data.root
    token = "DOORBUSTER_ADMIN_TOKEN" if stack.settings.admin_token.get_secret_value() else str(data / "admin-token")
    servers = [
        f"PostgreSQL {'embedded' if stack.postgres else 'given'}",
        f"Valkey {'embedded' if stack.valkey else 'given'}",
        f"{len(stack.gates)} gate{'s' if len(stack.gates) != 1 else ''}",
        "1 worker",
    ]
    lines = [
        f"Doorbuster is up at {stack.url}",
        f"  documentation   {stack.url}/docs",
        f"  operator token  {token}",
        f"  data            {data}",
        f"  running         {', '.join(servers)}",
    ]
    if stack.settings.dev_identities:
        lines.append(f"  buyer tokens    POST {stack.url}/v1/dev/buyers: anyone may have one, never do this in public")
    if stack.postgres or stack.valkey:
        lines.append("  Embedded servers are for trying and for small shops: set DOORBUSTER_DATABASE_URL and")
        lines.append("  DOORBUSTER_VALKEY_URL to use your own.")
    lines.append("Ctrl-C stops everything; the data stays.")
    return "\n".join(lines)
