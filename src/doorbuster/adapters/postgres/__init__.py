"""PostgreSQL: the ledger. It alone decides who owns what; everything in Valkey can be written again from it.

Owns: the schema (`migrations/`), the queries (`sql/`), the connections (`pool.py`), the stores that the engine knows.
Keeps: I1, I4, I5, I6, I12, I13, I15, in SQL, where two processes meet.
Read next: `migrations/sql/0001_commit.sql`, then `orders.py`.
"""

from doorbuster.adapters.postgres.audits import PostgresAuditStore
from doorbuster.adapters.postgres.doctor import settings_problems
from doorbuster.adapters.postgres.lines import PostgresLineLedger
from doorbuster.adapters.postgres.orders import PostgresOrderStore
from doorbuster.adapters.postgres.pool import Database, connect
from doorbuster.adapters.postgres.sales import PostgresSaleStore

__all__ = [
    "Database",
    "PostgresAuditStore",
    "PostgresLineLedger",
    "PostgresOrderStore",
    "PostgresSaleStore",
    "connect",
    "settings_problems",
]
