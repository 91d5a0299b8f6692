"""What is meant for the person at the keyboard: the one exception, and the nearest right word."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: one sentence, shown without a traceback."""


def near(word: str, known: Iterable[str]) -> str:
    """Return `did you mean …? ` with the nearest of some words, or nothing.

    The dashes before an option make no two alike.
    """
    names = {str(name).lstrip("-"): name for name in known}
    close = difflib.get_close_matches(word.lstrip("-"), names, 1)
    return f"did you mean {names[close[0]]}? " if close else ""
