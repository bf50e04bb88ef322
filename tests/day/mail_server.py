"""A mail server in this process that behaves as a test tells it to."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP


class Post:
    """`answer` is asked for each recipient and may refuse, `sender_answer` is for all senders; `drop_after` mails the
    connection is cut, once. `held` has the recipients whose mail was begun and is not answered while `hangs`."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.answer: Callable[[str], str] = lambda _: "250 OK"
        self.sender_answer = "250 OK"
        self.drop_after: int | None = None
        self.hangs = False
        self.held: list[str] = []
        self.url = ""
        self.port = 0

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for recipient, mail in self.mails if recipient == address]

    @property
    def recipients(self) -> list[str]:
        return sorted(recipient for recipient, _ in self.mails)

    async def handle_MAIL(  # noqa: N802 - the library's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        del server, session, options
        if self.sender_answer.startswith("250"):
            envelope.mail_from = address
        return self.sender_answer

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        del server, session, options
        answer = self.answer(address)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        del session
        if self.hangs:
            self.held += envelope.rcpt_tos
            await asyncio.Event().wait()  # ends with the connection
        if self.drop_after is not None and len(self.mails) >= self.drop_after:
            self.drop_after = None
            server.transport.abort()
            return "250 OK"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails += [(address, mail) for address in envelope.rcpt_tos]
        return "250 OK"


@asynccontextmanager
async def post_office(post: Post | None = None, *, port: int = 0) -> AsyncGenerator[Post, None]:
    """Listens on loopback until the block ends; `port` 0 is a free one."""
    post = post or Post()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(post, hostname="localhost"), "127.0.0.1", port)
    post.port = server.sockets[0].getsockname()[1]
    post.url = f"smtp+plain://127.0.0.1:{post.port}"
    try:
        yield post
    finally:
        server.close()
        await server.wait_closed()
