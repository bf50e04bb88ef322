"""The buyer's routes: see a sale, take a unit, pay, give it back.

Owns: what each answers, in HTTP's words. Keeps: I4 (201 only after the commit), I5 (keys are asked for, and repeats
say that they are). Read next: `engine/selling.py`.
"""

from typing import Final

from doorbuster.api.auth import Buyers, sign, unauthenticated
from doorbuster.api.external_shapes import buyer_order_view
from doorbuster.api.http import Refused, Reply, Request, json_reply
from doorbuster.api.lately import Lately
from doorbuster.api.pace import Pace
from doorbuster.api.reading import body_of, checked_user, id_of, key_of, order_of
from doorbuster.api.services import Services
from doorbuster.api.shapes import (
    BuyerBody,
    BuyerToken,
    MethodAnswer,
    PaymentAnswer,
    PaymentBody,
    order_fields,
    order_view,
    sale_view,
    stamp,
)
from doorbuster.config import Settings
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.payment import payment_method_problem
from doorbuster.domain.sale import Sale
from doorbuster.engine.ports import Actor, Clock, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.selling import Reserved

_DEV_TOKEN_TTL_S: Final = 24 * 3600
_VIEW_MS: Final = 100
_VIEWS_MAX: Final = 1000


class BuyerRoutes:
    """Handlers; each is given a request whose path has been matched."""

    def __init__(self, services: Services, settings: Settings, clock: Clock, buyers: Buyers, pace: Pace) -> None:
        self._services = services
        self._settings = settings
        self._clock = clock
        self._buyers = buyers
        self._pace = pace
        self._views: Lately[str, tuple[Sale, int, Reply]] = Lately(_VIEWS_MAX)

    async def buyer(self, request: Request) -> str:
        """Who calls; Refused if nobody, or too often."""
        authorization = request.header(b"authorization")
        now_ms = self._clock.now_ms()  # one reading for the whole request: a clock can cost more than the check
        user_id = self._buyers.recall(authorization, now_ms) or await self._buyers.identify(authorization)
        self._keep_pace(user_id, now_ms)
        return user_id

    def _keep_pace(self, user_id: str, now_ms: int) -> None:
        wait_ms = self._pace.wait_ms(user_id, now_ms / 1000)
        if wait_ms:
            raise Refused(Refusal(Code.RATE_LIMITED, "this buyer sends too many requests to this gate", wait_ms))

    async def sale(self, request: Request) -> Reply | Refusal:
        """The public view; the same for everybody for a second, so it is written ten times a second and no oftener."""
        sale_id = id_of(request, "sale_id")
        board = self._services.board
        try:
            sale = board.get(sale_id) or await board.look(sale_id)
        except (StoreUnavailable, OutcomeUnknown):
            return Refusal(Code.UNAVAILABLE, "the ledger does not answer")
        if sale is None:
            return Refusal(Code.NOT_FOUND, "there is no such sale")
        now_ms = self._clock.now_ms()
        seen = self._views.get(sale_id)
        if seen is not None and seen[0] is sale and 0 <= now_ms - seen[1] < _VIEW_MS:
            return seen[2]
        reply = json_reply(
            200,
            sale_view(sale, now_ms, self._services.watch.waiting(sale)),
            ((b"cache-control", b"public, max-age=1"),),
        )
        self._views.put(sale_id, (sale, now_ms, reply))
        return reply

    async def reserve(self, request: Request) -> Reply | Refusal:
        authorization, now_ms = request.header(b"authorization"), self._clock.now_ms()
        user_id = self._buyers.recall(authorization, now_ms) or await self._buyers.identify(authorization)
        self._keep_pace(user_id, now_ms)
        sale_id = id_of(request, "sale_id")
        key = key_of(request)
        body, digest = order_of(request)
        outcome = await self._services.selling.reserve(sale_id, user_id, quantity=body.quantity, key=key, digest=digest)
        if isinstance(outcome, Reserved):
            location = (b"location", f"/v1/orders/{outcome.order.order_id}".encode())
            headers = (location, (b"idempotency-replayed", b"true")) if outcome.replayed else (location,)
            shop_pass = await self._services.passes.issue(outcome.order)
            return json_reply(201, buyer_order_view(outcome.order, shop_pass), headers)
        return outcome

    async def order(self, request: Request) -> Reply | Refusal:
        user_id = await self.buyer(request)
        order = await self._services.ordering.read(id_of(request, "order_id"), user_id)
        if isinstance(order, Refusal):
            return order
        shop_pass = await self._services.passes.issue(order)
        return json_reply(200, buyer_order_view(order, shop_pass), ((b"cache-control", b"no-store"),))

    async def cancel(self, request: Request) -> Reply | Refusal:
        user_id = await self.buyer(request)
        actor = Actor(name="buyer", reason="given back by the buyer")
        order = await self._services.ordering.cancel(id_of(request, "order_id"), user_id, actor)
        return order if isinstance(order, Refusal) else json_reply(200, order_view(order))

    async def pay(self, request: Request) -> Reply | Refusal:
        user_id = await self.buyer(request)
        order_id = id_of(request, "order_id")
        key = key_of(request)
        body = body_of(request, PaymentBody)
        outcome = await self._services.paying.pay(order_id, user_id, payment_method=body.payment_method, key=key)
        if isinstance(outcome, Refusal):
            return outcome
        answer = PaymentAnswer(**order_fields(outcome.order), action=outcome.action)
        return json_reply(200 if outcome.settled else 202, answer)

    async def store_method(self, request: Request) -> Reply | Refusal:
        user_id = await self.buyer(request)
        method = body_of(request, PaymentBody).payment_method
        problem = payment_method_problem(method)
        if problem is not None:
            return Refusal(Code.INVALID_REQUEST, problem)
        await self._services.charges.store_method(user_id, method)
        return json_reply(200, MethodAnswer(stored=True))

    async def forget_method(self, request: Request) -> Reply | Refusal:
        user_id = await self.buyer(request)
        await self._services.charges.forget_method(user_id)
        return json_reply(200, MethodAnswer(stored=False))

    async def dev_buyer(self, request: Request) -> Reply:
        """A token for anybody who asks; only with --dev-identities."""
        if not self._settings.dev_identities:
            raise Refused(Refusal(Code.NOT_FOUND, "tokens are handed out only with --dev-identities"))
        secret = self._settings.buyer_secret.get_secret_value()
        if not secret:
            raise unauthenticated("there is no secret to sign with")
        user_id = checked_user(body_of(request, BuyerBody).user_id, "user_id")
        now_s = self._clock.now_ms() // 1000
        token = sign(secret, user_id, audience=self._settings.buyer_audience, now_s=now_s, ttl_s=_DEV_TOKEN_TTL_S)
        return json_reply(201, BuyerToken(user_id, token, stamp((now_s + _DEV_TOKEN_TTL_S) * 1000)))
