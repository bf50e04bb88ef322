"""Blocking a million accounts of a sale, as an operator does it: one CSV over HTTP."""

import json
import random
import time
import urllib.request
from statistics import median
from typing import Final
from uuid import UUID

from bench.report import Report, Target, spread
from bench.shop import TOKEN, Shop, shop

ACCOUNTS: Final = 1_000_000
ROUNDS: Final = 3
_PATIENCE_S: Final = 300


def blocklist(_seconds: float) -> Report:
    """A new list each round, in no order; then the same one again, of which nothing is new."""
    new_s, again_s = list[float](), 0.0
    with shop() as running:
        for number in range(ROUNDS):
            sale_id, accounts = running.sale(1), _accounts(number)
            new_s.append(_put(running, sale_id, accounts, added=ACCOUNTS))
            again_s = _put(running, sale_id, accounts, added=0)
    target = Target(
        id="blocked",
        text=f"{ACCOUNTS:,} blocked accounts by CSV until PostgreSQL and Valkey have them",
        measured=median(new_s),
        bound=10,
        sense="at most",
        unit=" s",
        note=f"{ROUNDS} rounds: {spread(new_s)}",
    )
    lines = [f"new    {median(new_s):.1f} s", f"again  {again_s:.1f} s, the same list, in the last round"]
    return Report(title="A million blocked accounts", lines=lines, targets=[target])


def _accounts(seed: int) -> bytes:
    chance = random.Random(seed)
    return b"user_id\n" + b"\n".join(str(UUID(int=chance.getrandbits(128))).encode() for _ in range(ACCOUNTS))


def _put(running: Shop, sale_id: str, accounts: bytes, *, added: int) -> float:
    """Seconds until it is answered; the answer has to be right."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}/v1/admin/sales/{sale_id}/blocklist",
        accounts,
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/csv"},
        method="PUT",
    )
    begun = time.monotonic()
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
        told = json.loads(answer.read())
    took = time.monotonic() - begun
    if (told["added"], told["total"]) != (added, ACCOUNTS):
        raise SystemExit(f"bench: the list was not taken as it is: {told}")
    return took
