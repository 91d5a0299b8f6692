r"""From a model's text to its answer: pure functions, standard library only, no guessing.

Each returns None where the text does not say it. None of them evaluates what a model wrote.

`read_choice`, `read_choices`, `read_value` and `read_yes_no` are the robust reading of all
benchmarks; `docs/how_answers_are_read.md` is their grammar on one page. `after_thinking`,
`boxed` and `number` read what is plain.
"""

import re
from fractions import Fraction

from tasks.grading import claims
from tasks.grading.choices import NO_OPTION, read_choice, read_choices
from tasks.grading.places import boxed_spans, places, stated
from tasks.grading.thought import after_thinking
from tasks.grading.values import read_value

__all__ = [
    "NO_OPTION",
    "after_thinking",
    "boxed",
    "number",
    "read_choice",
    "read_choices",
    "read_value",
    "read_yes_no",
    "stated",
]


def boxed(text: str) -> str | None:
    r"""Return what the last complete `\boxed{…}` holds, with balanced braces.

    >>> boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> boxed(r"\boxed{\frac{1}{2") is None
    True
    """
    spans = boxed_spans(text)
    return text[spans[-1][1] : spans[-1][2]].strip() if spans else None


_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FRACTION = re.compile(r"(?P<sign>[-+−]?)\\[dt]?frac\{(?P<top>\d+)\}\{(?P<bottom>\d+)\}")


def number(text: str) -> Fraction | None:
    r"""Read a text that is one number and nothing else, exactly.

    Signs, thousands commas, decimals, exponents, `a/b`, `\frac{a}{b}`, percent and dollar signs,
    degree marks and a final full stop are understood; a unit is not.

        >>> number("1,234.50"), number(r"-\frac{3}{6}"), number("$12$.")
        (Fraction(2469, 2), Fraction(-1, 2), Fraction(12, 1))
        >>> number("12 cm") is None, number("3, 4") is None
        (True, True)
    """
    bare = re.sub(r"\\[,;! ]|\\%|\\\$|\^\{?\\circ\}?|[$%°\s]", "", text).rstrip(".")
    if fraction := _FRACTION.fullmatch(bare):
        bare = f"{fraction['sign']}{fraction['top']}/{fraction['bottom']}"
    top, slash, bottom = bare.partition("/")
    numerator, denominator = _decimal(top), _decimal(bottom) if slash else Fraction(1)
    if numerator is None or not denominator:
        return None
    return numerator / denominator


def _decimal(text: str) -> Fraction | None:
    if not re.match(r"[-+−]?\.?\d", text) or not _NUMBER.fullmatch(text):
        return None
    # A long exponent would build a number of that many digits, of which Python reads no 5,000.
    if len(text) > 1000 or re.search(r"[eE][-+]?\d{4,}$", text):
        return None
    return Fraction(text.replace(",", "").replace("−", "-"))


def read_yes_no(text: str) -> str | None:
    """Return "yes" or "no"; None where a response says neither, or both.

    >>> read_yes_no("No, both boxes are of the same size."), read_yes_no("The answer is Yes.")
    ('no', 'yes')
    >>> read_yes_no("There is no car.") is None, read_yes_no("yes and no") is None
    (True, True)
    """
    for place in places(text):
        said, rival = _yes_or_no(place.text, place.kind), _yes_or_no(place.rival, "first")
        if said:
            return said if rival in (None, said) else None
        if claims.UNTOLD.search(place.text) and place.kind != "first":
            break
    return None


def _yes_or_no(text: str, kind: str) -> str | None:
    said = {_plain_yes_no(word) for word in _YES_NO.findall(text)}
    if _BOTH.search(text) or _DENIED.search(text):
        return None
    first = _YES_NO_FIRST.match(text)
    if first and (kind not in ("whole", "box") or len(said) == 1):
        return _plain_yes_no(first[1])
    return said.pop() if len(said) == 1 and kind != "first" else None


_WORDS = r"yes|yeah|yep|no|nope|not at all|of course not|absolutely not"
_EAST = "不是的?|不对|不正确|没有|没错|不|否|错误?|是的|是|对|正确|有的?"
_YES_NO = re.compile(
    rf"\b({_WORDS})\b(?=\W*$|\s*[.,;:!*\"')])|^\W*({_EAST})(?=\W|$)",
    re.IGNORECASE,
)
_BOTH = re.compile(r"\b(?:yes|no)\W+(?:(?:and|or|nor)\W+)?(?:yes|no)\b", re.IGNORECASE)
_DENIED = re.compile(r"(?:\bnot|n['’]t)\s+(?:an?\s+|the\s+)?[\"'“*]*(?:yes|no)\b(?!\s\w)", re.I)
_YES_NO_FIRST = re.compile(
    rf"[\W_]*(?:(?:so|therefore|thus|hence)\W+)?({_WORDS}|(?:{_EAST})(?=\W|$))"
    r"(?!\w)(?!\s+(?:and|or)\b)"
    r"(?:(?<!\bno)|(?!\s+\w|\.\s?\d)|(?=\s+(?:it|they|there|the|this|that|these|those|he|she|we|you|i|both|all|not"
    r"|neither|because|since|as)\b))",
    re.IGNORECASE,
)


def _plain_yes_no(found: str | tuple[str, str]) -> str:
    word = found if isinstance(found, str) else found[0] or found[1]
    return "yes" if word.casefold()[:1] in "y是对正有" or word == "没错" else "no"
