"""P10: how long one waits: for `doorbuster up` on an empty directory, on a used one, and for a first `make demo`."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from bench.report import Report, Target, spread
from bench.shop import shop

ROUNDS: Final = 3
LEFT_OUT: Final = (".git", ".venv", ".doorbuster", "__pycache__", ".*_cache", ".hypothesis")


def cold(_seconds: float) -> Report:
    """From the command to the first 200 of /readyz."""
    cold_s: list[float] = []
    warm_s: list[float] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="doorbuster-bench-", ignore_cleanup_errors=True) as home:
            with shop(data_dir=Path(home)) as first:
                cold_s.append(first.ready_s)
            with shop(data_dir=Path(home)) as second:
                warm_s.append(second.ready_s)
    target = Target(
        id="P10",
        text="`doorbuster up` on an empty directory until it is ready",
        measured=median(cold_s),
        bound=3,
        sense="at most",
        unit=" s",
        note=f"{ROUNDS} rounds: {spread(cold_s)}",
    )
    lines = [f"cold   {median(cold_s):.2f} s", f"warm   {median(warm_s):.2f} s, the same directory again"]
    return Report(title="Starting", lines=lines, targets=[target])


def first_demo(_seconds: float) -> Report:
    """A copy of this checkout in an empty folder, `make demo` there: environment, installation, servers, sale."""
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-", ignore_cleanup_errors=True) as home:
        copy = Path(home) / "doorbuster"
        shutil.copytree(Path.cwd(), copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        Path(home).chmod(0o755)
        begun = time.monotonic()
        done = subprocess.run(["make", "demo"], cwd=copy, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise SystemExit(f"bench: make demo failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    target = Target(
        id="P10",
        text="first `make demo` in a fresh copy, downloads included",
        measured=seconds,
        bound=90,
        sense="at most",
        unit=" s",
        note="one run; pip may have had the packages in its cache",
    )
    return Report(title="First demo", lines=done.stdout.splitlines()[-6:], targets=[target])
