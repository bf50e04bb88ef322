"""Who is told by web push."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0015_push.sql")
