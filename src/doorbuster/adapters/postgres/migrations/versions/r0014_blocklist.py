"""A million blocked accounts in seconds."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0014_blocklist.sql")
