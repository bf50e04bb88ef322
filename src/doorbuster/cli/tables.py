"""What commands print for people.

Owns: the look of a table.
"""

import sys


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Left aligned, without lines; nothing is cut off when a program reads it."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*head, box=None, show_header=any(head), pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))  # Text: brackets in a title are no markup
    # What is read by a program is not cut to the width of a screen.
    Console(width=None if sys.stdout.isatty() else 250).print(table)
