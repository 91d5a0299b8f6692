r"""Whether one stated value, or words, are the true ones.

- Rational values are compared exactly, roots and the like to nine digits. Spelling is free:
  `0.5`, `1/2`, `\frac12`, `½`, `5e-1`, "a half" are one value.
- With a precision p, two values are the same if the stated one rounds to the true one at p
  decimals, and of a true one with more decimals if the two are that near, a half up or down.
- Otherwise a decimal stands for an exact value that rounds to it, if it has three significant
  digits, two of them decimals (of a percentage as a share), or four: `5.83` for `\sqrt{34}` and
  `150.8` for `48\pi`, but not `0.3` for `1/3`.
- π may have been taken for 3.14.
- A unit may be left out, or stated where the truth has none. Where both name a known unit of one
  dimension, the value is converted (`1 kg` is `1000 g`); of two dimensions they differ.
- `50%` is `0.5`, and `50` where only one side bears the sign. Without any sign 50 and 0.5 are the
  same only if the question's unit is the percentage.
- A number in base 8 has the digits of the true one; the base may be left out.
- Words must be the same but for case, articles and punctuation.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from tasks.grading import amounts, exact, expressions, relations, units, words
from tasks.grading.amounts import Amount
from tasks.grading.spelling import untexted


@dataclass(frozen=True)
class Asked:
    """What the question says of its answer."""

    unit: str | None = None
    precision: int | None = None


def same(truth: str, said: str, asked: Asked) -> bool | None:
    """Whether two texts that are no lists are worth the same; None where it cannot be told."""
    if base := _based(truth):
        other = _based(said) or (re.sub(r"[\s,]", "", said), base[1])
        return other == base if other[0].isalnum() else None
    if (decimal := _based(said)) and decimal[1] == "10":
        said = decimal[0]
    if amounts.is_range(truth):
        ends = _ENDS.fullmatch(said)
        return ends and list(ends.groups()) == re.findall(r"[\d.]+", truth.replace(",", ""))
    true = amounts.read(truth, letters=False)
    if true is None or not is_formal(truth):
        return _same_words(truth, said)
    if relation := relations.split(said):
        if relation.sign not in ("=", "\\approx"):
            return None if amounts.read(relation.right, letters=False) else False
        said = relation.right
    stated = amounts.read(said, letters=bool(true.letters))
    if stated is None:
        return None
    if true.letters:
        return expressions.same(true.text, stated.text)
    return False if stated.letters else _same_amount(true, stated, asked)


def is_formal(truth: str) -> bool:
    """Whether a true answer is a formula, and no word that reads as a product of letters.

    >>> is_formal("12 cm"), is_formal("xy"), is_formal("the odd ones"), is_formal("two thirds")
    (True, False, False, True)
    """
    return not re.fullmatch(r"[A-Za-z]{2,}|[A-Za-z -]+ [A-Za-z -]+", truth) or bool(
        words.number(truth)
    )


_ENDS = re.compile(r"\D*?([\d.]+)\s*(?:-|~|,|to|through|and)\s*([\d.]+)\D*")
_BASE = re.compile(
    r"\(?\s*(\w+)\s*\)?\s*(?:_\s*\{?\s*\(?(\d+)\)?\s*\}?|\(?,?\s*(?:in\s+)?base[\s-]+(\d+)\s*\)?)"
)


def _based(text: str) -> tuple[str, str] | None:
    """Return digits and base: `2516_8`, `(2516)_8`, `2516 (base 8)`."""
    text = untexted(text).strip()
    found = _BASE.fullmatch(text) if re.search(r"\d", text) else None
    return (found[1].casefold(), found[2] or found[3]) if found else None


_RADIANS = re.compile(r"rad(?:ian)?s?", re.IGNORECASE)


def _same_amount(true: Amount, stated: Amount, asked: Asked) -> bool:
    value = stated.value
    if "°" in true.text and _RADIANS.fullmatch(stated.unit):
        return exact.close(true.value, value * 180 / math.pi)
    converted = units.convert(value, stated.unit, asked.unit or true.unit)
    if converted is None:
        return False
    value = converted
    scale = 100 if true.percent or stated.percent else 1  # decimals count before the sign
    pairs = [(true.value * scale, value * scale)]
    if true.percent and not stated.percent:
        pairs.append((true.value * 100, value))
    elif stated.percent and not true.percent:
        pairs.append((true.value, value * 100))
    elif asked.unit and amounts.is_percent(asked.unit):
        pairs.append((true.value, value * 100))
    if asked.unit and stated.scale != 1 and amounts.scale(asked.unit) == stated.scale:
        pairs.append((true.value, value / stated.scale))  # "5 million", asked in millions
    if ("°" in true.text) != ("°" in stated.text):
        if "pi" in true.text:
            pairs.append((true.value, value * math.pi / 180))
        elif "pi" in stated.text:
            pairs.append((true.value, value * 180 / math.pi))
    if "\\pi" in true.text and (rough := expressions.read(true.text.replace("\\pi", "(3.14)"))):
        pairs.append((rough.value, value))
    return any(_near(a, b, true, stated, asked.precision) for a, b in pairs)


def _near(
    a: exact.Value, b: exact.Value, true: Amount, stated: Amount, precision: int | None
) -> bool:
    """Whether two values are the same as far as the decimals of their amounts go."""
    if exact.close(a, b):
        return True
    if precision is not None:
        is_finer = not isinstance(a, Fraction) or (a * 10**precision).denominator > 1
        return _rounds(b, a, precision, ties=is_finer)
    of_true, of_stated = _decimals(true), _decimals(stated)
    if of_true is not None and _rounds(b, a, of_true):
        return True
    is_whole = isinstance(a, Fraction) and a.denominator == 1
    return of_stated is not None and of_true is None and not is_whole and _rounds(a, b, of_stated)


def _rounds(value: exact.Value, to: exact.Value, decimals: int, ties: bool = True) -> bool:
    """Whether a value rounds to another, a half up or down; without ties as `round` does."""
    if isinstance(value, complex) or isinstance(to, complex):
        return False
    half, rest = Fraction(1, 2 * 10**decimals), Fraction(1, 10**12)
    away = abs(Fraction(value) - Fraction(to))
    if not ties and abs(away - half) <= rest:
        return math.isclose(round(float(value), decimals), float(to))
    return away <= half + rest


def _decimals(amount: Amount) -> int | None:
    """Decimals of a number that may stand for one with more; None where it may not."""
    found = re.fullmatch(r"[-+]?\s*([\d,]*)\.(\d{1,12})\s*[%°]?", amount.text.strip())
    if not found or not found[2].strip("0") or amount.scale != 1:
        return None
    significant = (found[1].replace(",", "") + found[2]).lstrip("0")
    decimals = len(found[2]) + 2 * amount.percent
    return len(found[2]) if len(significant) >= (3 if decimals > 1 else 4) else None


_MONTH = re.compile(
    r"\b(jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)"
    r"(?:uary|ruary|ch|il|e|y|ust|t|tember|ober|ember|\.)?(?=\s\d{4}\b)"
)


def plain_words(text: str) -> str:
    r"""Return a text in lower case, without articles, marks and markup.

    >>> plain_words("The  Blue-green one."), plain_words(r"\text{Evelyn}")
    ('blue green one', 'evelyn')
    """
    text = re.sub(r"\\(?:text|textbf|mbox|textrm|mathrm|mathbf)(?![a-zA-Z])", " ", text)
    text = re.sub(r"^\W*(?:the|an?)\s+(?=\w)", "", text.casefold())
    text = _MONTH.sub(r"\1", text)
    return " ".join(re.sub(r"[^\w%+=<>.]+|\.(?!\d)", " ", text).split())


def _same_words(truth: str, said: str) -> bool | None:
    first, second = plain_words(truth), plain_words(said)
    if not first or not second:
        return None
    if first == second:
        return True
    if f" {first} " in f" {second} " or len(second.split()) > len(first.split()) + 4:
        return None
    return False
