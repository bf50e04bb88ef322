"""Brings a database to the schema this version needs.

Owns: the entry points and the lock. Safe to call at any time and by many at once: whoever comes second waits, then
finds nothing to do. Alembic writes the script from the revision that is there to the newest; asyncpg executes it.
Alembic is imported here only, and only when there is something to do.
"""

import asyncio
import io
import re
from importlib import resources
from typing import Final

import asyncpg

from doorbuster.adapters.postgres import failures
from doorbuster.adapters.postgres.pool import CONNECT_TIMEOUT_S, Connection

_REVISION: Final = re.compile(r"r(\d{4})_\w+\.py")
_LOCK: Final = f"select pg_advisory_xact_lock({int.from_bytes(b'Doorbust')})"
"""Any number that nobody else uses."""


def head() -> str:
    """The newest revision of this version."""
    files = (resources.files("doorbuster.adapters.postgres") / "migrations" / "versions").iterdir()
    return max(found[1] for file in files if (found := _REVISION.fullmatch(file.name)))


async def schema_problem(connection: Connection) -> str | None:
    """Why this version cannot work with the database as it is; None if it can."""
    version = await _version(connection)
    if version == head():
        return None
    if version is None:
        return "the database has no schema yet; run `doorbuster migrate`"
    if version > head():
        return f"the schema is at {version}, newer than this version knows ({head()}); use the newer version"
    return f"the schema is at {version}, this version needs {head()}; run `doorbuster migrate`"


def migrate(database_url: str) -> None:
    """Apply what is missing, in one transaction. For callers without an event loop."""
    asyncio.run(apply(database_url))


async def apply(database_url: str) -> None:
    """Apply what is missing, in one transaction: all of it or nothing. StoreUnavailable if the server cannot do it;
    a schema that is newer than this version is left as it is."""
    try:
        connection: Connection = await asyncpg.connect(database_url, timeout=CONNECT_TIMEOUT_S)
    except failures.FAILED as error:
        raise failures.of_connecting(error) from error
    try:
        version = await _version(connection)
        if version is None or version < head():
            async with connection.transaction():
                await connection.execute(_LOCK)
                version = await _version(connection)  # whoever had the lock may have done it all
                if version is None or version < head():
                    await connection.execute(_script(version))
    except failures.FAILED as error:
        raise failures.of_writing(error) from error
    finally:
        await connection.close()


def offline_sql(since: str | None = None) -> str:
    """What `apply` would execute on a database at revision `since`, for those who apply it by hand."""
    return f"begin;\n{_LOCK};\n\n{_script(since)}\ncommit;\n"


async def _version(connection: Connection) -> str | None:
    # By a snapshot, not by to_regclass: what that has not found once it may go on not finding in this transaction.
    present = "select exists (select from pg_tables where tablename = $1 and schemaname = any(current_schemas(false)))"
    if not await connection.fetchval(present, "alembic_version"):
        return None
    return await connection.fetchval("select version_num from alembic_version")


def _script(since: str | None) -> str:
    from alembic import command  # noqa: PLC0415  # 0.2 s that a process with nothing to migrate does not spend
    from alembic.config import Config  # noqa: PLC0415

    script = io.StringIO()
    config = Config(output_buffer=script)
    config.set_main_option("script_location", str(resources.files("doorbuster.adapters.postgres") / "migrations"))
    command.upgrade(config, "head" if since is None else f"{since}:head", sql=True)
    return script.getvalue()
