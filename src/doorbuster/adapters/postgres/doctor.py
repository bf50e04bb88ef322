"""What is wrong with a PostgreSQL server for this use, in words an operator can act on.

Owns: the list of settings without which a promise does not hold. Keeps: I4.
"""

from typing import Final

from doorbuster.adapters.postgres.pool import Connection

VERSION_MIN: Final = 150_000
CLOCK_OFFSET_MS_MAX: Final = 5_000
"""A server whose clock is minutes away shows buyers a window and an expiry that are not theirs."""


async def settings_problems(connection: Connection, *, now_ms: int | None = None) -> list[str]:
    """Empty when every promise can be kept on this server. `now_ms` is the time of this machine, to compare clocks."""
    found: list[str] = []
    version = connection.get_server_version()
    if version.major * 10_000 < VERSION_MIN:
        found.append(f"PostgreSQL is version {version.major}; at least {VERSION_MIN // 10_000} is needed")
    settings = {
        row["name"]: row["setting"]
        for row in await connection.fetch(
            "select name, setting from pg_settings where name = any($1)", list(_MUST_BE_ON)
        )
    }
    found += [f"{name} is off: {reason}" for name, reason in _MUST_BE_ON.items() if settings.get(name) == "off"]
    if await connection.fetchval("select pg_is_in_recovery()"):
        found.append("this server is a standby: it can be read, not written to")
    if await connection.fetchval("show server_encoding") != "UTF8":
        found.append("the database is not in UTF8: names of buyers and products could not be stored")
    if now_ms is not None:
        server_ms: int = await connection.fetchval(
            "select (extract(epoch from clock_timestamp()) * 1000)::bigint"  # the schema may not be there yet
        )
        offset_s = (server_ms - now_ms) / 1000
        if abs(offset_s) * 1000 > CLOCK_OFFSET_MS_MAX:
            found.append(f"the server's clock is {offset_s:+.1f} s away from this machine's; one of them is wrong")
    return found


_MUST_BE_ON: Final = {
    "fsync": "an acknowledged order would be lost with the power (I4)",
    "full_page_writes": "a page half written at a power loss could not be mended (I4)",
    "synchronous_commit": "a commit would be answered before it is durable (I4)",
}
