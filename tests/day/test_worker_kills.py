"""kill -9 of a worker in the middle of the day, with all that `up` starts: another goes on, and nobody is told twice.

A lease that the dead worker left is moved to now by hand, so that nobody waits for it; what happens at its end is real.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from day.browsers import Browser, PushService, push_service
from day.mail_server import Post, post_office
from day.test_day import done, inside, steps
from doorbuster.adapters.embedded.postgres import EmbeddedPostgres
from faults.shop import Operator, Shop, buyer_token, open_shop
from helpers.waiting import until

WORKER = "doorbuster worker"


class Stage:
    """A shop, its operator, and what it reaches people by."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession, post: Post, push: PushService) -> None:
        self.shop = shop
        self.session = session
        self.operator = Operator(shop, session)
        self.post = post
        self.push = push

    async def join(self, sale_id: str, user: str, browser: Browser) -> None:
        body = {"email": f"{user}@example.com", "push": browser.json}
        headers = {"Authorization": f"Bearer {buyer_token(user)}"}
        url = f"{self.shop.url}/v1/sales/{sale_id}/waitlist"
        async with self.session.post(url, json=body, headers=headers) as answer:
            assert answer.status == 202, await answer.text()

    async def kill_worker(self) -> None:
        killed = self.shop.signal(WORKER)
        await self.shop.replaced(WORKER, killed)

    async def end_leases(self, table: str, state: str) -> int:
        server = EmbeddedPostgres(self.shop.data_dir / "postgres", log=Path("/dev/null"))
        connection = await asyncpg.connect(server.url)
        try:
            said = await connection.execute(f"update {table} set next_at = clock_ms() where state = $1", state)
        finally:
            await connection.close()
        return int(said.split()[-1])


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with post_office() as post, push_service() as push:
        settings = {"DOORBUSTER_SMTP_URL": post.url, "DOORBUSTER_PUSH_SERVICES": push.url}
        async with open_shop(tmp_path, settings=settings) as shop, aiohttp.ClientSession() as session:
            yield Stage(shop, session, post, push)


async def test_who_was_being_told_when_the_worker_died_is_not_told_twice(stage: Stage) -> None:
    sale_id = await stage.operator.create_sale(start_time=inside(hours=2), end_time=inside(hours=3))
    browsers = {user: stage.push.browser(user) for user in ("ann", "bob")}
    for user, browser in browsers.items():
        await stage.join(sale_id, user, browser)
    stage.post.hangs = stage.push.hangs = True
    await stage.operator.call("PATCH", f"/sales/{sale_id}", {"start_time": inside(minutes=50)})
    await until(lambda: stage.push.held == 2 and len(stage.post.held) == 2, within=30, what="both are being told")

    await stage.kill_worker()

    stage.post.hangs = stage.push.hangs = False
    assert await stage.end_leases("notices", "sending") == 4

    async def given_up() -> bool:
        detail = (await steps(stage.operator, sale_id))["notify-1h"]["detail"]
        return (detail.get("mails_unknown"), detail.get("pushes_unknown")) == (2, 2)

    await until(given_up, within=30, what="what may have arrived is given up")
    assert not stage.post.mails
    assert not stage.push.delivered

    # The next sale's people are told as ever, and those of the first are left alone.
    other = await stage.operator.create_sale(start_time=inside(hours=2), end_time=inside(hours=3))
    eve = stage.push.browser("eve")
    await stage.join(other, "eve", eve)
    await stage.operator.call("PATCH", f"/sales/{other}", {"start_time": inside(minutes=50)})
    await until(lambda: stage.post.mails and stage.push.delivered, within=30, what="the next one is told")
    assert stage.post.recipients == ["eve@example.com"]
    [got] = stage.push.delivered
    assert eve.read(got.body)["notification"]["title"] == "In 50 minutes: Sneaker"


async def test_step_whose_worker_died_is_done_by_the_next_one(stage: Stage) -> None:
    """In the middle of fetching the sale's page."""
    asked: list[str] = []

    async def page(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) == 1:
            await asyncio.Event().wait()  # ends with the connection
        return web.Response(text="page", headers={"Cache-Control": "public, max-age=60"})

    app = web.Application()
    app.router.add_get("/{tail:.*}", page)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        sale_id = await stage.operator.create_sale(start_time=inside(hours=2), end_time=inside(hours=3))
        plan = {"pages": ["http://{}:{}/lamp".format(*runner.addresses[0][:2])]}
        assert (await stage.operator.call("PUT", f"/sales/{sale_id}/plan", plan))[0] == 200
        await stage.operator.call("POST", f"/sales/{sale_id}/timeline/cdn-prewarm/run")
        await until(lambda: asked, within=30, what="the page is being fetched")
        assert (await steps(stage.operator, sale_id))["cdn-prewarm"]["state"] == "running"

        await stage.kill_worker()

        assert await stage.end_leases("sale_steps", "running") == 1
        row = await done(stage.operator, sale_id, "cdn-prewarm")
        assert row["attempts"] == 2
        assert len(asked) >= 2
    finally:
        await runner.cleanup()
