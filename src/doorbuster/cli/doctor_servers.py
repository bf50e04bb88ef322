"""The doctor's questions to PostgreSQL and Valkey."""

import asyncio
from typing import Final

import asyncpg

from doorbuster.adapters.postgres.doctor import settings_problems as postgres_problems
from doorbuster.adapters.postgres.migrate import head, schema_problem
from doorbuster.adapters.system import wall_ms
from doorbuster.adapters.valkey.address import read_address
from doorbuster.adapters.valkey.library import LIBRARY_NAME
from doorbuster.adapters.valkey.mux import Limits
from doorbuster.adapters.valkey.node import Node
from doorbuster.adapters.valkey.settings import settings_problems as valkey_problems
from doorbuster.cli.findings import Finding, Mark
from doorbuster.domain.limits import CLOCK_JUMP_MS_MAX
from doorbuster.engine.ports import OutcomeUnknown, StoreUnavailable

_PATIENCE_S: Final = 5.0
_UNREACHABLE: Final = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def postgres_findings(url: str) -> list[Finding]:
    """Reachable, version, schema, settings, clock."""
    about = "PostgreSQL"
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url, timeout=_PATIENCE_S)
    except _UNREACHABLE as problem:
        why = str(problem).strip() or type(problem).__name__
        return [Finding(about, Mark.BROKEN, f"cannot be reached: {why}; start it, or mend DOORBUSTER_DATABASE_URL")]
    try:
        version = str(await connection.fetchval("show server_version"))
        found = [Finding(about, Mark.OK, f"version {version}")]
        problem = await schema_problem(connection)
        if problem is not None:
            # The other questions need what the schema brings.
            return [*found, Finding("schema", Mark.BROKEN, problem)]
        found.append(Finding("schema", Mark.OK, f"at {head()}"))
        found += [Finding(about, Mark.BROKEN, problem) for problem in await postgres_problems(connection)]
        return [*found, await _clock(connection)]
    except _UNREACHABLE as problem:
        return [Finding(about, Mark.BROKEN, f"did not answer every question: {problem}")]
    finally:
        await connection.close(timeout=_PATIENCE_S)


async def _clock(connection: "asyncpg.Connection[asyncpg.Record]") -> Finding:
    before = wall_ms()
    theirs = int(await connection.fetchval("select (extract(epoch from clock_timestamp()) * 1000)::bigint"))
    offset_ms = theirs - (before + wall_ms()) // 2
    told = f"the database's is {offset_ms:+d} ms from this machine's"
    if abs(offset_ms) <= CLOCK_JUMP_MS_MAX:
        return Finding("clock", Mark.OK, told)
    # Gates correct it, so nothing is broken; whoever reads logs of both would be puzzled.
    return Finding("clock", Mark.NOTE, f"{told}; gates correct it, but let both follow a time server")


async def valkey_findings(url: str) -> list[Finding]:
    """Reachable, settings, function library."""
    about = "Valkey"
    try:
        problems = await valkey_problems(url)
        loaded = await _library_is_loaded(url)
    except (StoreUnavailable, OutcomeUnknown, ValueError, OSError) as problem:
        return [Finding(about, Mark.BROKEN, f"cannot be reached: {problem}; start it, or mend DOORBUSTER_VALKEY_URL")]
    found = [Finding(about, Mark.BROKEN, problem) for problem in problems] or [Finding(about, Mark.OK, "set up well")]
    if loaded:
        return [*found, Finding("functions", Mark.OK, f"{LIBRARY_NAME} is loaded")]
    return [*found, Finding("functions", Mark.NOTE, f"{LIBRARY_NAME} is not loaded; the first gate or worker loads it")]


async def _library_is_loaded(url: str) -> bool:
    node = Node(read_address(url), Limits())
    node.start()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await node.tried()
            return bool(await node.mux.call(("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY_NAME)))
    finally:
        await node.close()
