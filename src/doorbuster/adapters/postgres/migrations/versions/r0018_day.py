"""A day that no single step can stop."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0018_day.sql")
