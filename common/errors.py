"""What is meant for the person at the keyboard: the one exception, and the nearest right word."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: one sentence, shown without a traceback."""


def near(word: str, known: Iterable[str]) -> str:
    """Return `did you mean …? ` with the nearest of some words, or nothing."""
    close = difflib.get_close_matches(word, [str(name) for name in known], 1)
    return f"did you mean {close[0]}? " if close else ""
