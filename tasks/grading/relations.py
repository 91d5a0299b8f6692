r"""Equations and inequalities: `x = 5`, `a < x \le b`, `y = 2x + 1`, as text."""

import re
from dataclasses import dataclass
from functools import lru_cache

from tasks.grading import exact, expressions

NAME = re.compile(r"\\?[a-zA-Z]+(?:_\{?\w+\}?)?(?:\([a-zA-Z]\))?(?:\^\{?-1\}?\([a-zA-Z]\))?")
SIGN = re.compile(r"\\(?:le|ge|ne|in|approx)(?![a-zA-Z])|[=<>]")
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}


@dataclass(frozen=True)
class Relation:
    """The last relation of a text; of `a = b = c` the last two parts."""

    left: str
    sign: str
    right: str

    @property
    def names(self) -> bool:
        """Whether it says what a name is worth."""
        return self.sign in ("=", "\\approx") and NAME.fullmatch(self.left) is not None


@lru_cache(4096)
def split(text: str) -> Relation | None:
    r"""Split a text at its last relation.

    >>> split(r"x \le 4"), split("a = b = 2")
    (Relation(left='x', sign='\\le', right='4'), Relation(left='b', sign='=', right='2'))
    """
    found = list(SIGN.finditer(text))
    if not found:
        return None
    sign = found[-1][0]
    begin = found[-2].end() if len(found) > 1 and sign in ("=", "\\approx") else 0
    left, right = text[begin : found[-1].start()].strip(), text[found[-1].end() :].strip()
    if sign in ("=", "\\approx") and NAME.fullmatch(right) and re.fullmatch(r"[-\d.,\s]+", left):
        left, right = right, left  # 5 = x
    return Relation(left, sign, right)


_ORDER = r"(?:<|>|\\[lg]e(?![a-zA-Z]))"
_BETWEEN = re.compile(rf"([^<>=]+?)\s*({_ORDER})\s*[a-zA-Z]\s*({_ORDER})([^<>=]+)")
_ONE_SIDED = re.compile(rf"[a-zA-Z]\s*({_ORDER})([^<>=]+)|([^<>=]+?)\s*({_ORDER})\s*[a-zA-Z]")


def interval(text: str) -> str | None:
    r"""Return an inequality of one unknown as an interval; None where it is none.

    >>> interval(r"1 < x \le 5"), interval(r"7 \ge x \ge -2"), interval("x < 2")
    ('(1, 5]', '[-2, 7]', '(-\\infty, 2)')
    """
    if found := _BETWEEN.fullmatch(text):
        low, first, second, high = found.groups()
        if _upwards(first) != _upwards(second):
            return None
        if not _upwards(first):
            low, first, second, high = high, _FLIPPED[second], _FLIPPED[first], low
        return f"{_bracket(first)}{low.strip()}, {high.strip()}{_bracket(second, closing=True)}"
    if not (found := _ONE_SIDED.fullmatch(text)):
        return None
    sign, bound = (found[1], found[2]) if found[1] else (_FLIPPED[found[4]], found[3])
    if SIGN.search(bound):
        return None
    if _upwards(sign):
        return f"(-\\infty, {bound.strip()}{_bracket(sign, closing=True)}"
    return f"{_bracket(sign)}{bound.strip()}, \\infty)"


def _upwards(sign: str) -> bool:
    return sign in ("<", "\\le")


def _bracket(sign: str, closing: bool = False) -> str:
    return {"<": "()", ">": "()"}.get(sign, "[]")[closing]


def same(truth: Relation, said: Relation) -> bool | None:
    """Whether two relations hold for the same values; None where that cannot be told.

    They are the same if the difference of their sides is, but for a constant factor.
    """
    signs = [relation.sign.replace("\\approx", "=") for relation in (truth, said)]
    if any(SIGN.search(relation.left) for relation in (truth, said)):
        return None
    ratio = _ratio(truth, said)
    if signs == ["=", "="]:
        return None if ratio is None else ratio != 0
    if "=" in signs:
        return False
    if ratio is None:
        return None
    wanted = signs[0] if ratio >= 0 else _FLIPPED.get(signs[0])
    return ratio != 0 and signs[1] == wanted


def _ratio(a: Relation, b: Relation) -> float | None:
    """Return the constant by which the differences of sides differ; 0: there is none."""
    ratios: list[exact.Value] = []
    for point in range(expressions.POINTS):
        read = [expressions.read(f"({x.left}) - ({x.right})", point) for x in (a, b)]
        if read[0] is None or read[1] is None or not read[0].value or not read[1].value:
            return None
        try:
            ratios.append(read[0].value / read[1].value)
            complex(ratios[-1])
        except OverflowError:
            return None
    if isinstance(ratios[0], complex) or not all(exact.close(r, ratios[0]) for r in ratios):
        return 0.0
    return float(ratios[0])
