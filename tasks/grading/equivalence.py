r"""Whether a stated answer is the true one: numbers, lists, intervals, relations, formulas, words.

`same` answers True, False, or None where it cannot tell; what counts as one value stands in
`single`. Beyond single values:

- Lists and tuples keep their order, sets and bare enumerations do not; brackets of intervals must
  agree. Items that bear names are put in the order of these: `y = 4, x = 3` is `(3, 4)`.
- An inequality is an interval, "or" between two a union.
- `x = 5` and `5` are the same, as are `y = 2x + 1` and `2x + 1`, `x < 5` and `5 > x`.

Formulas in letters are compared by their values at a few points: see `expressions`. The work is
bounded by the length of the texts.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from tasks.grading import amounts, relations, single, units
from tasks.grading.single import Asked
from tasks.grading.spelling import BRACED, normal, untexted

LENGTH, DEPTH = 400, 12
"""Longer answers, and lists in more lists, are not compared."""


def same(
    truth: str, said: str, *, unit: str | None = None, precision: int | None = None
) -> bool | None:
    r"""Whether a stated answer is the true one; None where it cannot be told.

    Args:
        truth: The true answer.
        said: The stated one, without the sentence around it.
        unit: The unit in which the question asks.
        precision: Decimals to which the question asks.

    >>> same(r"\frac{3}{4}\pi", "0.75π"), same("12", "12 cm"), same("(3, 4)", "(4, 3)")
    (True, True, False)
    >>> same("1.41", "1.4142"), same("1000", "1 kg", unit="g"), same("50%", "0.5")
    (True, True, True)
    >>> same("x=5", "5"), same("x < 5", "5 > x"), same("12", "it is unclear") is None
    (True, True, True)
    """
    if max(len(truth), len(said)) > LENGTH or _DEEP.search(said):
        return None
    first, second = (_BUILDER.sub(r"\1", clean(text)) for text in (truth, said))
    if not second or (_NONE.fullmatch(second) and not _NONE.fullmatch(first)):
        return None
    if first and _squeezed(first).casefold() == _squeezed(second).casefold():
        if _squeezed(first) == _squeezed(second) or not _other_unit(first, second):
            return True
    return _compare(first, second, Asked(unit, precision))


def items(text: str) -> list[str]:
    """Return the items of an enumeration; what is none is its only item.

    >>> items("$4$, $5$"), items("1,000 or 3")
    (['4', '5'], ['1,000', '3'])
    """
    return [clean(item) for item in _split(clean(text.replace("$", "")))]


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
    text = clean(truth)
    if _MATRIX.search(text) or _PAIR.search(text) or _is_joined(text):
        return "list" if re.search(r"\d|\\", text) else "words"
    if relation := relations.split(text):
        return shape(relation.right) if relation.names else "formula"
    if listed := _listed(text):
        return "list" if any(amounts.read(clean(item)) for item in listed[1]) else "words"
    if not single.is_formal(text):
        return "words"
    amount = amounts.read(text, letters=False)
    if amounts.is_range(text) or (amount is None and _WORD.search(text)):
        return "words"
    if amount is None or (len(text) == 1 and text.isalpha()):
        return "formula" if re.search(r"[=<>^{}\[\]\\]|\d", text) else "words"
    return "formula" if amount.letters else "number"


_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")
_BUILDER = re.compile(r"^\\?\{\s*[a-zA-Z]\s*[:|](.*?)\\?\}$")
_DEEP = re.compile(rf"(?:[(\[{{][^)\]}}]{{0,9}}){{{DEPTH},}}")
_NONE = re.compile(r"n\s*/\s*a|n\.a\.?|none|unknown|undefined|nan|null", re.IGNORECASE)
_WRAPS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\$\$(.*)\$\$",
        r"\$([^$]*)\$",
        r"\\\((.*)\\\)",
        r"\\\[(.*)\\\]",
        r"\*\*([^*]*)\*\*",
        r"`([^`]*)`",
        r"\"([^\"]*)\"",
        rf"\\(?:boxed|fbox|text[a-z]{{0,2}}|mbox|math(?:rm|bf|it|sf|tt)|bm|emph|operatorname)\s*{BRACED}",
        r"\\boxed\s*\{(.*)\}",
        r"\{([^{}]*)\}",
    )
]


_EDGES = re.compile(r"\A(?:\s|\\[,;:! ])+|(?:\s|\\(?:[,;:! ]|\Z)|(?<!\\)[.,;:。，])+\Z")


@lru_cache(8192)
def clean(text: str) -> str:
    r"""Return an answer without the marks around it, in one spelling.

    >>> clean(r"$\boxed{12}$."), clean("**12**"), clean(r"\(\text{Evelyn}\)")
    ('12', '12', 'Evelyn')
    """
    for _ in range(6):
        before = text
        text = _EDGES.sub("", text)
        if text[-1:] in '$)]}*`"' and text[:1] in '$\\*`{"':
            for wrap in _WRAPS:
                if inside := wrap.fullmatch(text):
                    text = inside[1]
        if text == before:
            break
    return normal(text)


@lru_cache(4096)
def _squeezed(text: str) -> str:
    text = re.sub(r"_\{(\w+)\}", r"_\1", text)
    text = re.sub(r"(?<=\d)\s+(?=[\d.])", "_", text)  # 3 6 is not 36
    return re.sub(r"[\s$]+|\\(?:text|mbox|textrm)(?![a-zA-Z])", "", text)


def _other_unit(truth: str, said: str) -> bool:
    """Whether two amounts that differ in case alone are in different units: 5 mW and 5 MW."""
    one, other = amounts.read(truth, letters=False), amounts.read(said, letters=False)
    known = [units.read(x.unit) for x in (one, other) if x]
    return len(known) == 2 and None not in known and known[0] != known[1]


def _compare(truth: str, said: str, asked: Asked) -> bool | None:
    r"""Compare by the shape of the truth, from the outermost mark inwards."""
    if _PAIR.search(truth) or _PAIR.search(said):
        return _unordered(_signed(truth), _signed(said), asked)
    if _MATRIX.search(truth):
        return _matrices(truth, said, asked)
    if _is_joined(truth):
        return _joined(_split(truth), _split(said), asked)
    if _is_joined(said):
        said = ", ".join(_split(said))
    true, other = relations.split(truth), relations.split(said)
    if other and other.sign == "\\in":
        said, other = other.right, None
    ranges = relations.interval(truth), relations.interval(said)
    listed = _listed(ranges[0] or truth)
    if ranges[0] and (ranges[1] or (other is None and _listed(said))):
        return _compare(ranges[0], ranges[1] or said, asked)
    if true is not None:
        return _relations(true, other, said, asked)
    if listed is not None:
        return _lists(*listed, ranges[1] or said, asked)
    verdict = single.same(truth, said, asked)
    if verdict is None and (several := _listed(said)):
        # One of several is no answer; none of them is wrong.
        found = [_compare(truth, clean(item), asked) for item in several[1]]
        return False if found and all(one is False for one in found) else None
    return verdict


_OF = re.compile(r"[a-zA-Z]\([a-zA-Z]\)")


def _relations(
    true: relations.Relation, other: relations.Relation | None, said: str, asked: Asked
) -> bool | None:
    if true.sign in ("\\in", "\\approx"):
        return _compare(true.right, other.right if other else said, asked)
    if other is None:
        return _compare(true.right, said, asked) if true.names else None
    same_name = true.left == other.left or _OF.fullmatch(true.left) or _OF.fullmatch(other.left)
    if true.names and other.names and same_name:
        return _compare(true.right, other.right, asked)
    return relations.same(true, other)


# Lists, sets, tuples, intervals, unions, matrices.

_PAIR = re.compile(r"\\pm(?![a-zA-Z])")
_MATRIX = re.compile(
    r"\\begin\{([pbvBV]?matrix|smallmatrix|array)\}(?:\{[lcr|]*\})?(.*?)\\end\{\1\}", re.DOTALL
)
_JOINED = re.compile(r"\\cup(?![a-zA-Z])|\s(?:or|and)\s|\\text\s*\{\s*(?:or|and)\s*\}")
_OPEN, _CLOSE = "([{", ")]}"


def _is_joined(text: str) -> bool:
    """Whether "or", "and" or a union joins parts; "five and a half" is one number."""
    if not _JOINED.search(text):
        return False
    amount = amounts.read(text, letters=False)
    return amount is None or bool(amount.letters)


def both_signs(text: str) -> list[str]:
    r"""Return what `\pm` stands for, with plus and with minus; else the text alone."""
    return [_PAIR.sub(sign, text) for sign in "+-"] if _PAIR.search(text) else [text]


def _signed(text: str) -> list[str]:
    if _PAIR.search(text):
        return both_signs(text)
    if _JOINED.search(text):
        return _split(text)
    listed = _listed(text)
    return _commas(text) if listed is None or listed[0] not in ("{}", "") else listed[1]


def _split(text: str) -> list[str]:
    """Return the parts between "or", "and", unions and commas; inequalities as intervals."""
    parts = [part for found in _JOINED.split(text) if (part := found.strip(" ,"))]
    items: list[str] = []
    for part in parts:
        listed = _listed(part)
        apart = listed and (not listed[0] or (listed[0] == "{}" and len(parts) == 1))
        items += listed[1] if listed and apart else [part]
    items = [_LABEL.sub(lambda label: f"{label[1].lower()} = ", untexted(x).strip()) for x in items]
    return [relations.interval(item) or item for item in items]


_LABEL = re.compile(
    r"^(?:and\s)?(?:the\s(?:function\sis\s)?)?([a-zA-Z]{3,})(?:\s?:|\s(?:is|on|at)\b)\s*(?=[\[({\\\d-])",
    re.IGNORECASE,
)
"""The name of a part: "domain: [0, 2)"."""


def _joined(items: list[str], stated: list[str], asked: Asked) -> bool | None:
    """Compare parts in any order, those of several names by these, or else in their order."""
    names, others = _names(items), _names(stated)
    if all(names) and len(set(names)) > 1 and len(items) == len(stated) and not any(others):
        pairs = zip(items, stated, strict=True)
        return _all(_compare(clean(a), clean(b), asked) for a, b in pairs)
    return _unordered(items, stated, asked)


def _names(items: list[str]) -> list[str]:
    """Return what each part says the worth of; empty where it bears no name."""
    found = map(relations.split, items)
    return [relation.left if relation and relation.names else "" for relation in found]


def _commas(text: str) -> list[str]:
    """Split at the commas and semicolons that stand in no bracket."""
    if "," not in text and ";" not in text:
        return [text.strip()] if text.strip() else []
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
    if re.search(r"\d,\d{3}(?!\d)", text) and amounts.read(text, letters=False) is not None:
        return None  # one amount, with its thousands: $1,500, 1,200 cm^2
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


_NAMES = re.compile(r"\(?\s*[a-zA-Z](?:_\w)?(?:\s*,\s*[a-zA-Z](?:_\w)?)*\s*\)?")


def _lists(brackets: str, items: list[str], said: str, asked: Asked) -> bool | None:
    relation = relations.split(said)
    if relation and relation.sign == "=" and _NAMES.fullmatch(relation.left):
        said = relation.right  # (x, y) = (3, 4)
    said = re.sub(r"^[A-Z]\s*(?=\()", "", said)  # P(3, 4)
    stated = _listed(said)
    if stated is None:
        parts = re.split(r"\s+(?:and|or)\s+|,", said)
        if len(parts) == 1 and amounts.read(said) is None:
            return None
        stated = "", [part.strip() for part in parts if part.strip()]
    if len(stated[1]) != len(items):
        # Thousands commas and commas between items look alike: [1,234] is of no known length.
        return None if re.search(r"\d,\d{3}", said) else False
    if brackets in ("{}", ""):
        return _unordered(items, stated[1], asked)
    pairs = zip(items, _in_order(stated[1]), strict=True)
    equal = _all(_compare(clean(a), clean(b), asked) for a, b in pairs)
    if equal and stated[0] not in ("", brackets):
        if "{" in stated[0]:
            return None
        # Of two, the brackets may be those of an interval.
        return len(items) > 2 and {brackets, stated[0]} == {"()", "[]"}
    return equal


def _in_order(items: list[str]) -> list[str]:
    """Return items that all bear names in the order of these."""
    named = [relations.split(item) for item in items]
    if all(one is not None and one.names for one in named):
        return [one.right for one in sorted((n for n in named if n), key=lambda n: n.left)]
    return items


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    found = list(verdicts)
    return False if False in found else None if None in found else True


def _unordered(items: list[str], stated: list[str], asked: Asked) -> bool | None:
    if len(items) != len(stated):
        return False if all(amounts.read(clean(x)) or _listed(x) for x in stated) else None
    left = list(stated)
    unsure = False
    for item in items:
        verdicts = [_compare(clean(item), clean(other), asked) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        else:
            unsure |= None in verdicts
            if not unsure:
                return False
    return None if unsure else True


def _matrices(truth: str, said: str, asked: Asked) -> bool | None:
    first, second = _MATRIX.search(truth), _MATRIX.search(said)
    if first is None:
        return None
    if second is None:  # a vector may be a tuple
        row = [item for row in _rows(first[2]) for item in row]
        is_vector = min(len(row), len(_rows(first[2]))) == 1 or len(_rows(first[2])) == len(row)
        return _lists("()", row, said, asked) if is_vector and _listed(said) else None
    rows, others = _rows(first[2]), _rows(second[2])
    if [len(row) for row in rows] != [len(row) for row in others]:
        return False
    return _all(
        _compare(clean(a), clean(b), asked)
        for row, other in zip(rows, others, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def _rows(text: str) -> list[list[str]]:
    rows = re.split(r"\\\\(?:\s*\[[^\]]*\])?|\\cr(?![a-z])", text)
    return [row.split("&") for row in rows if row.strip()]
