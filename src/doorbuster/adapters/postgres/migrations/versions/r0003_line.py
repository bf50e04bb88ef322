"""The line: numbers, grants, who gave up, what came back; keys that seal tickets."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files(
        "0003_tables.sql",
        "0003_views.sql",
        "0003_sales.sql",
        "0003_commit.sql",
        "0003_returns.sql",
        "0003_line.sql",
    )
