"""`doorbuster gateway`: the simulated payment gateway as a process of its own.

Owns: the check of its options. Read next: `adapters/payments/simulated_server.py`.
"""

import sys
from pathlib import Path

from doorbuster.adapters.payments.simulated_chaos import LEVELS, Chaos
from doorbuster.adapters.payments.simulated_server import run
from doorbuster.cli.settings import read


def serve(
    host: str,
    port: int,
    book: Path,
    *,
    seed: int,
    chaos: str,
    decline: float,
    webhook_url: str,
    port_file: Path | None,
) -> None:
    """Serve until it is told to stop. An option that cannot be is said in one line, exit code 2."""
    secrets = read().gateway_webhook_secrets.get_secret_value().split()
    problem = ""
    if chaos not in LEVELS:
        problem = f"--chaos {chaos}: it has to be one of {', '.join(LEVELS)}"
    elif not 0 <= decline <= 1:
        problem = f"--decline {decline}: it is a share, from 0 to 1"
    elif webhook_url and not secrets:
        problem = "webhooks need DOORBUSTER_GATEWAY_WEBHOOK_SECRETS, the same for the gates"
    if problem:
        print(f"doorbuster gateway: {problem}", file=sys.stderr)
        raise SystemExit(2)
    run(
        host,
        port,
        book,
        seed=seed,
        chaos=Chaos(chaos, seed=seed, decline=decline),
        webhook_url=webhook_url,
        webhook_secret=secrets[0] if secrets else "",
        port_file=port_file,
    )
