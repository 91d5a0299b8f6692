"""Tables on a terminal, in which no name is markup or steers it."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from common.text import printable

if TYPE_CHECKING:
    from rich.console import Console


def console(width: int = 200) -> "Console":
    """Return where tables are printed: of the terminal's width, in a file or a pipe of this."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width)


def print_next(*words: object) -> None:
    """Print the command that usually comes next, to be copied; `…` stands for what is one's own."""
    print(printable(f"next: driftbench {' '.join(_word(str(word)) for word in words)}"))


def _word(text: str) -> str:
    return text if text == "…" else shlex.quote(text)


def print_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    align: str,
    width: int = 200,
) -> None:
    """Print a table.

    Args:
        heads: Of the columns; all empty: none is shown.
        rows: Their cells, taken as they are but for what could steer a terminal.
        align: A letter for each column, `l` or `r`.
        width: Columns that it may take where there is no terminal.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=any(heads))
    for head, letter in zip(heads, align, strict=True):
        justify: Literal["left", "right"] = "right" if letter == "r" else "left"
        table.add_column(Text(printable(head)), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console(width).print(table)
