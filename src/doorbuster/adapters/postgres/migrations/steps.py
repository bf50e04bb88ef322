"""What a revision may do: bring in SQL files as they are.

Owns: the way from a file to the script alembic writes.
"""

from importlib import resources

from alembic import context


def execute_files(*names: str) -> None:
    """Append files of `migrations/sql/`, in this order, to the script."""
    for name in names:
        script = (resources.files("doorbuster.adapters.postgres.migrations") / "sql" / name).read_text(encoding="utf-8")
        context.get_context().impl.static_output(script)
