"""Every order is as likely as every other, and the test that says so notices methods of which that is not true."""

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import permutations

from doorbuster.domain.draw import draw, order_of, root_of

ENTRIES = 4
DRAWS = 24 * 1_000
LIMIT = 70.0
"""Chi-square with 23 degrees of freedom is above this once in a million fair experiments; the seeds are fixed, so the
test passes always or never."""

Method = Callable[[int], tuple[int, ...]]


def chi_square(method: Method, draws: int = DRAWS) -> float:
    """How far the orders of many draws are from equally frequent."""
    seen = Counter(method(number) for number in range(draws))
    expected = draws / math.factorial(ENTRIES)
    orders = list(permutations(range(ENTRIES)))
    assert set(seen) <= set(orders)
    return sum((seen[order] - expected) ** 2 / expected for order in orders)


def seed(number: int) -> bytes:
    return hashlib.sha256(f"seed {number}".encode()).digest()


IDS = b"".join(sorted(hashlib.sha256(bytes([number])).digest()[:16] for number in range(ENTRIES)))
ROOT = root_of(IDS)


def by_seed(number: int) -> tuple[int, ...]:
    return tuple(order_of(draw(IDS, seed(number), ROOT, b"")))


def by_beacon(number: int) -> tuple[int, ...]:
    """One seed, known to the shop; only the beacon differs."""
    return tuple(order_of(draw(IDS, bytes(32), ROOT, seed(number))))


def by_list(number: int) -> tuple[int, ...]:
    """Seed and beacon as they are; other people enter."""
    ids = b"".join(sorted(hashlib.sha256(f"{number} {buyer}".encode()).digest()[:16] for buyer in range(ENTRIES)))
    return tuple(order_of(draw(ids, bytes(32), root_of(ids), b"")))


def by_few_numbers(number: int) -> tuple[int, ...]:
    """Sorted by a random byte modulo 10: equal ones stay in the order of the list."""
    keys = [byte % 10 for byte in seed(number)[:ENTRIES]]
    return tuple(sorted(range(ENTRIES), key=keys.__getitem__))


def by_naive_swaps(number: int) -> tuple[int, ...]:
    """Each place swapped with any place: 4 to the 4th outcomes do not divide by 24."""
    chance = random.Random(number)
    order = list(range(ENTRIES))
    for place in range(ENTRIES):
        other = chance.randrange(ENTRIES)
        order[place], order[other] = order[other], order[place]
    return tuple(order)


def by_random_comparisons(number: int) -> tuple[int, ...]:
    """Sorted with a comparison that throws a coin."""
    from functools import cmp_to_key

    chance = random.Random(number)
    return tuple(sorted(range(ENTRIES), key=cmp_to_key(lambda _, __: chance.choice([-1, 1]))))


def by_modulo(number: int) -> tuple[int, ...]:
    """The n-th of all orders, n being five random bits modulo 24: 32 is no multiple of it."""
    return list(permutations(range(ENTRIES)))[seed(number)[0] % 32 % 24]


def test_every_order_is_equally_likely_by_seed() -> None:
    assert chi_square(by_seed) < LIMIT


def test_every_order_is_equally_likely_by_beacon() -> None:
    assert chi_square(by_beacon) < LIMIT


def test_every_order_is_equally_likely_by_list() -> None:
    assert chi_square(by_list) < LIMIT


def test_biased_methods_fail_the_same_test() -> None:
    for method in (by_few_numbers, by_naive_swaps, by_random_comparisons, by_modulo):
        assert chi_square(method) > 2 * LIMIT, method.__name__


def test_every_place_is_equally_likely_in_a_larger_draw() -> None:
    """Fifty entries: how often each has each number, 49 times 49 degrees of freedom."""
    count, draws = 50, 5_000
    ids = b"".join(sorted(hashlib.sha256(bytes([number])).digest()[:16] for number in range(count)))
    root = root_of(ids)
    seen: Counter[tuple[int, int]] = Counter()
    for number in range(draws):
        seen.update(enumerate(order_of(draw(ids, seed(number), root, b""))))

    expected = draws / count
    distance = sum((seen[place, index] - expected) ** 2 / expected for place in range(count) for index in range(count))

    freedom = (count - 1) ** 2
    assert abs(distance - freedom) < 5 * math.sqrt(2 * freedom)
