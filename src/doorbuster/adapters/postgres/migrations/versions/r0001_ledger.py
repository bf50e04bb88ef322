"""The ledger: sales, orders, allowances, payments, log, and the functions that change them."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files(
        "0001_tables.sql",
        "0001_views.sql",
        "0001_log.sql",
        "0001_commit.sql",
        "0001_orders.sql",
        "0001_sales.sql",
    )
