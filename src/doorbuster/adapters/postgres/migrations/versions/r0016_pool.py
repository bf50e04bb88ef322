"""Gates say how busy their connections to the database are."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0016_pool.sql")
