"""CPU time and memory of processes and of whole families of processes, read from /proc."""

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children that have ended."""
    return sum(map(int, _stat(pid)[11:15])) / TICKS_PER_SECOND


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children[int(_stat(int(entry.name))[1])].append(int(entry.name))
            except OSError:
                continue  # it has ended meanwhile
    found = [pid]
    for member in found:
        found += children[member]
    return found


def family_cpu_seconds(pid: int) -> float:
    """CPU time of a process and all that descend from it."""
    total = 0.0
    for member in family(pid):
        try:
            total += cpu_seconds(member)
        except OSError:
            continue
    return total


def command_line(pid: int) -> str:
    """What `ps` shows."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def memory_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def busy_share(seconds: float = 0.5) -> float:
    """How much of the machine is in use right now, from 0 to 1; for saying that a measurement was disturbed."""
    before, idle_before = _machine()
    time.sleep(seconds)
    after, idle_after = _machine()
    return 1 - (idle_after - idle_before) / max(1, after - before)


def _machine() -> tuple[int, int]:
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; the name before them may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
