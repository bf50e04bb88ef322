"""The block list in pages."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0023"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0023_blocklist.sql", "0023_blocklist_readers.sql")
