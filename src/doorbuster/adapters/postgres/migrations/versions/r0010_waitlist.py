"""Who wants to be told of a sale, and what they are told."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0010_waitlist.sql")
