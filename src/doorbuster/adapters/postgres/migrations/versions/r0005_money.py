"""Money: extended holds, lapsed holds, refunds, reconciliation."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0005_money.sql", "0005_terms.sql", "0005_commit.sql", "0005_payments.sql")
