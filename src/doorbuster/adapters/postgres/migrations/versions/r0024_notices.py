"""What is told of a sale follows the sale, and those who asked for it."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0024_notices.sql")
