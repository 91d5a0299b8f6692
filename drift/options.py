"""Options that several commands share, and lists of words and numbers read from them."""

from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from common.command_line import completing, placeable
from common.errors import UserError
from common.tracking import TRACKERS

Vlm = Annotated[Path, typer.Argument(metavar="VLM", help="The VLM: folder or hub id.")]
Llm = Annotated[
    Path, typer.Argument(metavar="LLM", help="The reasoner, text-only or a VLM: folder or hub id.")
]
Out = Annotated[Path, typer.Option(callback=placeable, help="Folder to write.")]
Base = Annotated[Path | None, typer.Option(help="The model that both came from: folder or hub id.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")]
Method = Annotated[
    str,
    typer.Option(
        help="linear, task_arithmetic, slerp, ties, dare_linear, dare_ties, layer_swap, rank1, ip "
        "or ip_coded."
    ),
]
ReportTo = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help=f"Trackers to tell: {', '.join(TRACKERS)}.",
        autocompletion=completing(lambda: TRACKERS),
    ),
]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random.")]


def words(text: str) -> tuple[str, ...]:
    """Comma-separated words.

    >>> words("attention, mlp")
    ('attention', 'mlp')
    """
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(text: str, kind: type, what: str) -> tuple:
    """Comma-separated numbers.

    Raises:
        UserError: one of them is none, or there are none.
    """
    with suppress(ValueError):
        found = tuple(kind(word) for word in words(text))
        if found and all(map(isfinite, found)):
            return found
    raise UserError(f"{what} takes numbers separated by commas, not {text!r}")


def roles(text: str) -> tuple:
    """Comma-separated roles.

    Raises:
        UserError: one of them is none.
    """
    from drift.families import ROLES

    unknown = [word for word in words(text) if word not in ROLES]
    if unknown or not words(text):
        raise UserError(f"--modules takes {', '.join(ROLES)}, not {text!r}")
    return words(text)
