"""Numbers in English words: "one hundred forty-five", "two thirds", "a quarter", "minus five"."""

import re
from fractions import Fraction

_ONES = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORTH = {
    "zero": 0,
    "a": 1,
    "an": 1,
    **{word: number for number, word in enumerate(_ONES + _TEENS, 1)},
    **{word: 10 * number for number, word in enumerate(_TENS, 2)},
}
SCALES = {
    "hundred": 100,
    "dozen": 12,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6,
    "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "hundredth": 100,
}  # fmt: skip

_ONE, _TEEN, _TEN = ("|".join(words) for words in (_ONES, _TEENS, _TENS))
_BELOW_100 = rf"(?:(?:{_TEN})(?:[- ](?:{_ONE}))?|{_TEEN}|{_ONE})"
_BELOW_1000 = rf"(?:(?:an?|{_BELOW_100})[- ]hundred(?:(?:[- ]and)?[- ]{_BELOW_100})?|{_BELOW_100})"
_LARGE = "thousand|million|billion|trillion|dozen"
_WHOLE = (
    rf"(?:(?:an?|{_BELOW_1000})[- ](?:{_LARGE}),?\s(?:and\s)?)*"
    rf"(?:{_BELOW_1000}(?:[- ](?:{_LARGE}))?|an?\s(?:{_LARGE})|zero)"
)
_PART = rf"(?:(?:an?|{_BELOW_100})[- ])(?:{'|'.join(_PARTS)})s?|(?:one[- ])?half"
WORDS = rf"\b(?:{_WHOLE}\sand\s(?:{_PART})|{_PART}|{_WHOLE})\b"
"""Pattern of a number in words, in lower case or any."""
_NUMBER = re.compile(rf"(?:(?P<whole>{_WHOLE})(?:\sand\s|$))?(?P<part>{_PART})?", re.IGNORECASE)


def number(text: str) -> Fraction | None:
    """Read a number in words, and nothing else.

    >>> number("Twelve"), number("a hundred and six"), number("one million, two hundred thousand")
    (Fraction(12, 1), Fraction(106, 1), Fraction(1200000, 1))
    >>> number("two thirds"), number("three and a half"), number("two three") is None
    (Fraction(2, 3), Fraction(7, 2), True)
    """
    found = _NUMBER.fullmatch(text.strip())
    if not found or not text.strip():
        return None
    value = Fraction(_whole(found["whole"] or ""))
    if found["part"]:
        *top, part = re.split(r"[-\s]", found["part"].lower())
        bottom = _PARTS.get(part) or _PARTS[part.removesuffix("s")]
        value += Fraction(_whole(" ".join(top)) if top else 1, bottom)
    return value


def _whole(text: str) -> int:
    total = group = 0
    for word in re.findall("[a-z]+", text.lower()):
        scale = SCALES.get(word, 0)
        if scale == 100:
            group *= 100
        elif scale:
            total, group = total + group * scale, 0
        else:
            group += _WORTH.get(word, 0)
    return total + group
