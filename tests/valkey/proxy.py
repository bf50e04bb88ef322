"""A door in front of a server that can be shut in the ways networks shut."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Proxy:
    """Passes bytes both ways. With `silent` set replies are kept back; `cut` resets every connection."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.connections = 0
        self.requests = asyncio.Queue[bytes]()
        """What was sent, piece by piece as it arrived."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def hold_replies(self) -> None:
        self._open.clear()

    def pass_replies(self) -> None:
        self._open.set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        server_reader, server_writer = await asyncio.open_unix_connection(self._path)
        self._writers += [writer, server_writer]
        for work in (self._requests(reader, server_writer), self._replies(server_reader, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 20):
                self.requests.put_nowait(data)
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 20):
                await self._open.wait()
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def end(self) -> None:
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(socket_path: str, context: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    proxy = Proxy(socket_path)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=context)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.end()
        await listener.wait_closed()
