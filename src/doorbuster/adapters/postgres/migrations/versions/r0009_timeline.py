"""A sale's day: its plan, its steps and its report."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0009_timeline.sql")
