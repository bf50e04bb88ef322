"""News: what gateways say by themselves."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0006_news.sql")
