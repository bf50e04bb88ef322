"""Who had an image written anew."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0025_actions.sql")
