"""In which order the suite runs.

Owns: that each process begins with its share of the tests that start everything `up` starts, and ends with small ones:
so nobody waits for the last of the long ones. Which of them comes first is left to chance, as for all others.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import pytest

_LONG: Final = (
    "tests/e2e/",
    "tests/external/",
    "tests/faults/",
    "tests/tracing/test_shop.py",
    "tests/cli/test_sale_commands.py",
    "tests/cli/test_up.py",
    "tests/day/test_day.py",
    "tests/day/test_emergencies.py",
    "tests/day/test_rehearsing.py",
    "tests/day/test_worker_kills.py",
    "tests/day/test_wrong_clock.py",
    "tests/live/test_sockets.py",
    "tests/webhooks/test_webhook_commands.py",
)


def long_ones_first(items: Sequence[pytest.Item], processes: int) -> list[pytest.Item]:
    """xdist cuts the list into as many equal parts as there are processes; each begins with long ones. Those of one
    file stay together: what they start is started once."""
    shares: list[list[pytest.Item]] = [[] for _ in range(processes)]
    short_ones: list[pytest.Item] = []
    for file, group in groupby(items, lambda item: item.nodeid.partition("::")[0]):
        (min(shares, key=len) if file.startswith(_LONG) else short_ones).extend(group)
    ordered: list[pytest.Item] = []
    for number, share in enumerate(shares, 1):
        room = max(0, len(items) * number // processes - len(ordered) - len(share))
        ordered += share + short_ones[:room]
        del short_ones[:room]
    return ordered + short_ones
