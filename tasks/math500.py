r"""MATH-500: 500 competition problems in words and formulas, of 7 subjects and 5 levels.

Papers: Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset", arXiv
2103.03874; the 500 are the test split of Lightman et al. 2023, arXiv 2305.20050. `official` is
MATH's own rule (github.com/hendrycks/math at 08e65fc4, modeling/math_equivalence.py): the last
\boxed{}, compared as a text after its clean-up. The prompt is the one usual for chat models, which
Qwen's model cards recommend.
"""

import re

from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.data.local import questions
from tasks.grading import extract
from tasks.judging import Reading, metrics

REQUEST = "\nPlease reason step by step, and put your final answer within \\boxed{}."


def _row(row: Row) -> Row:
    return {
        "id": row["unique_id"],
        "problem": row["problem"],
        "answer": row["answer"],
        "metadata": {"subject": row["subject"], "level": row["level"]},
        "images": [],
        FOLDER: row[FOLDER],
    }


dataset = loader("math500", _row, ["problem", "answer"], questions("math500", "test.jsonl"))


def to_prompt(row: Row) -> str:
    """Return the problem and the request."""
    return f"{row['problem']}{REQUEST}"


def official(row: Row, text: str) -> Reading:
    """Compare what is in the last box."""
    said = _boxed(text)
    return said, said is not None and equivalent(said, row["answer"])


def _boxed(text: str) -> str | None:
    r"""Return what the last `\boxed` holds: up to a dollar behind a blank, else in its braces."""
    if "\\boxed " in text:
        return text.rpartition("\\boxed ")[2].partition("$")[0]
    start = text.rfind("\\boxed")
    if not text.startswith("\\boxed{", start):
        return None
    depth = 0
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start + len("\\boxed{") : start + brace.start()]
    return None


def equivalent(a: str, b: str) -> bool:
    r"""Whether two answers are one text after MATH's clean-up.

    >>> equivalent(r"\dfrac12", "1/2"), equivalent("x=5", "5"), equivalent("5.0", "5")
    (True, True, False)
    """
    try:
        return _cleaned(a) == _cleaned(b)
    except ValueError:
        return a == b


_DROPPED = (
    ("\n", ""),
    ("\\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    ("\\left", ""),
    ("\\right", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\$", ""),
)


def _cleaned(text: str) -> str:
    """Clean up an answer.

    Raises:
        ValueError: The official clean-up stumbles over it.
    """
    for old, new in _DROPPED:
        text = text.replace(old, new)
    if text.count("\\text{ ") > 1:
        raise ValueError("more than one unit")
    text = text.partition("\\text{ ")[0].replace("\\%", "").replace("%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = f"0{text}"
    name, equals, value = text.partition("=")
    if equals and "=" not in value and len(name) <= 2:
        text = value
    text = _with_braces(text, "\\sqrt", 1).replace(" ", "")
    text = _with_braces(text, "\\frac", 2)
    return _fraction("\\frac{1}{2}" if text == "0.5" else text)


def _with_braces(text: str, command: str, arguments: int) -> str:
    """Put braces around a command's arguments of one character, unless the first has some."""
    head, *parts = text.split(command)
    braced = [head]
    for part in parts:
        if not part:
            raise ValueError(f"nothing follows {command}")
        if not part.startswith("{") and len(part) < arguments:
            return text
        braced += command, _braced(part, arguments)
    return "".join(braced)


def _braced(part: str, arguments: int) -> str:
    if part.startswith("{"):
        return part
    bare = 2 if arguments == 2 and part[1] != "{" else 1
    return "".join(f"{{{one}}}" for one in part[:bare]) + part[bare:]


def _fraction(text: str) -> str:
    top, slash, bottom = text.partition("/")
    whole = re.compile(r"-?(?:0|[1-9][0-9]*)")
    if slash and whole.fullmatch(top) and whole.fullmatch(bottom) and "-0" not in (top, bottom):
        return f"\\frac{{{top}}}{{{bottom}}}"
    return text


def robust(row: Row, text: str) -> Reading:
    """Compare the final answer by value."""
    return extract.read_value(text, row["answer"])


def groups(row: Row) -> tuple[str, ...]:
    """Return subject and level."""
    return f"subject: {row['metadata']['subject']}", f"level: {row['metadata']['level']}"


process_results = metrics(acc=robust, acc_official=official)
