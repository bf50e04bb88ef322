"""Which gates there are, and who was paged about what."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0011_fleet.sql")
