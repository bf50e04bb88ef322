"""Payment attempts: their arrows, and the functions that lead them along."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0002_payments.sql")
