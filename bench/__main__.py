"""`make bench`: measures Doorbuster on this machine and says which targets are met.

Everything is told as a ratio within one run, because figures of two machines, or of two moments of a shared one, say
little about each other. Nothing is installed: what is missing is named.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.blocklist import blocklist
from bench.cold import cold, first_demo
from bench.compare import compare
from bench.decision import decision
from bench.draw import draw
from bench.grants import grants
from bench.line_memory import line_memory
from bench.live import live
from bench.machine import describe
from bench.orders import orders
from bench.refusal import refusal
from bench.report import Report, Target, table

BENCHES: Final[Mapping[str, Callable[[float], Report]]] = {
    "cold": cold,
    "refusal": refusal,
    "decision": decision,
    "orders": orders,
    "memory": line_memory,
    "draw": draw,
    "grants": grants,
    "live": live,
    "compare": compare,
    "blocklist": blocklist,
    "first-demo": first_demo,
}
PAGE: Final = Path("docs/performance.md")
USUAL: Final = ("cold", "refusal", "decision", "orders", "memory", "grants", "live", "compare")
"""Not among them: first-demo, which downloads."""


def main() -> int:
    """Run the named ones, or the usual ones; print as we go; write the same to bench/results/."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHES)}")
    parser.add_argument("--publish", action="store_true", help="write the figures into docs/performance.md, too")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load lasts")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench is named {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    told: list[str] = []

    def tell(*lines: str) -> None:
        print("\n".join(lines), flush=True)
        told.extend(lines)

    tell(
        f"date     {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        *describe(),
        f"command  make bench ARGS={' '.join(sys.argv[1:])!r}",
    )
    targets: list[Target] = []
    for name in asked.names or USUAL:
        report = BENCHES[name](asked.seconds)
        tell("", f"== {report.title}", *report.lines)
        targets += report.targets
    tell("", "== Targets", *table(targets))
    results = Path("bench/results")
    results.mkdir(exist_ok=True)
    (results / "latest.txt").write_text("\n".join(told) + "\n")
    if asked.publish:
        _publish("\n".join(told))
    return 0


def _publish(text: str) -> None:
    page = PAGE.read_text()
    block = f"<!-- figures -->\n\n```\n{text}\n```\n\n<!-- end -->"
    PAGE.write_text(re.sub(r"<!-- figures -->.*?<!-- end -->", lambda _: block, page, flags=re.DOTALL))


if __name__ == "__main__":
    sys.exit(main())
