"""A whole shop as its operator runs it: `doorbuster up` in a process of its own, and a crowd that buys over real HTTP.

The tests here break things under it with signals and look at what is left through the same doors a user has.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import msgspec
import psutil

SECRET: Final = "a secret of the tests, thirty-two bytes long at least"
ADMIN: Final = "operator-token-of-the-tests-0123456789"
Answer = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Shop:
    """`doorbuster up` on a data directory. `start` again after `stop` finds the same data. `settings`: more of them."""

    def __init__(self, data_dir: Path, *, gates: int = 1, settings: Mapping[str, str] | None = None) -> None:
        self._settings = settings or {}
        self.data_dir = data_dir
        self.port = free_port()
        self.gates = gates
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = data_dir.parent / f"{data_dir.name}.log"

    async def start(self) -> None:
        environment = {
            **os.environ,
            "DOORBUSTER_BUYER_SECRET": SECRET,
            "DOORBUSTER_ADMIN_TOKEN": ADMIN,
            "DOORBUSTER_LOG_FORMAT": "json",
            **self._settings,
        }
        command = [sys.executable, "-m", "doorbuster", "up", "--port", str(self.port), "--gates", str(self.gates)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once; the wait below is awaited
                [*command, "--data-dir", str(self.data_dir)], env=environment, stdout=log, stderr=log
            )
        await self.ready()

    async def ready(self, within_s: float = 60.0) -> None:
        end = time.monotonic() + within_s
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < end:
                if self._process is not None and self._process.poll() is not None:
                    raise AssertionError(f"up ended with {self._process.returncode}:\n{self.log_tail()}")
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(total=1)) as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)
        raise AssertionError(f"not ready within {within_s} s:\n{self.log_tail()}")

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-4_000:] if self._log.exists() else ""

    def stop(self) -> None:
        """As an operator would: SIGTERM, and everything is gone when it returns."""
        if self._process is None:
            return
        family = self._family()
        self._process.terminate()
        try:
            self._process.wait(30)
        finally:
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process = None

    def kill_all(self) -> None:
        """The machine loses power: every process of the shop gets SIGKILL at once."""
        assert self._process is not None
        for process in [*self._family(), psutil.Process(self._process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(10)
        self._process = None

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def supervisor(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def pids(self, what: str) -> list[int]:
        """Pids of the processes that `ps` shows as this: `doorbuster gate`, `doorbuster worker`, `valkey-server`,
        `postgres` (the postmaster only)."""
        found: list[int] = []
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                line = " ".join(process.cmdline())
                is_postmaster = what != "postgres" or "postgres:" not in line
                if what in line and is_postmaster and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def signal(self, what: str, number: int = signal.SIGKILL) -> list[int]:
        """Send a signal to every process of this kind; returns the pids."""
        pids = self.pids(what)
        assert pids, f"no process looks like {what!r}"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    async def replaced(self, what: str, old: list[int], within_s: float = 30.0) -> None:
        """Wait until the supervisor has put new processes in the place of these."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            now = self.pids(what)
            if now and not set(now) & set(old):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{what} was not restarted within {within_s} s:\n{self.log_tail()}")


@contextlib.asynccontextmanager
async def open_shop(where: Path, *, gates: int = 1, settings: Mapping[str, str] | None = None) -> AsyncGenerator[Shop]:
    shop = Shop(where / "data", gates=gates, settings=settings)
    try:
        await shop.start()
        yield shop
    finally:
        shop.stop()
        shutil.rmtree(shop.data_dir, ignore_errors=True)


class Operator:
    """The operator's side of the API."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession) -> None:
        self._shop = shop
        self._session = session
        self._headers = {"Authorization": f"Bearer {ADMIN}"}

    async def call(self, method: str, path: str, body: Answer | None = None) -> tuple[int, Answer]:
        url = f"{self._shop.url}/v1/admin{path}"
        async with self._session.request(method, url, json=body, headers=self._headers) as response:
            return response.status, json.loads(await response.read() or b"{}")

    async def create_sale(self, **terms: object) -> str:
        now = datetime.now(UTC)
        body = {
            "product_id": "sneaker",
            "title": "Sneaker",
            "quantity_available": 100,
            "price_cents": 0,
            "currency": "EUR",
            "start_time": (now - timedelta(seconds=1)).isoformat(),
            "end_time": (now + timedelta(hours=1)).isoformat(),
            "mode": "race",
            "per_user_limit": 1,
            "checkout_ttl_seconds": 600,
            **terms,
        }
        status, sale = await self.call("POST", "/sales", body)
        assert status == 201, sale
        sale_id: str = sale["sale_id"]
        return sale_id

    async def _until_answered(self, method: str, path: str, within_s: float = 30.0) -> Answer:
        """Right after a kill a store may not answer yet: the promise is seconds, not never (I16)."""
        end = time.monotonic() + within_s
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                status, answer = await self.call(method, path)
                if status != 503:
                    assert status == 200, answer
                    return answer
            assert time.monotonic() < end, f"{path} is not answered within {within_s} s"
            await asyncio.sleep(0.1)

    async def orders(self, sale_id: str) -> list[Answer]:
        """Every order of the sale, page by page."""
        found: list[Answer] = []
        cursor = ""
        while True:
            query = f"?limit=1000&cursor={cursor}" if cursor else "?limit=1000"
            page = await self._until_answered("GET", f"/sales/{sale_id}/orders{query}")
            found += page["orders"]
            cursor = page.get("next_cursor") or ""
            if not cursor:
                return found

    async def audit(self, sale_id: str) -> Answer:
        status, report = await self.call("POST", f"/sales/{sale_id}/audit", {})
        assert status == 200, report
        return report

    async def in_step(self, sale_id: str, within_s: float) -> Answer:
        """The report of the first audit that is in step; every report until then is a step on the way."""
        end = time.monotonic() + within_s
        report: Answer = {}
        while time.monotonic() < end:
            with contextlib.suppress(aiohttp.ClientError, AssertionError):
                report = await self.audit(sale_id)
                if report["verdict"] == "in_step":
                    return report
            await asyncio.sleep(0.5)
        raise AssertionError(f"not in step within {within_s} s: {report}")


class Crowd(msgspec.Struct, kw_only=True):
    """What a crowd did, as its own clients saw it."""

    acknowledged: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """order id to buyer, of every 201"""
    refusals: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    unknown: int = 0
    """requests whose answer never came; each was repeated with its key"""


def buyer_token(user_id: str) -> str:
    claims = {"sub": user_id, "aud": "doorbuster", "exp": int(time.time()) + 3600}
    return jwt.encode(claims, SECRET, algorithm="HS256")


class _Buyer:
    """Asks with one key until it has an order or nobody can get one any more."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession, sale_id: str, user_id: str, crowd: Crowd) -> None:
        self._url = f"{shop.url}/v1/sales/{sale_id}/orders"
        self._session = session
        self._user_id = user_id
        self._crowd = crowd
        self._headers = {"Authorization": f"Bearer {buyer_token(user_id)}", "Idempotency-Key": f"key of {user_id}"}

    async def buy(self, enough: Callable[[], bool]) -> None:
        while not enough():
            try:
                async with self._session.post(self._url, json={"quantity": 1}, headers=self._headers) as response:
                    body = json.loads(await response.read())
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                self._crowd.unknown += 1
                await asyncio.sleep(0.05)
                continue
            if response.status == 201:
                self._crowd.acknowledged[body["order_id"]] = self._user_id
                return
            code = body.get("code", str(response.status))
            self._crowd.refusals[code] = self._crowd.refusals.get(code, 0) + 1
            if code in {"sold-out", "ended", "already-purchased", "blocked", "not-found"}:
                return
            await asyncio.sleep(0.1 if code in {"unavailable", "paused"} else 0.3)


@contextlib.asynccontextmanager
async def clients(connections: int = 64) -> AsyncGenerator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def burst(
    shop: Shop,
    sale_id: str,
    *,
    buyers: int,
    units: int,
    per_user_limit: int = 1,
    trouble: Callable[[Crowd], Coroutine[Any, Any, None]] | None = None,
    patience_s: float = 60.0,
) -> Crowd:
    """Everybody buys at once; `trouble` runs beside them. Ends when as many orders are acknowledged as there are
    units (or can be, by the limit), or when patience is over."""
    crowd = Crowd()
    end = time.monotonic() + patience_s
    wanted = min(units, buyers * per_user_limit)

    def enough() -> bool:
        return len(crowd.acknowledged) >= wanted or time.monotonic() > end

    async with clients() as session:
        work: list[Coroutine[Any, Any, None]] = [
            _Buyer(shop, session, sale_id, f"buyer-{n}", crowd).buy(enough) for n in range(buyers)
        ]
        if trouble is not None:
            work.append(trouble(crowd))
        await asyncio.gather(*work)
    return crowd


async def reached(crowd: Crowd, orders: int, within_s: float = 30.0) -> None:
    """Wait until the crowd has this many orders: the middle of a burst."""
    end = time.monotonic() + within_s
    while len(crowd.acknowledged) < orders:
        if time.monotonic() > end:
            raise AssertionError(f"only {len(crowd.acknowledged)} orders within {within_s} s: {crowd.refusals}")
        await asyncio.sleep(0.001)


async def assert_exact(shop: Shop, sale_id: str, crowd: Crowd, *, units: int, audit_within_s: float = 60.0) -> None:
    """Every unit has a live order, no one has two, every acknowledged order is stored, and the audit agrees."""
    async with clients() as session:
        operator = Operator(shop, session)
        orders = await operator.orders(sale_id)
        report = await operator.in_step(sale_id, audit_within_s)

    live = [order for order in orders if order["status"] in {"RESERVED", "PAID"}]
    buyers = [order["user_id"] for order in live]
    stored = {order["order_id"]: order["user_id"] for order in orders}
    assert len(live) == units, (len(live), crowd.refusals, crowd.unknown)  # I1, I3
    assert len(set(buyers)) == len(buyers), "somebody holds two"  # I6
    assert crowd.acknowledged.items() <= stored.items(), "an acknowledged order is not stored"  # I4
    assert {order["order_id"] for order in live} == set(crowd.acknowledged), "an order nobody was told of owns a unit"
    assert (report["free"], report["held"] + report["sold"]) == (0, units)
