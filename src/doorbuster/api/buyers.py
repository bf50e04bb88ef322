"""The buyer's routes: see a sale, take a unit, pay, give it back.

Owns: what each answers, in HTTP's words. Keeps: I4 (201 only after the commit), I5 (keys are asked for, and repeats
say that they are). Read next: `engine/selling.py`.
"""

from doorbuster.api.auth import Buyers, sign, unauthenticated
from doorbuster.api.http import Refused, Reply, Request, json_reply
from doorbuster.api.pace import Pace
from doorbuster.api.reading import body_of, checked_user, digest_of, id_of, key_of
from doorbuster.api.services import Services
from doorbuster.api.shapes import (
    BuyerBody,
    BuyerToken,
    OrderBody,
    PaymentAnswer,
    PaymentBody,
    order_fields,
    order_view,
    sale_view,
    stamp,
)
from doorbuster.config import Settings
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.domain.transitions import SALE_OVER
from doorbuster.engine.ports import Actor, Clock, OutcomeUnknown, StoreUnavailable
from doorbuster.engine.selling import Reserved

_DEV_TOKEN_TTL_S = 24 * 3600


class BuyerRoutes:
    """Handlers; each is given a request whose path has been matched."""

    def __init__(self, services: Services, settings: Settings, clock: Clock, buyers: Buyers) -> None:
        self._services = services
        self._settings = settings
        self._clock = clock
        self._buyers = buyers
        self._pace = Pace()

    async def _buyer(self, request: Request) -> str:
        authorization = request.header(b"authorization")
        now_ms = self._clock.now_ms()  # one reading for the whole request: a clock can cost more than the check
        user_id = self._buyers.recall(authorization, now_ms) or await self._buyers.identify(authorization)
        wait_ms = self._pace.wait_ms(user_id, now_ms / 1000)
        if wait_ms:
            raise Refused(Refusal(Code.RATE_LIMITED, "this buyer sends too many requests to this gate", wait_ms))
        return user_id

    async def sale(self, request: Request) -> Reply:
        """The public view; the same for everybody for a second."""
        try:
            sale = await self._services.board.look(id_of(request, "sale_id"))
        except (StoreUnavailable, OutcomeUnknown) as problem:
            raise Refused(Refusal(Code.UNAVAILABLE, "the ledger does not answer", 1000)) from problem
        if sale is None:
            raise Refused(Refusal(Code.NOT_FOUND, "there is no such sale"))
        view = sale_view(sale, self._clock.now_ms())
        return json_reply(200, view, ((b"cache-control", b"public, max-age=1"),))

    async def reserve(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        sale_id = id_of(request, "sale_id")
        key = key_of(request)
        body = body_of(request, OrderBody)
        outcome = await self._services.selling.reserve(
            sale_id, user_id, quantity=body.quantity, key=key, digest=digest_of(body)
        )
        if isinstance(outcome, Reserved):
            location = (b"location", f"/v1/orders/{outcome.order.order_id}".encode())
            headers = (location, (b"idempotency-replayed", b"true")) if outcome.replayed else (location,)
            return json_reply(201, order_view(outcome.order), headers)
        return outcome

    async def order(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        order = await self._services.ordering.read(id_of(request, "order_id"), user_id)
        if isinstance(order, Refusal):
            return order
        return json_reply(200, order_view(order), ((b"cache-control", b"no-store"),))

    async def cancel(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        actor = Actor(name="buyer", reason="given back by the buyer")
        order = await self._services.ordering.cancel(id_of(request, "order_id"), user_id, actor)
        return order if isinstance(order, Refusal) else json_reply(200, order_view(order))

    async def pay(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        order_id = id_of(request, "order_id")
        key = key_of(request)
        body = body_of(request, PaymentBody)
        outcome = await self._services.paying.pay(order_id, user_id, payment_method=body.payment_method, key=key)
        if isinstance(outcome, Refusal):
            return outcome
        answer = PaymentAnswer(**order_fields(outcome.order), action=outcome.action)
        return json_reply(200 if outcome.settled else 202, answer)

    async def no_line(self, request: Request) -> Reply:
        """The line's routes: a race has none, and says so."""
        await self._buyer(request)
        sale = await self._services.board.look(id_of(request, "sale_id"))
        if sale is None:
            raise Refused(Refusal(Code.NOT_FOUND, "there is no such sale"))
        if sale.status in SALE_OVER:
            raise Refused(Refusal(Code.ENDED, "the sale is over"))
        raise Refused(Refusal(Code.CONFLICT, "this sale is a race and has no line: post an order instead"))

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
