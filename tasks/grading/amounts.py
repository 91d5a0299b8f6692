r"""An amount: sign, number or formula, scale, unit; all of a text, or it is none.

amount  = ["about" …] [currency] [sign] (formula | number in words) [scale] [unit] [aside]
sign    = "-" | "minus" | "negative"; or "below zero" behind the unit
scale   = hundred | dozen | thousand | million … | k, M, bn right behind the digits
unit    = per cent | a unit with its power | the name of a thing that is counted
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from tasks.grading import exact, expressions, units, words
from tasks.grading.spelling import normal, untexted

_HEAD = re.compile(
    r"""(?:(?:about|approximately|approx\.?|around|roughly|nearly|almost|exactly|only|just|some)\s+
        |\\approx\s*|\\sim\s*|(?:US|CA|AU|HK)?\\?(?P<money>[$€£¥₹￥])\s*|(?:Rs|USD|EUR|GBP)\b\.?\s*|\\pounds\s*
        |=\s*)+""",
    re.VERBOSE | re.IGNORECASE,
)
_SIGN = re.compile(r"(?:negative|minus)\s+(?=[\d.\\a-z])", re.IGNORECASE)
_BELOW = re.compile(r"\s*,?\s*(?:degrees?\s+|°\s*[CF]?\s*)?below\s+(?:zero|0)$", re.IGNORECASE)
_DEGREES = re.compile(r"°(\s*[CF])\b")
_NUMBER = re.compile(words.WORDS + "(?!['’])", re.IGNORECASE)
_BRACED = re.compile(r"(?<=[\d}])\s*\{\s*([a-zA-Z ]{3,})\}$")
_ORDINAL = re.compile(r"\d\s*\^?\s*\{?\s*(?:st|nd|rd|th)\s*\}?$")
_PROSE = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]{2,}\s+[a-zA-Z]{2,}")
_ASIDE = re.compile(r"(?<=[\w%°}])\s*\((?=[a-zA-Z]{3})[a-zA-Z .,'-]*\)$")
_WORD = r"[a-zA-Zµμ°Ω¢][a-zA-Zµμ°Ω.'’-]*(?:\s*\^\s*\{?\s*-?\d\s*\}?)?"
_TAIL = re.compile(rf"\s*-?(?<![a-zA-Z\\]){_WORD}(?:[ /·*]+(?:per[ ])?{_WORD}){{0,5}}\s*$")
_PERCENT = re.compile(r"per\s?cent(?:age)?s?(?:\s+points?)?|pct", re.IGNORECASE)
_CURRENCY = re.compile(r"(?<=[\d.])\s*([€£¥₹￥])$")
_MANY = {"千": 1000, "万": 10**4, "亿": 10**8}
_CHINESE = re.compile(r"(?<=\d)\s?([千万亿])$")
_GLUED = {"k": 10**3, "K": 10**3, "M": 10**6, "mn": 10**6, "B": 10**9, "bn": 10**9}
CHANGES = re.compile(
    r"""\b(?:plus|minus|times|over|divided|multiplied|squared|cubed|factorial|hal(?:f|ves)|thirds?
        |quarters?|fourths?|and|or|nor|to|than|least|most|not|isn|if|but|with|by|st|nd|rd|th|pi
        |alpha|beta|gamma|theta|lambda|sin|cos|tan|log|ln|sqrt|root)\b""",
    re.VERBOSE | re.IGNORECASE,
)
"""Words behind a number that make another value of it, or none."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What a text is worth."""

    value: exact.Value
    letters: frozenset[str] = frozenset()
    """Unknowns in it: see `expressions.Formula`."""
    text: str
    """The number or formula alone."""
    unit: str = ""
    """As it is written; empty if there is none. A per cent sign is none."""
    percent: bool = False
    scale: int = 1
    """By which the value was multiplied."""


@lru_cache(8192)
def read(text: str, letters: bool = True) -> Amount | None:
    r"""Return the amount that a whole text states; None where it states none, or more than one.

    Args:
        text: Without the sentence around it.
        letters: Letters behind a number may be unknowns rather than a unit.

    >>> read("12 cm^2", letters=False).unit, read("1.2 million").value, read("minus five").value
    ('cm^2', Fraction(1200000, 1), Fraction(-5, 1))
    >>> read("5 dozen eggs").value, read("50%").value, read("3 degrees below zero").value
    (Fraction(60, 1), Fraction(1, 2), Fraction(-3, 1))
    >>> read("5x").letters, read("5x or 6"), read("12+"), read("12^\\text{th}"), read("cat and dog")
    (frozenset({'x'}), None, None, None, None)
    """
    text = normal(_BRACED.sub(r" \1", untexted(text.strip())))
    if _ORDINAL.search(text) or is_range(text):
        return None
    negative = bool(below := _BELOW.search(text))
    text = text[: below.start()] if below else text
    degrees = _DEGREES.search(text)
    text = text[: degrees.start(1)] + text[degrees.end(1) :] if degrees else text
    behind = _CURRENCY.search(text)
    text = text[: behind.start()] if behind else text
    many = _CHINESE.search(text)
    text = text[: many.start()] if many else text
    text = re.sub(r"^-\s*\\?\$\s*(?=[\d.])", r"$-", text)  # -$2
    head = _HEAD.match(text)
    money = (head and head["money"]) or (behind and behind[1]) or ""
    text = text[head.end() :] if head else text
    if sign := _SIGN.match(text):
        negative, text = not negative, text[sign.end() :]
    if counted := _NUMBER.match(text):
        text = f"({words.number(counted[0])}){text[counted.end() :]}"
    found = _unsigned(_ASIDE.sub("", text), letters)
    if found is None:
        return None
    if degrees and not found.unit:
        found = replace(found, unit=degrees[1].strip())
    value = exact.times(Fraction(-1), found.value) if negative else found.value
    if many:
        times = _MANY[many[1]]
        found = replace(found, value=exact.times(found.value, Fraction(times)), scale=times)
        value = exact.times(value, Fraction(times))
    if negative or money:
        sign_text = f"-{found.text}" if negative else found.text
        return Amount(value=value, letters=found.letters, text=sign_text, unit=found.unit or money,
                      percent=found.percent, scale=found.scale)  # fmt: skip
    return found


def _unsigned(text: str, letters: bool) -> Amount | None:
    formula = None if _PROSE.search(text) else expressions.read(text)
    if formula is not None and (letters or not formula.letters):
        return Amount(value=formula.value, letters=formula.letters, text=text, percent="%" in text)
    tail = _TAIL.search(text)
    if tail is None or tail.start() == 0:
        return _bare(text, formula)
    bare, unit = text[: tail.start()].strip(), tail[0].strip(" .-")
    glued = tail[0][0].isalpha()
    number = expressions.read(bare)
    if number is None or (number.letters and not letters):
        return _bare(text, formula)
    scale = 1
    while scaled := re.match(rf"({'|'.join(words.SCALES)})s?\b\s*(?:of\b\s*)?", unit, re.I):
        scale, unit = scale * words.SCALES[scaled[1].lower()], unit[scaled.end() :]
    if glued and unit in _GLUED:
        scale, unit = _GLUED[unit], ""
    percent = bool(_PERCENT.fullmatch(unit))
    if not percent and unit and not _is_unit(unit, glued):
        return None if re.search(r"\s[a-zA-Z]{2}", tail[0]) else _bare(text, formula)
    value = exact.over(number.value, Fraction(100)) if percent else number.value
    return Amount(
        value=exact.times(value, Fraction(scale)),
        letters=number.letters,
        text=bare,
        unit="" if percent else unit,
        percent=percent or "%" in bare,
        scale=scale,
    )


def _bare(text: str, formula: expressions.Formula | None) -> Amount | None:
    if formula is None:
        return None
    return Amount(value=formula.value, letters=formula.letters, text=text, percent="%" in text)


def _is_unit(name: str, glued: bool) -> bool:
    """Whether words after a number are a unit or a thing, and no product of unknowns."""
    parts = re.findall(r"[^\W\d_]+|[°¢]", name)
    if units.read(name) or all(part in units.SHORT or units.read(part) for part in parts):
        return True
    longest = max(map(len, re.findall(r"[^\W\d_]+", name)), default=0)
    return longest >= (4 if glued else 3) and not CHANGES.search(name)


_RANGE = re.compile(r"(\d[\d,]*(?:\.\d+)?)[-~](\d[\d,]*(?:\.\d+)?)")
_YEARS = re.compile(r"((?:1[5-9]|20)\d\d)-(\d\d)")


def is_range(text: str) -> bool:
    """Whether a text names the two ends of a range, as "0-5" does, and no difference.

    >>> is_range("12-13"), is_range("41-11"), is_range("12 - 13"), is_range("2010-11")
    (True, False, False, True)
    """
    if years := _YEARS.fullmatch(text):  # of school, or of an account
        return (int(years[1]) + 1) % 100 == int(years[2])
    found = _RANGE.fullmatch(text)
    ends = [Fraction(end.replace(",", "")) for end in found.groups()] if found else []
    return bool(ends) and ends[0] < ends[1]


def is_percent(unit: str) -> bool:
    """Whether a unit is the percentage."""
    return unit.strip() == "%" or bool(_PERCENT.fullmatch(unit.strip()))


def scale(unit: str) -> int:
    """Return what a unit such as "millions" multiplies by; 1 where it does not."""
    return words.SCALES.get(unit.strip().lower().removesuffix("s"), 1)
