"""Runs the load beside a server and takes the CPU time of every process in the same window."""

import subprocess
import sys
from collections.abc import Mapping, Sequence

import msgspec

from bench.load import Plan, Tally
from bench.processes import family_cpu_seconds


class Measured(msgspec.Struct, kw_only=True):
    """One run: what the crowd was told, and CPU seconds by the name of the process family."""

    tally: Tally
    cpu: dict[str, float]

    def cost_us(self, name: str, answers: int | None = None) -> float:
        """CPU µs of one family per answer."""
        return self.cpu[name] / max(1, answers or self.tally.answers) * 1e6

    @property
    def rate(self) -> float:
        return self.tally.answers / self.tally.seconds


def run(plan: Plan, watched: Mapping[str, Sequence[int]]) -> Measured:
    """Send the plan's load; `watched` maps names to the process ids whose families are measured."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as generator:
        assert generator.stdin is not None
        assert generator.stdout is not None
        generator.stdin.write(msgspec.json.encode(plan))
        generator.stdin.close()
        families = {**watched, "load": [generator.pid]}
        if generator.stdout.readline() != b"begin\n":
            raise SystemExit("bench: the load generator failed")
        before = {name: sum(map(family_cpu_seconds, pids)) for name, pids in families.items()}
        answer = generator.stdout.readline()
        after = {name: sum(map(family_cpu_seconds, pids)) for name, pids in families.items()}
    if not answer:
        raise SystemExit("bench: the load generator failed")
    return Measured(
        tally=msgspec.json.decode(answer, type=Tally), cpu={name: after[name] - before[name] for name in families}
    )
