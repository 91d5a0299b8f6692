"""The number that word2number 1.1 sees in a text, as EMMA's script reads words.

It takes the number words anywhere in a text and passes by all others: "a two-headed arrow" is 2, a
lone "point" 0. PyPI: word2number (MIT), w2n.py.
"""

from collections.abc import Sequence

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = {"billion": 10**9, "million": 10**6, "thousand": 1000}
_WORTH = {
    **{word: number for number, word in enumerate(_ONES)},
    **{word: 10 * number for number, word in enumerate(_TENS, start=2)},
    "hundred": 100,
    **_SCALES,
}


def number(text: str) -> int | float | None:
    """Return the number; None where there is none, or no order in it.

    >>> number("twenty or so"), number("two hundred and one"), number("three point one four")
    (20, 201, 3.14)
    >>> number("the point"), number("12"), number("12 cm"), number("one thousand thousand")
    (0, 12, None, None)
    """
    text = text.replace("-", " ").lower()
    if text.isdigit():
        return int(text) if len(text) < 400 and text.isdecimal() else None
    words = [word for word in text.split() if word in _WORTH or word == "point"]
    if not words or any(words.count(word) > 1 for word in ("point", *_SCALES)):
        return None
    point = words.index("point") if "point" in words else len(words)
    whole, rest = words[:point], words[point + 1 :]
    places = [whole.index(word) for word in _SCALES if word in whole]
    if places != sorted(places):
        return None
    return _whole(whole, places) + _decimals(rest)


def _whole(words: list[str], places: list[int]) -> int:
    """Return the worth of words whose scales stand at `places`; after a last scale some twice."""
    if len(words) <= 1:
        return sum(_WORTH[word] for word in words)
    starts = [0, *(place + 1 for place in places)]
    parts = zip(starts, places, strict=False)
    total = sum(_WORTH[words[end]] * _formed(words[start:end]) for start, end in parts)
    after = starts[1:] if places else starts
    ends = [words[start:] for start in reversed(after) if start < len(words)]
    return total + (_formed(ends[0]) if ends else 0)


def _formed(words: Sequence[str]) -> int:
    """Put up to four words together, as "two hundred forty one"; of others the first counts."""
    worth = [_WORTH[word] for word in words]
    if len(worth) == 4:
        return worth[0] * worth[1] + worth[2] + worth[3]
    if len(worth) == 3:
        return worth[0] * worth[1] + worth[2]
    if len(worth) == 2:
        return worth[0] * worth[1] if 100 in worth else worth[0] + worth[1]
    return worth[0] if worth else 0


def _decimals(words: list[str]) -> float:
    digits = [_ONES.index(word) if word in _ONES[:10] else None for word in words]
    return 0 if None in digits or not digits else float("0." + "".join(map(str, digits)))
