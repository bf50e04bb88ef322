"""`doorbuster webhook`, and the way of an event from a gate through a worker to a shop, in real processes."""

import json
from pathlib import Path

from aiohttp import web

from cli.commands import Done, Up, doorbuster, up
from helpers.waiting import until
from webhooks.receiver import a_receiver


async def webhook(shop: Up, *arguments: str) -> Done:
    return await doorbuster("webhook", *arguments, "--data-dir", str(shop.data))


async def test_operator_connects_a_shop_from_the_shell(tmp_path: Path) -> None:
    """One long story, because a shop takes seconds to start."""
    settings = {"DOORBUSTER_WEBHOOKS_ALLOW_PRIVATE": "true"}
    async with a_receiver() as receiver, up(tmp_path / "data", settings) as shop:
        await shop.ready()
        refused = await webhook(shop, "add", "https://user:word@shop.example/")
        assert (refused.code, "user name" in refused.err) == (1, True)
        assert json.loads((await webhook(shop, "list", "--json")).out)["endpoints"] == []

        added = await webhook(shop, "add", receiver.url, "--event", "sale.started", "--event", "sale.paused", "--json")
        made = json.loads(added.out)
        endpoint, secret = made["endpoint_id"], made["secret"]
        assert secret not in (await webhook(shop, "list")).out
        assert (await webhook(shop, "test", endpoint)).code == 0
        assert receiver.received[0].verified_by(secret)["data"] == {"endpoint_id": endpoint}
        receiver.answers(500, "no")
        pinged = await webhook(shop, "test", endpoint)
        assert (pinged.code, "it answered 500" in pinged.out) == (1, True)

        receiver.answer = lambda received: web.Response(status=204 if received.type == "sale.started" else 410)
        sale = ("sale", "create", "--product", "lamp", "--quantity", "5", "--price-cents", "100")
        created = await doorbuster(*sale, "--data-dir", str(shop.data))
        await until(lambda: "sale.started" in receiver.types)
        started = receiver.received[-1].verified_by(secret)
        assert started["data"]["sale_id"] == created.out.strip()

        new = json.loads((await webhook(shop, "rotate", endpoint, "--json")).out)["secret"]
        await doorbuster("sale", "pause", created.out.strip(), "--data-dir", str(shop.data))
        await until(lambda: "sale.paused" in receiver.types)
        assert receiver.received[-1].verified_by(new) == receiver.received[-1].verified_by(secret)

        async def said_gone() -> bool:
            return "410 Gone" in (await webhook(shop, "list")).out

        await until(said_gone)
        rows = json.loads((await webhook(shop, "deliveries", endpoint, "--json")).out)["deliveries"]
        assert [(row["type"], row["state"]) for row in rows] == [
            ("sale.paused", "pending"),
            ("sale.started", "delivered"),
        ]
        assert (await webhook(shop, "resend", rows[1]["delivery_id"])).code == 1, "it is disabled"
        receiver.answers(204)  # before it is enabled: what is pending may be sent at once, and a 410 disables again
        assert (await webhook(shop, "enable", endpoint)).out.strip() == "enabled"
        assert (await webhook(shop, "resend", rows[1]["delivery_id"])).code == 0
        await until(lambda: receiver.types.count("sale.started") == 2)
        again = [received for received in receiver.received if received.type == "sale.started"][-1]
        assert again.id == rows[1]["webhook_id"]
        assert (await webhook(shop, "resend", "--dead", endpoint)).out.strip() == "0 sent once more"
        assert (await webhook(shop, "remove", endpoint)).code == 0
        assert (await webhook(shop, "deliveries", endpoint)).code == 1
