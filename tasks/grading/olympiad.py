r"""Whether two answers are the same by OlympiadBench's judge.

github.com/OpenBMB/OlympiadBench (MIT) at ba5b26a7, eval/auto_scoring_judge.py. The script asks
sympy, for as long as that takes; here formulas are compared by their values at a few points
(`expressions`), and equations by the ratio of their two sides' differences there. What that cannot
read is not the same.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction

from tasks.grading import expressions
from tasks.grading.exact import Value
from tasks.grading.expressions import POINTS
from tasks.published import Record, Vectors

PRECISION = 1e-8
SLACK = 1.01
"""By which a precision may be missed."""
NOTHING = 1e-3
"""A constant difference of formulas that is none."""

ITEMS, LENGTH = 50, 20_000
"""Longer lists and texts are not the same as anything."""

_REPLACED = {
    "\\left": "", "\\right": "", "∶": ":", "，": ",", "$": "", "\\approx": "=", "\\simeq": "=",
    "\\sim": "=", "^\\prime": "'", "^{\\prime}": "'", "^\\circ": "", "%": "",
}  # fmt: skip
_EDGES = "\n$,.:;^_=+`!@#$%^&*~，。"
_UPRIGHT = re.compile(r"\\(?:mathrm|mathbf)\{~?([^}]*)\}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]+")


def judge(first: str, second: str, precisions: Sequence[float] = (PRECISION,)) -> bool:
    r"""Whether two answers, of several parts in any order, are the same.

    Args:
        first: An answer, in boxes or not; the precisions are in its order.
        second: The other.
        precisions: One for all parts, or one for each.

    >>> judge(r"$\frac{1}{2}$", r"\boxed{0.5}"), judge("50", "0.5"), judge("3,4", "4, 3")
    (True, True, True)
    >>> judge("2", "2.1", [0.1]), judge("y=2x+1", "2y=4x+2"), judge("5", r"5 \mathrm{~m}")
    (True, True, False)
    """
    if max(len(first), len(second)) > LENGTH:
        return False
    try:
        one, other = _plain(first), _plain(second)
    except ValueError:
        return False
    if one == other:
        return True
    left, right = _parts(_CHINESE.sub("", one)), _parts(_CHINESE.sub("", other))
    allowed = list(precisions) if len(precisions) > 1 else list(precisions) * len(left)
    if len(left) != len(right) or len(allowed) < len(left) or len(left) > ITEMS:
        return False
    place = -1
    while left:
        place = (place + 1) % len(left)
        item, precision = left[place], allowed[place]
        found = next((one for one in right if _equal(item, one, precision)), None)
        if found is None:
            return False
        left.remove(item)
        right.remove(found)
        allowed.remove(precision)
    return True


def _plain(text: str) -> str:
    """Return what all boxes hold, else the formulas of the last line, else all, in one spelling."""
    if boxes := _boxes(text):
        text = "".join(f"{box}," for box in boxes)
    elif formulas := re.findall(r"\$(.*?)\$", text.strip().split("\n")[-1]):
        text = "".join(f"{formula}," for formula in formulas)
    if "\\in " in text:
        text = text.split("\\in ")[1]
    for sign, written in _REPLACED.items():
        text = text.replace(sign, written)
    return _UPRIGHT.sub(r"\1", text.strip(_EDGES))


def _boxes(text: str) -> list[str]:
    """Return what each box holds, those in boxes too. Raises ValueError where one is not closed."""
    starts = [found.end() for found in re.finditer(r"\\boxed{", text)]
    if len(starts) > ITEMS:
        raise ValueError("too many boxes")
    return [text[start : _end(text, start)] for start in starts]


def _end(text: str, start: int) -> int:
    depth = 1
    for found in re.finditer("[{}]", text[start:]):
        depth += 1 if found[0] == "{" else -1
        if not depth:
            return start + found.start()
    raise ValueError("a box is not closed")


def _parts(text: str) -> list[str]:
    """Split at the commas outside of brackets; both signs of ± are parts."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    if start < len(text):
        parts.append(text[start:].strip())
    return [
        part.replace("\\pm", sign) for part in parts for sign in ("+-" if "\\pm" in part else " ")
    ]


def _equal(one: str, other: str, precision: float) -> bool:
    if one == other != "":
        return True
    both = one + other
    if _is_interval(one) and _is_interval(other) and _same_intervals(one, other, precision):
        return True
    if _same_numbers(one, other, precision):
        return True
    one, other = _plain_letters(one, both), _plain_letters(other, both)
    if not ("=" in one and "=" in other):
        return _same_values(one, other, precision)
    return _same_equations(one, other)


def _is_interval(text: str) -> bool:
    return text.startswith(("(", "[")) and text.endswith((")", "]"))


def _same_intervals(one: str, other: str, precision: float) -> bool:
    parts, others = one.split("\\cup"), other.split("\\cup")
    return len(parts) == len(others) and all(
        a and b and (a[0], a[-1]) == (b[0], b[-1]) and _same_ends(a, b, precision)
        for a, b in zip(parts, others, strict=True)
    )


def _same_ends(one: str, other: str, precision: float) -> bool:
    ends, both = (text.strip("[]()").split(",") for text in (one, other)), one + other
    return all(
        _same_values(_plain_letters(a, both), _plain_letters(b, both), precision)
        for a, b in zip(*ends, strict=False)
    )


def _same_numbers(one: str, other: str, precision: float) -> bool:
    """Compare plain numbers, the first also as a percentage or a hundredfold."""
    try:
        wanted, found = float(one), float(other)
    except ValueError:
        return False
    scaled = (wanted / 100, wanted, wanted * 100)
    return any(abs(value - found) <= precision * SLACK for value in scaled)


def _same_values(one: str, other: str, precision: float) -> bool:
    """Compare what stands behind the first equals signs."""
    one, other = (text.split("=")[1] if "=" in text else text for text in (one, other))
    if one.strip() == other.strip() != "":
        return True
    first, second = expressions.read(one), expressions.read(other)
    gaps = [_gap(one, other, point) for point in range(POINTS)]
    if first is None or second is None:
        return False
    if not first.letters and not second.letters:
        return gaps[0] <= precision * SLACK
    if bool(first.letters) != bool(second.letters):
        return False
    near = 1e-9 * max(1.0, apart(first.value, Fraction(0)))
    return all(gap < NOTHING and abs(gap - gaps[0]) <= near for gap in gaps)


def _gap(one: str, other: str, point: int) -> float:
    """Return how far apart two formulas are at a point."""
    first, second = expressions.read(one, point), expressions.read(other, point)
    if first is None or second is None:
        return math.inf
    return apart(first.value, second.value)


def apart(one: Value, other: Value) -> float:
    """Return how far apart two values are; infinity where that is no float."""
    try:
        return abs(complex(one - other))
    except OverflowError:
        return math.inf


def _same_equations(one: str, other: str) -> bool:
    """Compare two equations: one is an integer multiple of the other, or only the right differs."""
    (left, _, right), (other_left, _, other_right) = (x.partition("=") for x in (one, other))
    if "".join(left.split()) == "".join(other_left.split()):
        return "=" not in right + other_right and _same_values(right, other_right, 0)
    ratios: list[float] = []
    for point in range(POINTS):
        first, second = _difference(one, point), _difference(other, point)
        if not first or not second:
            return False
        ratios.append(first / second)
    if not all(math.isclose(ratio, ratios[0], rel_tol=1e-9) for ratio in ratios):
        return False
    if not ratios[0] or math.isinf(ratios[0]):
        return False
    larger = max(abs(ratios[0]), 1 / abs(ratios[0]))
    return math.isclose(larger, round(larger), rel_tol=1e-9)


def _difference(equation: str, point: int) -> float | None:
    """Return left less right; None where that is no float."""
    left, equals, right = equation.partition("=")
    first, second = expressions.read(left, point), expressions.read(right, point)
    if not equals or first is None or second is None:
        return None
    try:
        found = first.value - second.value
        return None if isinstance(found, complex) else float(found)
    except OverflowError:
        return None


# Letters with indices, which `expressions` does not read

_INDEXED = re.compile(r"(\\[a-zA-Z]+|[a-zA-Z])\s*((?:_\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w)|')+)")
_POWER_FIRST = re.compile(r"([a-zA-Z])\^(\{[^{}]*\}|\w)_(\{[^{}]*\}|\w)")
_NAMED = re.compile(r"\\(?:hbar|Phi|Psi|Gamma|Lambda|Theta|Sigma|Pi|Xi|odot|nu)(?![a-zA-Z])")
_FREE = (
    "\\alpha", "\\beta", "\\gamma", "\\delta", "\\epsilon", "\\zeta", "\\eta", "\\kappa",
    "\\xi", "\\tau", "\\chi", "\\psi", "\\varphi", "\\ell", "\\Delta", "\\Omega",
)  # fmt: skip


def _plain_letters(text: str, both: str) -> str:
    r"""Write each letter with its index, and each sign that has no value, as a letter of its own.

    Args:
        text: A formula.
        both: The two that are compared: what is the same in them gets the same letter.
    """
    text, both = (_POWER_FIRST.sub(r"\1_\3^\2", one) for one in (text, both))
    free = [letter for letter in _FREE if letter not in both]
    found = dict.fromkeys(_name(one) for form in (_INDEXED, _NAMED) for one in form.finditer(both))
    names = dict(zip(found, free, strict=False))
    for pattern in (_INDEXED, _NAMED):
        text = pattern.sub(lambda one: f" {names.get(_name(one), one[0])} ", text)
    return text


def _name(found: re.Match[str]) -> str:
    return re.sub(r"[\s{}]", "", found[0])


def _precisions(vector: Record) -> list[float]:
    given = vector["precision"]
    return given if isinstance(given, list) else [given]


VECTORS: Vectors = {
    ("olympiadbench", "official"): lambda vector: judge(
        vector["gt"], vector["answer"], _precisions(vector)
    ),
    ("olympiadbench", "official_swapped"): lambda vector: judge(
        vector["answer"], vector["gt"], _precisions(vector)
    ),
}
