"""Makes a virtual environment and installs one hashed requirements file into it, showing how far it is.

Owns: how packages get onto the machine. Only wheels, only pinned hashes, no dependency is looked up: what the file
does not name is not installed. Standard library only, since it runs before anything is there.
    python tools/install.py .venv requirements/runtime.txt [--editable]
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
FROM_HASHES = ["--require-hashes", "--only-binary", ":all:", "--no-compile"]
"""`--no-compile`: byte code is made for what is really imported (`WARM_UP`), which saves 10 seconds of 38."""
PIP_ITSELF = Path("requirements/pip.txt")
"""The pip that comes with Python 3.11 reads the index's lists three times slower; if this fails, the old one does."""
WARM_UP = """
import contextlib, importlib
for name in ("doorbuster.bootstrap.gate", "doorbuster.bootstrap.worker", "doorbuster.cli.up",
             "doorbuster.cli.demo", "doorbuster.rehearsal.crowd",
             "doorbuster.adapters.payments.simulated_server", "alembic.command", "alembic.config"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
"""


def main() -> int:
    """Install, and answer with the exit code of what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("venv", type=Path)
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--editable", action="store_true", help="also install this project, in place")
    asked = parser.parse_args()
    started = time.monotonic()
    python = asked.venv / "bin" / "python"
    if not _has_pip(python):
        _say(f"making {asked.venv} with Python {sys.version.split()[0]}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(asked.venv)], check=True)
        _install(python, PIP_ITSELF)
    code = _install(python, asked.requirements)
    if code == 0 and asked.editable:
        _say("installing doorbuster itself")
        code = subprocess.run(
            [python, *PIP, "--quiet", "--no-cache-dir", "--no-index", "--no-build-isolation", "--editable", "."],
            check=False,
        ).returncode
        subprocess.run([python, "-c", WARM_UP], check=False)
    if code == 0:
        _say(f"{asked.requirements} is installed in {asked.venv}, {time.monotonic() - started:.0f} s")
    return code


def _has_pip(python: Path) -> bool:
    """False also for an environment whose making was interrupted, or whose Python is gone."""
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _install(python: Path, requirements: Path) -> int:
    total = len(re.findall(r"^[A-Za-z0-9]", requirements.read_text(), re.MULTILINE))
    command = [python, *PIP, *FROM_HASHES, "--requirement", str(requirements)]
    tail: deque[str] = deque(maxlen=25)
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            tail.append(line)
            if match := re.match(r"(?:Collecting|Requirement already satisfied:|Ignoring) ([^\s:(]+)", line):
                done += 1
                _progress(f"{requirements}: {done} of {total}, {match[1]}")
            elif line.startswith("Installing collected"):
                _progress(f"{requirements}: all {total} here, unpacking")
    _progress("")
    if pip.returncode != 0:
        sys.stderr.writelines(tail)
        sys.stderr.write(
            "\nThe installation failed; above is what pip said. Run the same command again to go on where it stopped.\n"
            "Behind a proxy or a mirror: pip reads its usual settings (pip config, PIP_INDEX_URL, HTTPS_PROXY).\n"
        )
    return pip.returncode


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _progress(text: str) -> None:
    """One line that moves, on a terminal; elsewhere only the first line and each twentieth part are worth keeping."""
    if sys.stdout.isatty():
        columns = os.get_terminal_size().columns - 4
        print(f"\r\033[K  {text[:columns]}", end="", flush=True)
    elif re.search(r": (?:1|\d*[02468]0) of ", text) or "unpacking" in text:
        _say(text)


if __name__ == "__main__":
    raise SystemExit(main())
