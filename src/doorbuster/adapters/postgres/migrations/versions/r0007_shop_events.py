"""Shop events: what the shop is told."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0007_shop_events.sql", "0007_webhooks.sql")
