"""Looks for settings of a Valkey server that Doorbuster cannot or should not live with.

Owns: the list of such settings and the advice. Used by `doorbuster doctor`; nothing here is needed to sell.
"""

from typing import Final

from hiredis import ReplyError

from doorbuster.adapters.valkey.address import read_address
from doorbuster.adapters.valkey.mux import Limits, Mux
from doorbuster.adapters.valkey.node import Node, read_info
from doorbuster.adapters.valkey.wire import known_reply
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable

_VERSION_MIN: Final = 7
"""Functions came with 7.0; see docs/decisions/0003-valkey-functions.md."""


async def settings_problems(url: str) -> list[str]:
    """Everything about this server that an operator should change, in words to act on; empty if all is well.

    StoreUnavailable: it does not let us in or does not answer. ValueError: the URL is malformed."""
    node = Node(read_address(url), Limits())
    node.start()
    try:
        await node.tried()
        info = read_info(await node.mux.call(("INFO",)))
        found = [_version_problem(info), _role_problem(info), *await _config_problems(node.mux)]
    except OutcomeUnknown as problem:
        raise StoreUnavailable(str(problem)) from None
    except ReplyError as problem:
        raise StoreUnavailable(f"valkey does not say how it is set up: {problem}") from None
    finally:
        await node.close()
    return [problem for problem in found if problem is not None]


def _version_problem(info: dict[str, str]) -> str | None:
    version = info.get("valkey_version") or info.get("redis_version", "0")
    if int(version.split(".")[0]) >= _VERSION_MIN:
        return None
    return f"the server is version {version}; functions need {_VERSION_MIN}.0 or later: upgrade it"


def _role_problem(info: dict[str, str]) -> str | None:
    if info.get("role") == "slave":
        return "the url names a replica, which takes no writes: name the primary or a cluster node"
    return None


async def _config_problems(mux: Mux) -> list[str | None]:
    try:
        policy = await _setting(mux, "maxmemory-policy")
        append_only = await _setting(mux, "appendonly")
    except ReplyError:
        # Managed servers hide CONFIG; then only the operator can know.
        return ["the server hides its settings: see to it that maxmemory-policy is noeviction and appendonly is yes"]
    return [
        None
        if policy == "noeviction"
        else f"maxmemory-policy is {policy}: a full server would drop stock and holds; set it to noeviction",
        None
        if append_only == "yes"
        else "appendonly is no: every restart empties the image and sales stop until it is rebuilt; set it to yes",
    ]


async def _setting(mux: Mux, name: str) -> str:
    match known_reply(await mux.call(("CONFIG", "GET", name))):
        case [_, bytes() as value]:
            return value.decode()
        case _:
            return ""
