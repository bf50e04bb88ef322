"""What the gates answered, samples of running sales, alerts."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0012_monitor.sql")
