"""Tables on a terminal, in which no name is markup or steers it."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from common.text import printable

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Return where tables are printed: of the terminal's width, in a file or pipe of 200."""
    from rich.console import Console

    # Nothing is cut off in a file or a pipe.
    return Console(width=None if sys.stdout.isatty() else 200)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> None:
    """Print a table.

    Args:
        heads: Of the columns.
        rows: Their cells, taken as they are but for what could steer a terminal.
        align: A letter for each column, `l` or `r`.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for head, letter in zip(heads, align, strict=True):
        table.add_column(Text(printable(head)), justify="right" if letter == "r" else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console().print(table)
