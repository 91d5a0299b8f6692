r"""Whether a stated answer is the true one: numbers, lists, intervals, relations, formulas, words.

`same` answers True, False, or None where it cannot tell. Tolerance, in full:

- Rational values are compared exactly, roots and the like to nine digits. Spelling is free:
  `0.5`, `1/2`, `\frac12`, `½`, `5e-1` are one value.
- With `precision` p, two values are the same if the stated one rounds to the true one at p
  decimals.
- Otherwise a decimal stands for an exact value that rounds to it, if it has at least two decimals
  and three significant digits: `5.83` for `\sqrt{34}`, but not `0.3` for `1/3`.
- A unit may be left out, or stated where the truth has none. Where both name a common unit of one
  kind, the value is converted (`1 kg` is `1000 g`).
- `50%` is `0.5`, and `50` where only one side bears the sign. Without any sign 50 and 0.5 are the
  same only if the row's `unit` is the percentage.
- Lists keep their order, sets and bare enumerations do not; brackets of intervals must agree.
- `x = 5` and `5` are the same, as are `y = 2x + 1` and `2x + 1`, `x < 5` and `5 > x`.
- Words must be the same but for case, articles and punctuation.

What `tasks.grading.expressions` cannot read is put to math-verify, in a worker process that is
killed when it takes too long: sympy cannot be interrupted otherwise, and signals, math-verify's own
way, work in the main thread only. Before that, the text must be small and its numbers and powers
short, so that the clock is a last resort and verdicts do not hang on the machine's speed. math-
verify's reader of plain Python expressions, which evaluates them, is not used.
"""

import atexit
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

from tasks.grading import expressions

LENGTH = 400
"""Longer answers are not compared."""
SECONDS = 0.8
"""After so long math-verify has no answer."""


def same(
    truth: str,
    said: str,
    *,
    unit: str | None = None,
    precision: int | None = None,
    verify: bool = True,
) -> bool | None:
    r"""Whether a stated answer is the true one; None where it cannot be told.

    Args:
        truth: The true answer.
        said: The stated one, without the sentence around it.
        unit: The unit in which the question asks.
        precision: Decimals to which the question asks.
        verify: Ask math-verify where nothing else can tell.

    >>> same(r"\frac{3}{4}\pi", "0.75π"), same("12", "12 cm"), same("(3, 4)", "(4, 3)")
    (True, True, False)
    >>> same("1.41", "1.4142"), same("1000", "1 kg", unit="g"), same("50%", "0.5")
    (True, True, True)
    >>> same("x=5", "5"), same("x < 5", "5 > x"), same("12", "it is unclear") is None
    (True, True, True)
    """
    if max(len(truth), len(said)) > LENGTH:
        return None
    first, second = _clean(truth), _clean(said)
    if not second:
        return None
    if _NONE.fullmatch(second) and not _NONE.fullmatch(first):
        return None
    if first and _squeezed(first) == _squeezed(second):
        return True
    verdict = _compare(first, second, _Asked(unit, precision))
    if verify and verdict is None and not numeric(truth):
        verdict = _verified(first, second)
    return verdict


def numeric(truth: str) -> bool:
    """Whether a true answer is one number, with or without a unit."""
    return shape(truth) == "number"


@lru_cache(4096)
def shape(truth: str) -> str:
    """Return what a true answer is: `number`, `list`, `formula`, or `words`.

    >>> shape("12 cm"), shape("(3, 4)"), shape("2x + 1"), shape("the left one"), shape("x = 5")
    ('number', 'list', 'formula', 'words', 'number')
    """
    if len(truth) > LENGTH:
        return "words"
    text = _clean(truth)
    if _MATRIX.search(text) or _PAIR.search(text) or _JOINED.search(text):
        return "list" if re.search(r"\d|\\", text) else "words"
    if relation := _relation(text):
        simple = relation[1] == "=" and _NAME.fullmatch(relation[0])
        return shape(relation[2]) if simple else "formula"
    if listed := _listed(text):
        return "list" if any(_amount(_clean(item), letters=True) for item in listed[1]) else "words"
    if not _formal(text):
        return "words"
    amount = _amount(text, letters=False)
    if amount is None or (len(text) == 1 and text.isalpha()):
        return "formula" if _FORMAL.search(text) else "words"
    return "formula" if amount.letters else "number"


@dataclass(frozen=True)
class _Asked:
    unit: str | None = None
    precision: int | None = None


_FORMAL = re.compile(r"[=<>^{}\[\]\\]|\d")
_NONE = re.compile(r"n\s*/\s*a|n\.a\.?|none|unknown|undefined|nan|null", re.IGNORECASE)
_WRAPS = [
    re.compile(r"(?s)\$\$(.*)\$\$"),
    re.compile(r"(?s)\$([^$]*)\$"),
    re.compile(r"(?s)\\\((.*)\\\)"),
    re.compile(r"(?s)\\\[(.*)\\\]"),
    re.compile(r"(?s)\*\*([^*]*)\*\*"),
    re.compile(r"(?s)`([^`]*)`"),
    re.compile(r"(?s)\\(?:boxed|fbox|text|textbf|mbox|textrm|mathrm|mathbf)\s*\{([^{}]*)\}"),
    re.compile(r"(?s)\\boxed\s*\{(.*)\}"),
    re.compile(r"(?s)\{([^{}]*)\}"),
]


def _clean(text: str) -> str:
    r"""Return the answer without the marks around it, in one spelling."""
    text = text.strip()
    for _ in range(6):
        before = text
        text = text.strip().rstrip(".,;:!。，").strip() if not text.endswith("!") else text.strip()
        for wrap in _WRAPS:
            if inside := wrap.fullmatch(text):
                text = inside[1]
        if text == before:
            break
    return expressions.normal(text)


def _squeezed(text: str) -> str:
    text = re.sub(r"_\{(\w+)\}", r"_\1", text)
    return re.sub(r"[\s$]+|\\(?:text|mbox|textrm)(?![a-zA-Z])", "", text).casefold()


def _compare(truth: str, said: str, asked: _Asked) -> bool | None:
    r"""Compare by the shape of the truth, from the outermost mark inwards."""
    if _PAIR.search(truth) or _PAIR.search(said):
        return _unordered(_both_signs(truth), _both_signs(said), asked)
    if _MATRIX.search(truth):
        return _matrices(truth, said, asked)
    if _JOINED.search(truth):
        return _unordered(_split(_JOINED, truth), _split(_JOINED, said), asked)
    if _JOINED.search(said):
        said = ", ".join(_split(_JOINED, said))
    if between := _between(truth):
        other = _between(said) or said
        return _compare(between, other.rpartition("\\in")[2].strip(), asked)
    if relation := _relation(truth):
        return _relations(relation, said, asked)
    listed = _listed(truth)
    if listed is not None:
        return _lists(*listed, _between(said) or said, asked)
    return _single(truth, said, asked)


# Single values.

_UNIT = r"[a-zA-Zµμ°Ω¢][a-zA-Zµμ°Ω.'’-]*"
_TAIL = re.compile(
    rf"""\s*(?:\\(?:text|mbox|textrm)\s*\{{[^{{}}]*\}}|\{{\s*[a-zA-Z ]+\s*\}}
        |(?<![a-zA-Z\\]){_UNIT}(?:[ /·*]+(?:per[ ])?{_UNIT}){{0,4}})
        \s*(?:\^\s*\{{?-?\d\}}?)?\s*$""",
    re.VERBOSE,
)
_HEAD = re.compile(
    r"""^(?:(?:about|approximately|around|roughly|nearly|almost|approx\.?|exactly|only|just)\s+
        |\\approx\s*|\\sim\s*|~\s*|(?:US|CA|AU|HK)?\\?\$\s*|[€£¥₹￥]\s*|Rs\.?\s*|\\pounds\s*|=\s*)+""",
    re.VERBOSE | re.IGNORECASE,
)
_PERCENT = re.compile(r"^(?:%|percent|per cent|pct|percentage|percents|percentage points?)$", re.I)
_BASE = re.compile(r"^(\w+)_\{?(\d+)\}?$")


@dataclass(frozen=True)
class _Amount:
    value: expressions.Value
    letters: frozenset[str]
    text: str
    unit: str
    percent: bool


def _amount(text: str, letters: bool) -> _Amount | None:
    r"""Read a formula with its unit; `letters` says whether letters may be unknowns."""
    text = re.sub(r"^-\s*\\?\$\s*(?=[\d.])", "-", text)  # -$2
    text = _HEAD.sub("", text)
    formula = expressions.read(text)
    if formula is not None and (letters or not formula.letters):
        return _Amount(formula.value, formula.letters, text, "", "%" in text)
    if counted := re.fullmatch(r"([A-Za-z-]+)(?:\s+([a-zA-Z ]+))?", text):
        number = word_number(counted[1])
        if number is not None:
            return _Amount(Fraction(number), frozenset(), str(number), counted[2] or "", False)
    tail = _TAIL.search(text)
    if tail and tail.start() > 0:
        bare = text[: tail.start()].strip()
        formula = expressions.read(bare)
        unit = re.sub(r"\\(?:text|mbox|textrm)|[{}]", "", tail[0]).strip(" .")
        if not _is_unit(unit, glued=bare == text[: tail.start()] and tail[0][0].isalpha()):
            formula = None
        if formula is not None and (letters or not formula.letters):
            if _PERCENT.match(unit):
                value = formula.value / 100
                return _Amount(value, formula.letters, bare, "", True)
            return _Amount(formula.value, formula.letters, bare, unit, "%" in bare)
    if formula := expressions.read(text):
        return _Amount(formula.value, formula.letters, text, "", "%" in text)
    return None


_WORDS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * number
    for number, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), 2
    )
}


def word_number(text: str) -> int | None:
    """Read a number below a thousand in English words.

    >>> word_number("Twelve"), word_number("forty-two"), word_number("a hundred and six")
    (12, 42, 106)
    """
    parts = re.findall(r"[a-z]+", text.lower())
    if not parts or not re.fullmatch(r"[a-z\s-]+", text.strip().lower()) or len(parts) > 5:
        return None
    total = 0
    parts = [part for part in parts if part != "and"] if "hundred" in parts else parts
    if "hundred" in parts:
        place = parts.index("hundred")
        before = " ".join(parts[:place])
        hundreds = 1 if before in ("", "a") else _WORDS.get(before)
        if not hundreds:
            return None
        total, parts = 100 * hundreds, parts[place + 1 :]
    if parts and parts[0] in _TENS:
        total, parts = total + _TENS[parts[0]], parts[1:]
        if parts and not 0 < _WORDS.get(parts[0], 0) < 10:
            return None
    if len(parts) > 1 or (parts and parts[0] not in _WORDS):
        return None
    return total + (_WORDS[parts[0]] if parts else 0)


_SIZES: dict[str, dict[str, str]] = {
    "mass": {"mg": "1/1000", "g": "1", "gram": "1", "kg": "1000", "kilogram": "1000"},
    "length": {
        "mm": "1/1000", "millimeter": "1/1000", "cm": "1/100", "centimeter": "1/100",
        "m": "1", "meter": "1", "metre": "1", "km": "1000", "kilometer": "1000",
    },
    "customary length": {"inch": "1", "in": "1", "ft": "12", "feet": "12", "foot": "12"},
    "time": {
        "s": "1", "sec": "1", "second": "1", "min": "60", "minute": "60", "h": "3600",
        "hr": "3600", "hour": "3600", "day": "86400",
    },
    "calendar": {"month": "1", "year": "12"},
    "money": {"cent": "1/100", "¢": "1/100", "dollar": "1", "usd": "1"},
    "volume": {"ml": "1/1000", "milliliter": "1/1000", "l": "1", "liter": "1", "litre": "1"},
}  # fmt: skip
_UNITS = {
    name: (kind, Fraction(size)) for kind, sizes in _SIZES.items() for name, size in sizes.items()
}


_SHORT = (
    "g s h m L l N J W V A K C F Ω ° ¢ mi yd oz lb lbs mph kph kW kWh TWh Hz kHz Pa kPa".split()
)


def _is_unit(name: str, glued: bool) -> bool:
    """Whether letters after a number are a unit, and no product of unknowns."""
    name = re.sub(r"\s*\^.*", "", name)
    known = _unit(name) is not None or name in _SHORT or bool(_PERCENT.match(name))
    longest = max(map(len, re.findall(r"[^\W\d_]+", name)), default=0)
    return known or longest >= (4 if glued else 3)


def _unit(name: str | None) -> tuple[str, Fraction] | None:
    name = (name or "").strip().rstrip(".").casefold()
    return _UNITS.get(name) or _UNITS.get(name.removesuffix("s")) or None


def _single(truth: str, said: str, asked: _Asked) -> bool | None:
    true = _amount(truth, letters=False)
    if true is None or not _formal(truth):
        if (base := _BASE.match(truth)) and not _BASE.match(said):
            return _squeezed(base[1]) == _squeezed(said)
        return _words(truth, said)
    if relation := _relation(said):
        if relation[1] not in ("=", "\\approx"):
            return None if "\\in" in relation[1] else False
        said = relation[2]
    stated = _amount(said, letters=bool(true.letters))
    if stated is None:
        several = _listed(said)  # one of several is no answer; none of them is wrong
        verdicts = [_compare(truth, _clean(item), asked) for item in several[1]] if several else []
        return False if verdicts and all(found is False for found in verdicts) else None
    if true.letters:
        return expressions.same(true.text, stated.text)
    if stated.letters:
        return False
    return _values(true, stated, asked)


def _formal(text: str) -> bool:
    """Whether a true answer is a formula, and no word that reads as a product of letters."""
    return not re.fullmatch(r"[A-Za-z]{2,}|[A-Za-z ]+ [A-Za-z ]+", text)


def _values(true: _Amount, stated: _Amount, asked: _Asked) -> bool:
    value = stated.value
    wanted, got = _unit(asked.unit or true.unit), _unit(stated.unit)
    if wanted and got and wanted[0] == got[0]:
        value = value * got[1] / wanted[1]
    scale = 100 if true.percent or stated.percent else 1  # decimals count before the sign
    pairs = [(true.value * scale, value * scale)]
    if true.percent and not stated.percent:
        pairs.append((true.value * 100, value))
    elif stated.percent and not true.percent:
        pairs.append((true.value, value * 100))
    elif asked.unit and _PERCENT.match(asked.unit.strip()):
        pairs.append((true.value, value * 100))
    if ("°" in true.text) != ("°" in stated.text):
        if "pi" in true.text:
            pairs.append((true.value, value * math.pi / 180))
        elif "pi" in stated.text:
            pairs.append((true.value, value * 180 / math.pi))
    return any(_near(a, b, true.text, stated.text, asked.precision) for a, b in pairs)


def _near(
    true: expressions.Value, stated: expressions.Value, truth: str, said: str, precision: int | None
) -> bool:
    if expressions.close(true, stated):
        return True
    if precision is not None:
        return _rounds(stated, true, precision)
    decimals = _decimals(truth)
    if decimals is not None and _rounds(stated, true, decimals):
        return True
    decimals = _decimals(said)
    return (
        decimals is not None
        and _decimals(truth) is None
        and not _whole(true)
        and _rounds(true, stated, decimals)
    )


def _whole(value: expressions.Value) -> bool:
    return isinstance(value, Fraction) and value.denominator == 1


def _rounds(value: expressions.Value, to: expressions.Value, decimals: int) -> bool:
    if isinstance(value, complex) or isinstance(to, complex):
        return False
    half = Fraction(1, 2 * 10**decimals)
    return abs(Fraction(value) - Fraction(to)) <= half + Fraction(1, 10**12)


def _decimals(text: str) -> int | None:
    """Decimals of a number that may stand for one with more; None where it may not."""
    found = re.fullmatch(r"[-+]?\s*([\d,]*)\.(\d{2,12})\s*[%°]?", text.strip())
    if not found or not found[2].strip("0"):
        return None
    significant = (found[1].replace(",", "") + found[2]).lstrip("0")
    return len(found[2]) if len(significant) >= 3 else None


def plain_words(text: str) -> str:
    r"""Return a text in lower case, without articles, marks and markup.

    >>> plain_words("The  Blue-green one."), plain_words(r"\text{Evelyn}")
    ('blue green one', 'evelyn')
    """
    text = re.sub(r"\\(?:text|textbf|mbox|textrm|mathrm|mathbf)(?![a-zA-Z])", " ", text)
    text = re.sub(r"[^\w%+=<>.]+|\.(?!\d)", " ", text.casefold())
    return re.sub(r"^(?:the|a|an) ", "", " ".join(text.split()))


def _words(truth: str, said: str) -> bool | None:
    first, second = plain_words(truth), plain_words(said)
    if not first or not second:
        return None
    if first == second:
        return True
    if f" {first} " in f" {second} " or len(second.split()) > len(first.split()) + 4:
        return None
    return False


# Relations.

_RELATION = re.compile(r"\\(?:le|ge|ne|neq|in|approx)(?![a-zA-Z])|<=|>=|[=<>]")
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_NAME = re.compile(r"\\?[a-zA-Z]+(?:_\{?\w+\}?)?(?:\([a-zA-Z]\))?(?:\^\{?-1\}?\([a-zA-Z]\))?")


def _relation(text: str) -> tuple[str, str, str] | None:
    r"""Split at the last relation: left of it, sign, right; of `a = b = c` the last two parts."""
    found = list(_RELATION.finditer(text))
    if not found:
        return None
    sign = {"<=": "\\le", ">=": "\\ge", "\\neq": "\\ne"}.get(found[-1][0], found[-1][0])
    before = text[found[-2].end() if len(found) > 1 and sign == "=" else 0 : found[-1].start()]
    return before.strip(), sign, text[found[-1].end() :].strip()


_BETWEEN = re.compile(r"([^<>=]+?)(<|\\le|<=)\s*[a-zA-Z]\s*(<|\\le|<=)([^<>=]+)")


def _between(text: str) -> str | None:
    r"""Read `a < x \le b` as the interval `(a, b]`."""
    found = _BETWEEN.fullmatch(text)
    if not found:
        return None
    opening, closing = "(" if found[2] == "<" else "[", ")" if found[3] == "<" else "]"
    return f"{opening}{found[1].strip()}, {found[4].strip()}{closing}"


def _relations(truth: tuple[str, str, str], said: str, asked: _Asked) -> bool | None:
    left, sign, right = truth
    stated = _relation(said)
    if sign in ("\\in", "\\approx"):
        return _compare(right, stated[2] if stated else said, asked)
    if stated is None:
        if sign == "=" and _NAME.fullmatch(left):
            return _compare(right, said, asked)
        return None
    other_left, other_sign, other_right = stated
    if other_sign == "\\approx":
        other_sign = "="
    if sign == other_sign == "=" and _NAME.fullmatch(left) and left == other_left:
        return _compare(right, other_right, asked)
    if sign == "=" or other_sign == "=":
        return _proportional(left, right, other_left, other_right) if sign == other_sign else False
    if _RELATION.search(left) or _RELATION.search(other_left):
        return None
    same_way = other_sign == sign and [left, right]
    flipped = _FLIPPED.get(other_sign) == sign and [right, left]
    wanted = same_way or flipped
    if not wanted:
        return False
    parts = [expressions.same(a, b) for a, b in zip(wanted, (other_left, other_right), strict=True)]
    return True if all(parts) else None  # the same inequality may be written otherwise


def _proportional(a: str, b: str, c: str, d: str) -> bool | None:
    """Whether a = b and c = d are one equation: a - b a constant multiple of c - d."""
    ratios = []
    for point in range(expressions.POINTS):
        read = [expressions.read(f"({x}) - ({y})", point) for x, y in ((a, b), (c, d))]
        if read[0] is None or read[1] is None or not read[1].value:
            return None
        ratios.append(read[0].value / read[1].value)
    return all(expressions.close(ratio, ratios[0]) for ratio in ratios)


# Lists, sets, tuples, intervals, unions, matrices.

_PAIR = re.compile(r"\\pm(?![a-zA-Z])")
_MATRIX = re.compile(
    r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*?)\\end\{\1\}", re.DOTALL
)
_JOINED = re.compile(r"\\cup(?![a-zA-Z])|\s(?:or|and)\s|\\text\s*\{\s*(?:or|and)\s*\}")
_OPEN, _CLOSE = "([{", ")]}"


def _both_signs(text: str) -> list[str]:
    if not _PAIR.search(text):
        return _split(_JOINED, text) if _JOINED.search(text) else _commas(_unset(text))
    return [_PAIR.sub("+", text), _PAIR.sub("-", text)]


def _unset(text: str) -> str:
    listed = _listed(text)
    return text if listed is None or listed[0] not in ("{}", "") else ", ".join(listed[1])


def _split(at: re.Pattern[str], text: str) -> list[str]:
    parts = [part.strip(" ,") for part in at.split(text)]
    return [item for part in parts if part for item in _commas(part)] if len(parts) > 1 else parts


def _commas(text: str) -> list[str]:
    """Split at the commas and semicolons that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if sign in ",;" and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _listed(text: str) -> tuple[str, list[str]] | None:
    r"""Return brackets and items of a list: `[1, 2]`, `(1, 2)`, `\{1, 2\}`, `1, 2`; else None."""
    text = text.replace("\\{", "{").replace("\\}", "}").strip()
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return None
    if len(text) > 1 and text[0] in _OPEN and text[-1] in _CLOSE and _encloses(text):
        items = _commas(text[1:-1])
        if len(items) > 1 or text[0] in "[{":
            return text[0] + text[-1], items
        return None
    items = _commas(text)
    return ("", items) if len(items) > 1 else None


def _encloses(text: str) -> bool:
    """Whether the first bracket is closed by the last."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in _OPEN) - (sign in _CLOSE)
        if depth == 0:
            return place == len(text) - 1
    return False


def _lists(brackets: str, items: list[str], said: str, asked: _Asked) -> bool | None:
    relation = _relation(said)
    if relation and relation[1] in ("=", "\\in") and "," not in relation[0] + relation[1]:
        said = relation[2]
    stated = _listed(said)
    if stated is None:
        parts = re.split(r"\s+(?:and|or)\s+|,", said)
        if len(parts) == 1 and _amount(said, letters=True) is None:
            return None
        stated = "", [part.strip() for part in parts if part.strip()]
    if len(stated[1]) != len(items):
        # Thousands commas and commas between items look alike: [1,234] is of no known length.
        return None if re.search(r"\d,\d{3}", said) else False
    if brackets in ("{}", ""):
        return _unordered(items, stated[1], asked)
    equal = _all(
        _compare(_clean(a), _clean(b), asked) for a, b in zip(items, stated[1], strict=True)
    )
    if equal and stated[0] not in ("", brackets):
        return False if len(items) == 2 and "{" not in stated[0] else None
    return equal


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    found = list(verdicts)
    return False if False in found else None if None in found else True


def _unordered(items: list[str], stated: list[str], asked: _Asked) -> bool | None:
    if len(items) != len(stated):
        return False if all(_readable(item) for item in stated) else None
    left = list(stated)
    unsure = False
    for item in items:
        verdicts = [_compare(_clean(item), _clean(other), asked) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        else:
            unsure |= None in verdicts
            if not unsure:
                return False
    return None if unsure else True


def _readable(text: str) -> bool:
    return _amount(_clean(text), letters=True) is not None


def _matrices(truth: str, said: str, asked: _Asked) -> bool | None:
    first, second = _MATRIX.search(truth), _MATRIX.search(said)
    if first is None or second is None:
        return None
    rows, others = _rows(first[2]), _rows(second[2])
    if [len(row) for row in rows] != [len(row) for row in others]:
        return False
    return _all(
        _compare(_clean(a), _clean(b), asked)
        for row, other in zip(rows, others, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def _rows(text: str) -> list[list[str]]:
    return [row.split("&") for row in re.split(r"\\\\", text) if row.strip()]


# math-verify, in a process of its own.

_TOO_MUCH = re.compile(
    r"\d{16}|\^[^^]{0,9}\^|\*\*|\^\s*\{?\s*-?\d{4}|!|\\(?:sum|prod|int|lim|binom)(?![a-z])"
)
_PROSE = re.compile(r"(?<!\\)(?<![a-zA-Z])(?!matrix|pmatrix|bmatrix)[a-zA-Z]{4,}")


def _fit(text: str) -> bool:
    """Whether a text looks like one small formula, worth math-verify's time."""
    depth = most = 0
    for sign in text:
        depth += (sign in _OPEN) - (sign in _CLOSE)
        most = max(most, depth)
    prose = _PROSE.search(re.sub(r"\\(?:text|mbox)\s*\{[^{}]*\}", "", text))
    small = depth == 0 and most < 8 and len(text) <= 200
    return small and not prose and bool(_FORMAL.search(text)) and not _TOO_MUCH.search(text)


_lock = threading.Lock()


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    owner: int
    """The process that started it: a fork must not share its pipes."""
    loaded: bool = False


_worker: _Worker | None = None


def _verified(truth: str, said: str) -> bool | None:
    """Ask math-verify; None where it cannot read one of the two, or takes too long."""
    if not (_fit(truth) and _fit(said)):
        return None
    with _lock:
        worker = _running()
        reply = _ask(worker, json.dumps([truth, said]))
        if not reply:
            _stop()
            _running()  # it loads while other answers are compared
    return {"true": True, "false": False}.get(reply.strip())


def _ask(worker: _Worker, request: str) -> str:
    pipes = worker.process
    assert pipes.stdin and pipes.stdout
    try:
        if not worker.loaded:
            worker.loaded = bool(pipes.stdout.readline())
        pipes.stdin.write(request + "\n")
        pipes.stdin.flush()
        with DefaultSelector() as selector:
            selector.register(pipes.stdout, EVENT_READ)
            return pipes.stdout.readline() if selector.select(SECONDS) else ""
    except OSError:
        return ""


def _running() -> _Worker:
    global _worker
    if _worker is None or _worker.owner != os.getpid():
        process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("verify_worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        _worker = _Worker(process, os.getpid())
    return _worker


def _stop() -> None:
    global _worker
    if _worker is None or _worker.owner != os.getpid():
        return
    process, _worker = _worker.process, None
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            try:
                pipe.close()
            except OSError:
                pass  # a request that it no longer read


atexit.register(_stop)
