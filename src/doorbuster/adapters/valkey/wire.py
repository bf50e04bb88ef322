"""The kinds of value on the wire, and the packing of commands.

Owns: the types; everything above works with them and not with `Any`. Knows hiredis, which is untyped here.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, cast

import hiredis

from doorbuster.engine.ports import InvariantViolation

Part: TypeAlias = str | int | bytes
Command: TypeAlias = Sequence[Part]
Reply: TypeAlias = "bytes | int | list[Reply] | None"

_pack: Final = cast("Callable[[tuple[Part, ...]], bytes]", hiredis.pack_command)


def pack(command: Command) -> bytes:
    """The bytes of a command. UnicodeEncodeError: a part has no UTF-8 form."""
    return _pack(tuple(command))


def known_reply(reply: object) -> Reply:
    """The kinds of reply that the second version of the protocol has."""
    if reply is None or isinstance(reply, list | bytes | int):
        return cast("Reply", reply)
    raise InvariantViolation(f"valkey sent a reply of an unknown kind: {reply!r}")
