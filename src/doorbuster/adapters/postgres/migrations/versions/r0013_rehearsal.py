"""Rehearsals: shadow sales that are marked, kept apart and removed."""

from doorbuster.adapters.postgres.migrations.steps import execute_files

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute_files("0013_rehearsal.sql")
