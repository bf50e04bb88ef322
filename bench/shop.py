"""A whole Doorbuster on a fresh data directory, as `doorbuster up` makes it, and what a bench needs to know of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from bench.constant import free_port
from bench.load import Plan, buyer_token
from bench.processes import command_line, family

SECRET: Final = "bench-" * 8
TOKEN: Final = "bench-operator-token-of-32-letters"
READY_PATIENCE_S: Final = 60.0


class Shop:
    """A running one. `ready_s` is how long it took from the command to the first 200 of /readyz."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, ready_s: float) -> None:
        self.process = process
        self.port = port
        self.ready_s = ready_s

    def pids(self, word: str) -> list[int]:
        """Processes of this shop whose command line begins with these words."""
        return [pid for pid in family(self.process.pid) if word in command_line(pid)[:200]]

    def one(self, word: str) -> int:
        """The first process with these words; of PostgreSQL that is the parent of all others."""
        found = self.pids(word)
        if not found:
            raise SystemExit(f"bench: no process of `doorbuster up` shows {word!r}")
        return found[0]

    def watched(self) -> dict[str, list[int]]:
        """The families whose CPU time is told apart."""
        return {
            "gate": self.pids("doorbuster gate "),
            "worker": self.pids("doorbuster worker"),
            "valkey": [self.one("valkey-server")],
            "postgres": [self.one("postgres")],
        }

    @property
    def database_url(self) -> str:
        """The embedded PostgreSQL, found by the command line it was started with."""
        words = command_line(self.one("postgres")).split()
        return f"postgresql://doorbuster@/doorbuster?host={quote(words[words.index('-k') + 1], safe='')}"

    @property
    def valkey_url(self) -> str:
        """The embedded Valkey, found by the title it gives itself."""
        return "unix://" + command_line(self.one("valkey-server")).partition("unixsocket:")[2].split()[0]

    def call(self, method: str, path: str, body: object = None, token: str = TOKEN, key: str = "") -> Any:
        """A request as the operator, or as a buyer; the decoded answer."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as problem:
            raise SystemExit(f"bench: {method} {path}: {problem.code} {problem.read().decode()}") from problem

    def sale(self, quantity: int) -> str:
        """A sale that is open now; its id."""
        now = datetime.now(UTC)
        sale = self.call(
            "POST",
            "/v1/admin/sales",
            {
                "product_id": "bench",
                "title": "Bench",
                "quantity_available": quantity,
                "price_cents": 4900,
                "currency": "USD",
                "start_time": (now - timedelta(seconds=1)).isoformat(),
                "end_time": (now + timedelta(hours=1)).isoformat(),
                "mode": "race",
                "checkout_ttl_seconds": 3600,
            },
        )
        sale_id = str(sale["sale_id"])
        end = time.monotonic() + READY_PATIENCE_S
        while self.call("GET", f"/v1/sales/{sale_id}")["status"] != "ACTIVE" and time.monotonic() < end:
            time.sleep(0.1)
        return sale_id

    def plan(self, sale_id: str, **more: Any) -> Plan:
        """Orders for this sale, each of another buyer."""
        return Plan(port=self.port, sale_id=sale_id, secret=SECRET, **more)

    def sell_out(self, sale_id: str, quantity: int) -> None:
        """Reserve and pay every unit."""
        plan = self.plan(sale_id)
        for number in range(quantity):
            user = f"paying-{number}"
            token = buyer_token(plan, user)
            order = self.call("POST", f"/v1/sales/{sale_id}/orders", {"quantity": 1}, token, user)
            self.call("POST", f"/v1/orders/{order['order_id']}/payment", {"payment_method": "pm_ok"}, token, user)


@contextlib.contextmanager
def shop(*, gates: int = 1, data_dir: Path | None = None) -> Generator[Shop]:
    """Start one, and stop it in order."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-", ignore_cleanup_errors=True) as home:
        folder = data_dir or Path(home)
        folder.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOORBUSTER_")}
        environment |= {"DOORBUSTER_BUYER_SECRET": SECRET, "DOORBUSTER_ADMIN_TOKEN": TOKEN}
        command = [Path(sys.executable).with_name("doorbuster"), "up", "--port", str(port), "--gates", str(gates)]
        begun = time.monotonic()
        with (folder / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--data-dir", str(folder / "data")], stdout=log, stderr=log, env=environment
            )
        try:
            _wait_until_ready(port, process, folder / "up.log")
            yield Shop(process, port, time.monotonic() - begun)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + READY_PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"bench: `doorbuster up` is not ready; it said:\n{log.read_text()[-4000:]}")
        time.sleep(0.02)
