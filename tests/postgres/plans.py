"""What a query reads from end to end."""

import json
from typing import Any

from postgres.ledger import Ledger

GROWING = ("sale_orders", "payments", "sale_log", "user_sale_eligibility")


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


async def scanned(ledger: Ledger, query: str, *arguments: object) -> list[str]:
    """Tables that grow with a sale and that the plan of this query scans."""
    explained = await ledger.sql.fetchval(f"explain (format json) {query}", *arguments)
    return [
        node["Relation Name"]
        for node in nodes(json.loads(explained)[0]["Plan"])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
    ]
