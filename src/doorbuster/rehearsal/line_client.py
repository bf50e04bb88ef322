"""One buyer's socket to the live channel of a line.

Owns: the first message, and what ends the stream. Whoever is cut off goes back to asking.
"""

from types import TracebackType
from typing import Final, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from doorbuster.rehearsal.line_seen import Told

_OPEN_S: Final = 20.0
_places = msgspec.json.Decoder(Told)


class CutOff(Exception):
    """There is no socket, or no longer one."""


class Live:
    """An async context manager that hangs up; made by `open_live`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()

    async def place(self) -> Told:
        """The next message about this buyer's place; those about the sale are passed over. Raises CutOff."""
        try:
            while True:
                told = _places.decode(await self._socket.recv())
                if told.state:
                    return told
        except (OSError, WebSocketException) as problem:
            raise CutOff(str(problem)) from problem


async def open_live(url: str, sale_id: str, token: str) -> Live:
    """Connect and say who it is. Raises CutOff."""
    address = f"ws{url.removeprefix('http')}/v1/sales/{sale_id}/queue/live"
    try:
        socket = await connect(
            address, compression=None, proxy=None, open_timeout=_OPEN_S, close_timeout=1.0, user_agent_header=None
        )
        await socket.send(msgspec.json.encode({"token": token}).decode())
    except (OSError, TimeoutError, WebSocketException) as problem:
        raise CutOff(str(problem)) from problem
    return Live(socket)
