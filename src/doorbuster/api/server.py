"""Serves the application with uvicorn, and stops without dropping anybody.

Owns: the server's settings, each for a reason, and the order of stopping: not ready, then no new requests on kept
connections, then the end.
"""

from types import FrameType
from typing import Final

import uvicorn

from doorbuster.api.app import Api
from doorbuster.api.asgi import AsgiLane
from doorbuster.api.fastlane import lane_for
from doorbuster.config import Settings

_KEEP_ALIVE_S: Final = 65
"""Longer than the 60 s of common load balancers: the balancer closes first, never into a request on its way."""
_GRACE_S: Final = 10


class _Server(uvicorn.Server):
    """Says that it stops before it does."""

    def __init__(self, config: uvicorn.Config, api: Api) -> None:
        super().__init__(config)
        self._api = api

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._api.system.draining = True
        super().handle_exit(sig, frame)


async def serve(api: Api, settings: Settings, *, fd: int | None = None) -> None:
    """Until SIGTERM or SIGINT. `fd` is a listening socket to inherit; else host and port of the settings."""
    config = uvicorn.Config(
        AsgiLane(api.dispatch),
        host=settings.host,
        port=settings.port,
        fd=fd,
        http=lane_for(api.dispatch),
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # 37 KB and a third more CPU per socket for messages of 200 bytes
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        backlog=4096,
    )
    await _Server(config, api).serve()
