"""A rehearsal makes way for a real sale."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0021"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0021_rehearsal.sql")
