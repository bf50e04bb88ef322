"""Serves the application with uvicorn, and stops without dropping anybody.

Owns: the server's settings, each for a reason, and the order of stopping: not ready, then nothing new, then what is
under way, then the end, all of it bounded. Keeps: I4 (an answer that was decided is sent before the gate goes).
"""

import asyncio
import re
import socket
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final

import msgspec
import uvicorn

from doorbuster.api.app import Api
from doorbuster.api.asgi import AsgiLane, Stream
from doorbuster.api.fastlane import FastLane, lane_for
from doorbuster.config import Settings

_KEEP_ALIVE_S: Final = 65
"""Longer than the 60 s of common load balancers: the balancer closes first, never into a request on its way."""
_NOTICE_S: Final = 1.0
"""How long a gate with a port of its own goes on answering after it has said that it is not ready. Gates that share
a socket stop at once: the others take over in the same moment."""
_GRACE_S: Final = 10


class GateServer(uvicorn.Server):
    """Says that it stops before it does, and leaves the rest of the process to whoever runs it."""

    def __init__(
        self, api: Api, lane: type[FastLane], live: "Live", config: uvicorn.Config, *, notice_s: float
    ) -> None:
        super().__init__(config)
        self._api = api
        self._live = live
        self._lane = lane
        self._notice_s = notice_s
        self._stop_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal gives notice, a second one stops without it."""
        if self._api.system.draining:
            self._notice_s = 0.0
        self._api.system.draining = True
        self._lane.leaving = True
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # uvicorn would raise it again and so kill the process before it has cleaned up

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Whoever listens is told first: uvicorn waits for all that is under way, and they would listen on."""
        for stream in self._live.streams.values():
            stream.drain()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second by uvicorn."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, FastLane):
                    connection.sweep()
        if not await super().on_tick(counter):
            return False
        now = asyncio.get_running_loop().time()
        self._stop_at = self._stop_at or now
        return now >= self._stop_at + self._notice_s


class Live(msgspec.Struct, frozen=True):
    """What goes on as long as its reader: the protocol class of sockets, and streams by the pattern of their path."""

    socket: Any = None
    streams: Mapping[re.Pattern[str], Stream] = {}


def server_for(api: Api, *, host: str, port: int, fd: int | None = None, live: Live | None = None) -> GateServer:
    """A server of this application. `fd` is a listening socket to inherit."""
    lane = lane_for(api.dispatch)
    live = live or Live()
    config = uvicorn.Config(
        AsgiLane(api.dispatch, live.streams),
        host=host,
        port=port,
        fd=fd,
        http=lane,
        ws=live.socket or "websockets-sansio",
        ws_per_message_deflate=False,  # 37 KB and a third more CPU per socket for messages of 200 bytes
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        backlog=4096,
    )
    return GateServer(api, lane, live, config, notice_s=_NOTICE_S if fd is None else 0.0)


async def serve(api: Api, settings: Settings, *, fd: int | None = None, live: Live | None = None) -> None:
    """Until SIGTERM or SIGINT. `fd` is a listening socket to inherit; else host and port of the settings."""
    await server_for(api, host=settings.host, port=settings.port, fd=fd, live=live).serve()
