"""The part of Stripe's API that the adapter uses, on a local port, as Stripe describes it.

Intents with manual capture, refunds, idempotency (a stored answer is replayed, a stored 500 too; one key for another
request is refused), errors in Stripe's form, webhooks signed by the SDK. `trouble` scripts what happens to one call.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import stripe
from aiohttp import web

Thing = dict[str, Any]

DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
}
APPROVED = {"pm_card_visa", "pm_card_captureFails", "pm_card_threeDSecure2Required", "pm_card_slow"}


class Trouble(StrEnum):
    """What may happen to one call."""

    LOST_BEFORE = "lost_before"  # the connection breaks before anything was done
    LOST_AFTER = "lost_after"  # ... after
    FAULT = "fault"  # 500, nothing done, and stored for the key
    FAULT_AFTER = "fault_after"  # 500 although it was done, and stored for the key
    BUSY = "busy"  # 429


class _Problem(Exception):
    def __init__(self, status: int, code: str, *, kind: str = "invalid_request_error", decline: str = "") -> None:
        self.status = status
        self.body: Thing = {"error": {"type": kind, "code": code, "message": code}}
        if decline:
            self.body["error"]["decline_code"] = decline


class StripeServer:
    """`intents` is its book."""

    def __init__(self) -> None:
        self.intents: dict[str, Thing] = {}
        self.refunds: list[Thing] = []
        self.calls: list[str] = []
        self.url = ""
        self._stored: dict[str, tuple[str, int, Thing]] = {}
        self._busy: set[str] = set()
        self._scripts: list[tuple[re.Pattern[str], Trouble]] = []
        self._runner: web.AppRunner | None = None
        self._count = 0

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def script(self, call: str, trouble: Trouble, times: int = 1) -> None:
        """The next calls that match, such as `POST .*/capture`, meet this."""
        self._scripts += [(re.compile(call), trouble)] * times

    def of_key(self, key: str) -> list[Thing]:
        return [intent for intent in self.intents.values() if intent["metadata"].get("doorbuster_key") == key]

    def act(self, key: str) -> None:
        """The buyer does what the bank asks for."""
        for intent in self.of_key(key):
            if intent["status"] == "requires_action":
                intent["status"], intent["next_action"] = "requires_capture", None

    def event(self, kind: str, intent: Thing, *, event_id: str = "") -> bytes:
        self._count += 1
        body = {
            "id": event_id or f"evt_{self._count}",
            "object": "event",
            "type": kind,
            "data": {"object": intent},
        }
        return json.dumps(body).encode()

    @staticmethod
    def sign(body: bytes, secret: str, *, age_s: int = 0) -> dict[str, str]:
        header = stripe.WebhookSignature.generate_signature_header(  # pyright: ignore[reportUnknownMemberType]
            body.decode(), secret, int(time.time()) - age_s
        )
        return {"stripe-signature": header}

    # ------------------------------------------------------------------------------------------------ HTTP

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = f"{request.method} {request.path}"
        self.calls.append(call)
        params = {name: str(value) for name, value in (await request.post()).items()} or dict(request.query)
        trouble = self._trouble(call)
        if trouble is Trouble.LOST_BEFORE:
            return _cut(request)
        if trouble is Trouble.BUSY:
            return _reply(429, {"error": {"type": "invalid_request_error", "code": "rate_limit", "message": "slow"}})
        key = request.headers.get("Idempotency-Key", "")
        asked = json.dumps([call, sorted(params.items())])
        if request.method == "POST" and key in self._stored:
            before, status, body = self._stored[key]
            if before != asked:
                return _reply(400, {"error": {"type": "idempotency_error", "message": "other parameters"}})
            return _reply(status, body, {"Idempotent-Replayed": "true"})
        if key in self._busy:
            return _reply(409, {"error": {"type": "invalid_request_error", "code": "idempotency_key_in_use"}})
        self._busy |= {key} - {""}
        status, body = 500, {"error": {"type": "api_error", "message": "ours"}}
        if trouble is not Trouble.FAULT:
            answer = await self._answer(request.method, request.path, params)
            if trouble is not Trouble.FAULT_AFTER:
                status, body = answer
        self._busy.discard(key)
        if request.method == "POST" and key:
            self._stored[key] = (asked, status, json.loads(json.dumps(body)))
        return _cut(request) if trouble is Trouble.LOST_AFTER else _reply(status, body)

    def _trouble(self, call: str) -> Trouble | None:
        for number, (pattern, trouble) in enumerate(self._scripts):
            if pattern.fullmatch(call):
                del self._scripts[number]
                return trouble
        return None

    async def _answer(self, method: str, path: str, params: dict[str, str]) -> tuple[int, Thing]:
        routes: list[tuple[str, str, Callable[..., Thing]]] = [
            ("POST", r"/v1/payment_intents", self._create),
            ("GET", r"/v1/payment_intents", self._list),
            ("GET", r"/v1/payment_intents/(\w+)", self._retrieve),
            ("POST", r"/v1/payment_intents/(\w+)/confirm", self._confirm),
            ("POST", r"/v1/payment_intents/(\w+)/capture", self._capture),
            ("POST", r"/v1/payment_intents/(\w+)/cancel", self._cancel),
            ("POST", r"/v1/refunds", self._refund),
        ]
        if params.get("payment_method") == "pm_card_slow":
            await asyncio.sleep(0.3)
        for verb, pattern, do in routes:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                try:
                    return 200, do(*match.groups(), params)
                except _Problem as problem:
                    return problem.status, problem.body
        return 404, {"error": {"type": "invalid_request_error", "message": "no such route"}}

    # ------------------------------------------------------------------------------------------------ intents

    def _create(self, params: dict[str, str]) -> Thing:
        if params.get("capture_method") != "manual" or params.get("allowed_payment_method_types[0]") != "card":
            raise _Problem(400, "parameter_unknown")
        if int(params["amount"]) < 50:
            raise _Problem(400, "amount_too_small")
        self._count += 1
        intent: Thing = {
            "id": f"pi_{self._count:06}",
            "object": "payment_intent",
            "status": "requires_payment_method",
            "amount": int(params["amount"]),
            "amount_received": 0,
            "currency": params["currency"],
            "created": int(time.time()),
            "client_secret": f"pi_{self._count:06}_secret",
            "metadata": {
                name[len("metadata[") : -1]: value for name, value in params.items() if name.startswith("metadata[")
            },
            "last_payment_error": None,
            "next_action": None,
            "latest_charge": None,
            "payment_method": None,
        }
        self.intents[intent["id"]] = intent
        return intent

    def _found(self, intent_id: str) -> Thing:
        if intent_id not in self.intents:
            raise _Problem(404, "resource_missing")
        return self.intents[intent_id]

    def _retrieve(self, intent_id: str, params: dict[str, str]) -> Thing:
        del params
        return self._found(intent_id)

    def _list(self, params: dict[str, str]) -> Thing:
        since = int(params.get("created[gte]", 0))
        rows = [intent for intent in reversed(self.intents.values()) if intent["created"] >= since]
        ids = [intent["id"] for intent in rows]
        start = ids.index(params["starting_after"]) + 1 if "starting_after" in params else 0
        limit = int(params.get("limit", 10))
        return {
            "object": "list",
            "url": "/v1/payment_intents",
            "data": rows[start : start + limit],
            "has_more": len(rows) > start + limit,
        }

    def _confirm(self, intent_id: str, params: dict[str, str]) -> Thing:
        intent = self._found(intent_id)
        if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise _Problem(400, "payment_intent_unexpected_state")
        method = params.get("payment_method", "")
        if method in DECLINES:
            code, decline = DECLINES[method]
            intent["last_payment_error"] = {"code": code, "decline_code": decline}
            raise _Problem(402, code, kind="card_error", decline=decline)
        if method not in APPROVED:
            raise _Problem(400, "resource_missing")
        intent["payment_method"], intent["last_payment_error"] = method, None
        if method == "pm_card_threeDSecure2Required":
            intent["status"], intent["next_action"] = "requires_action", {"type": "use_stripe_sdk"}
        else:
            intent["status"], intent["latest_charge"] = "requires_capture", {"id": "ch_1", "amount_refunded": 0}
        return intent

    def _capture(self, intent_id: str, params: dict[str, str]) -> Thing:
        del params
        intent = self._found(intent_id)
        if intent["status"] != "requires_capture":
            raise _Problem(400, "payment_intent_unexpected_state")
        if intent["payment_method"] == "pm_card_captureFails":
            raise _Problem(400, "capture_charge_authorization_expired")
        intent["status"], intent["amount_received"] = "succeeded", intent["amount"]
        intent["latest_charge"] = {"id": "ch_1", "amount_refunded": 0}
        return intent

    def _cancel(self, intent_id: str, params: dict[str, str]) -> Thing:
        del params
        intent = self._found(intent_id)
        if intent["status"] in ("succeeded", "canceled"):
            raise _Problem(400, "payment_intent_unexpected_state")
        intent["status"], intent["next_action"] = "canceled", None
        return intent

    def _refund(self, params: dict[str, str]) -> Thing:
        intent = self._found(params["payment_intent"])
        if intent["status"] != "succeeded":
            raise _Problem(400, "charge_not_captured")
        if intent["latest_charge"]["amount_refunded"]:
            raise _Problem(400, "charge_already_refunded")
        intent["latest_charge"]["amount_refunded"] = intent["amount_received"]
        refund = {"id": f"re_{len(self.refunds)}", "object": "refund", "status": "succeeded"}
        self.refunds.append(refund)
        return refund


def _reply(status: int, body: Thing, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def _cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()
