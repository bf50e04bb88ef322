"""`doorbuster migrate`."""

import asyncio
import sys

from doorbuster.adapters.postgres import migrate
from doorbuster.cli.settings import read
from doorbuster.engine.ports import StoreUnavailable


def run_migrate(*, sql: bool) -> int:
    """Apply what is missing, or print it."""
    settings = read()
    if sql:
        print(migrate.offline_sql())
        return 0
    if not settings.database_url:
        print("doorbuster: DOORBUSTER_DATABASE_URL is not set; `up` migrates its own server by itself", file=sys.stderr)
        return 2
    try:
        asyncio.run(migrate.apply(settings.database_url))
    except StoreUnavailable as problem:
        print(f"doorbuster: the database cannot be migrated: {problem}", file=sys.stderr)
        return 2
    print(f"The database is at {migrate.head()}.")
    return 0
