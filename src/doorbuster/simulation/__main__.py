"""`python -m doorbuster.simulation [race|queue|draw] [FIRST [LAST]]`: run worlds, print each that broke a promise.

Exit code 1 if any did.
"""

import sys
from collections import Counter

import structlog

from doorbuster.domain.sale import SaleMode
from doorbuster.simulation.worlds import simulate


def main() -> int:
    """Run the seeds of the command line; without any, the first hundred."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    words = sys.argv[1:]
    mode = SaleMode(words.pop(0)) if words and not words[0].isdigit() else SaleMode.RACE
    numbers = [int(word) for word in words] or [0, 99]
    first, last = numbers[0], numbers[-1]
    sometimes: Counter[str] = Counter()
    broken = 0
    for seed in range(first, last + 1):
        finding = simulate(seed, mode=mode)
        sometimes.update(finding.sometimes)
        if finding.broken:
            broken += 1
            print(f"seed {seed}: {'; '.join(finding.broken)}\n  {finding.plan}")
    reached = ", ".join(f"{name} {count}" for name, count in sometimes.most_common())
    print(f"worlds {first} to {last}: {broken} broke a promise\nreached: {reached}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
