"""Whether a sampled answer is right, by the answer of a training row: the verdicts of the tasks.

Named as `drift.training.config` names them. Each returns None where an answer cannot be read.
"""

import re
import string

from tasks import pocket
from tasks.grading import extract
from tasks.grading.places import places

LETTERS = dict.fromkeys(string.ascii_uppercase[:10], "")


def word(truth: str, text: str) -> bool | None:
    """Compare the last words after the thoughts, as the pocket does.

    >>> word("<think> 3 + 4 = 7 </think> 7", "<think> 9 </think> 7"), word("7", "<think> 7")
    (True, None)
    """
    spoken = extract.after_thinking(truth)
    return pocket.verdict({"answer": spoken.split()[-1]}, text)[1] if spoken else None


def math(truth: str, text: str) -> bool | None:
    r"""Compare the stated answers by value, or by letter where the true one is a letter.

    >>> math(r"Hence \boxed{\frac12}", "It is 0.5."), math("(B)", "The answer is B.")
    (True, True)
    >>> math("12", "I cannot tell.") is None, math("12", "So x = 13")
    (True, False)
    """
    place = next(places(truth), None)
    stated = place.text.removesuffix(".") if place else ""
    if letter := re.fullmatch(r"\(?([A-J])\)?", stated):
        chosen = extract.read_choice(text, LETTERS)
        return None if chosen is None else chosen == letter[1]
    return extract.read_value(text, stated)[1] if stated else None
