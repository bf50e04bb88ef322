"""What a failed call means: did it happen, did it not, or is that unknown.

Owns: the reading of asyncpg's exceptions. Keeps: I4 (an answer that is not sure is never taken for a commit).
Read next: `pool.py`.
"""

from typing import Final

import asyncpg

from doorbuster.engine.ports import InvariantViolation, OutcomeUnknown, StoreUnavailable

SESSION_ENDED: Final = (
    OSError,  # a time-out is one
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    # The server ended the session: by an administrator, by the crash of another one, while it went down.
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
FAILED: Final = (*SESSION_ENDED, asyncpg.PostgresError)
"""What a call to asyncpg can fail with and this package answers for; anything else is a mistake and goes up."""


def describe(error: BaseException) -> str:
    """One line for a log: the server's words, or the kind of failure where there are none."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def of_connecting(error: Exception) -> Exception:
    """Nothing was sent."""
    return StoreUnavailable(f"cannot connect to PostgreSQL: {describe(error)}")


def of_reading(error: Exception) -> Exception:
    """Nothing can have changed, whatever happened."""
    if isinstance(error, ValueError):  # an argument that asyncpg could not encode: the caller's mistake
        return error
    return StoreUnavailable(f"PostgreSQL did not answer: {describe(error)}")


def of_writing(error: Exception) -> Exception:
    """Which of the three a failed write is.

    An error the server reports while the session lives on is definite: the transaction was rolled back. A session
    that ended is not, even when the server said why: it may have ended between its commit and its last word.
    """
    if isinstance(error, ValueError):
        return error
    if isinstance(error, SESSION_ENDED):
        return OutcomeUnknown(f"the connection to PostgreSQL was lost: {describe(error)}")
    if isinstance(error, asyncpg.UniqueViolationError):
        return StoreUnavailable(f"another writer was first: {describe(error)}")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return InvariantViolation(f"PostgreSQL refused a row: {describe(error)}")
    return StoreUnavailable(f"PostgreSQL refused the transaction: {describe(error)}")
