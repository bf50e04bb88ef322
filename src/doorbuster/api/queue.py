"""The routes of the line: join, ask for one's place, leave, and the draw for everybody to check.

Owns: what each answers, in HTTP's words. Keeps: I10 by what `engine/queueing.py` does; a repeat gives the same place.
"""

from doorbuster.api.auth import Buyers
from doorbuster.api.http import JSON, Refused, Reply, Request, json_reply
from doorbuster.api.lately import Lately
from doorbuster.api.line_shapes import JoinBody, place_view
from doorbuster.api.pace import Pace
from doorbuster.api.reading import body_of, id_of, query_of
from doorbuster.api.services import Services
from doorbuster.domain.outcomes import Code, Refusal
from doorbuster.engine.ports import Clock

_BUNDLES_KEPT = 4
_BUNDLE_MS = 1_000
"""A bundle of a draw that is still open grows; one of a drawn draw never changes, and is cheap to find again."""


class QueueRoutes:
    """Handlers; each is given a request whose path has been matched."""

    def __init__(self, services: Services, clock: Clock, buyers: Buyers, pace: Pace) -> None:
        self._services = services
        self._clock = clock
        self._buyers = buyers
        self._pace = pace
        self._bundles: Lately[str, tuple[int, Reply]] = Lately(_BUNDLES_KEPT)

    async def _buyer(self, request: Request) -> str:
        authorization = request.header(b"authorization")
        now_ms = self._clock.now_ms()
        user_id = self._buyers.recall(authorization, now_ms) or await self._buyers.identify(authorization)
        wait_ms = self._pace.wait_ms(user_id, now_ms / 1000)
        if wait_ms:
            raise Refused(Refusal(Code.RATE_LIMITED, "this buyer sends too many requests to this gate", wait_ms))
        return user_id

    async def join(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        sale_id = id_of(request, "sale_id")
        ticket = body_of(request, JoinBody, required=False).ticket if request.body else None
        place = await self._services.queueing.join(sale_id, user_id, ticket)
        return place if isinstance(place, Refusal) else json_reply(202, place_view(place))

    async def place(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        sale_id = id_of(request, "sale_id")
        ticket = query_of(request, "ticket").get("ticket") if request.query else None
        place = await self._services.queueing.place(sale_id, user_id, ticket)
        return place if isinstance(place, Refusal) else json_reply(200, place_view(place))

    async def leave(self, request: Request) -> Reply | Refusal:
        user_id = await self._buyer(request)
        place = await self._services.queueing.leave(id_of(request, "sale_id"), user_id)
        return place if isinstance(place, Refusal) else json_reply(200, place_view(place))

    async def draw(self, request: Request) -> Reply | Refusal:
        """The bundle, the same for everybody."""
        sale_id = id_of(request, "sale_id")
        now_ms = self._clock.now_ms()
        kept = self._bundles.get(sale_id)
        if kept is not None and 0 <= now_ms - kept[0] < _BUNDLE_MS:
            return kept[1]
        bundle = await self._services.drawing.bundle(sale_id)
        if isinstance(bundle, Refusal):
            return bundle
        reply = Reply(200, bundle, JSON, ((b"cache-control", b"public, max-age=1"),))
        self._bundles.put(sale_id, (now_ms, reply))
        return reply
