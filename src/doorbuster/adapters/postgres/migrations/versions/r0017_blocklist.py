"""A million blocked accounts in fewer seconds."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0017_blocklist.sql")
