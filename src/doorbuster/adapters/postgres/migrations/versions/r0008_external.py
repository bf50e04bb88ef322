"""External payment: what the shop reports, and the keys passes are signed with."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0008_external.sql")
