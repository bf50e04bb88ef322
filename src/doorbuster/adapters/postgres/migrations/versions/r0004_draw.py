"""Draws: what is promised, who entered, what was drawn."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0004_draw.sql")
