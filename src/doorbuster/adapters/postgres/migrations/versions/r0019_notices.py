"""What is told of a sale follows the sale, and those who asked for it."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0019_notices.sql")
