"""The shop of docs/guides/existing-shop.md, taken from the page and run as it stands there."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp

from faults.shop import ADMIN, free_port
from helpers.waiting import until

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "existing-shop.md"


def program() -> str:
    """The code block of the page."""
    (found,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


class ExistingShop:
    """A running shop. `said` is what it did with money."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    @property
    def said(self) -> list[str]:
        return [
            line for line in self._log.read_text().splitlines() if line.startswith(("authorize", "capture", "void"))
        ]

    async def post(self, path: str, text: object, account: str) -> tuple[int, Any]:
        """The status, and Doorbuster's answer; if the shop did not even ask, why."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/{path}", json={"pass": text}, headers={"X-Account": account}) as answer,
        ):
            return answer.status, await (answer.text() if answer.status == 403 else answer.json())

    async def checkout(self, text: object, account: str = "ann") -> tuple[int, Any]:
        return await self.post("checkout", text, account)

    async def give_up(self, text: object, account: str = "ann") -> tuple[int, Any]:
        return await self.post("give-up", text, account)


@contextlib.asynccontextmanager
async def existing_shop(where: Path, doorbuster: str, **settings: str) -> AsyncGenerator[ExistingShop]:
    port = free_port()
    file, log = where / f"shop-{port}.py", where / f"shop-{port}.log"
    file.write_text(program())
    environment = {"DOORBUSTER_URL": doorbuster, "DOORBUSTER_ADMIN_TOKEN": ADMIN, "PORT": str(port), **settings}
    with log.open("wb") as screen:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(file), env={**os.environ, **environment}, stdout=screen, stderr=screen
        )
    try:
        shop = ExistingShop(f"http://127.0.0.1:{port}", log)

        async def answers() -> bool:
            assert process.returncode is None, log.read_text()
            with contextlib.suppress(aiohttp.ClientError):
                return (await shop.checkout("nothing"))[0] == 403
            return False

        await until(answers, within=30.0, what="the shop answers")
        yield shop
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
