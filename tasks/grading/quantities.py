r"""The quantities that a sentence names: each number or formula, whole, with its sign and unit.

A formula between dollars or in `\(…\)` is one piece, read whole or not at all. Elsewhere a quantity
is a number in digits or words with all the mathematics that adjoins it, and the scale and unit
behind it. Ordinals, ranges ("12-13") and numbers inside names ("Q1") are none.
"""

import re
from dataclasses import dataclass

from tasks.grading import amounts, relations, units, words
from tasks.grading.spelling import normal, untexted

_MARKUP = re.compile(r"\*\*|__|`|\\\(|\\\)|\\\[|\\\]")
_CHUNK = re.compile(
    r"(?<!\\)\$\$?((?:\\.|[^$\\]){1,300}?)\$\$?(?!\d)|\\\((.{1,300}?)\\\)|\\\[(.{1,300}?)\\\]",
    re.DOTALL,
)
_DRESSED = re.compile(r"\\[a-z]+\s?\{[^{}]*\}")
_WORDED = re.compile(r"(?<![\\{a-zA-Z])[a-zA-Z]{2,}\s|\s[a-zA-Z]{2,}(?![a-zA-Z}])")


@dataclass(frozen=True)
class Sentence:
    """A sentence without markup, in one spelling."""

    text: str
    formulas: tuple[tuple[int, int], ...]
    """Start and end of those between dollars and the like."""


def sentence(text: str) -> Sentence:
    r"""Take the markup off a sentence.

    >>> sentence(r"The area is $12\text{ cm}^2$.").text
    'The area is 12 cm ^2.'
    """
    out, length, last = [], 0, 0
    formulas = []
    for found in _CHUNK.finditer(text) if "$" in text or "\\" in text else ():
        inside = found[1] or found[2] or found[3]
        if found[1] and _WORDED.search(_DRESSED.sub("", inside)):
            continue  # two prices
        pieces = [_plain(text[last : found.start()]), _plain(inside).strip()]
        out += pieces
        length += len(pieces[0])
        formulas.append((length, length + len(pieces[1])))
        length += len(pieces[1])
        last = found.end()
    out.append(_plain(text[last:]))
    return Sentence("".join(out), tuple(formulas))


def _plain(text: str) -> str:
    if not text.strip():
        return text
    text = _MARKUP.sub(" ", untexted(text))
    before, after = " " * text[:1].isspace(), " " * text[-1:].isspace()
    return f"{before}{re.sub('[ ]{2,}', ' ', normal(text))}{after}"


_DIGITS = (
    r"(?:(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)|\d{1,3}(?:[ ]\d{3})+(?![ ]?\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d+(?!\w))?"
)
_TOKEN = rf"""(?:{_DIGITS} | \\[a-zA-Z]+ | \\[{{}}] | =(?!>) | (?<!=)> | [-+*/^<(){{}}\[\]|%°_]
    | (?<![a-zA-Z])(?:sqrt(?=[ ]?[({{\d])|pi)(?![a-zA-Z])
    | (?<=\d):(?=\d) | (?<=\d[ ]):(?=[ ]\d) | !(?=[ ]?[-+*/^=)])
    | (?<=[\d(){{}}\[\]|^_*/+=<>-])[a-zA-Z](?![a-zA-Z'’])
    | (?!(?-i:[A-Z])-\d)[a-zA-Z](?![a-zA-Z'’])
      (?=[ ]?(?:[+*/^=<>]|\\(?:le|ge|ne|approx)|-(?![a-zA-Z]{{2}}))|[_(|]))"""
_RUN = re.compile(
    rf"""(?<![a-zA-Z0-9_.\\])(?<![a-zA-Z]-){_TOKEN}(?:(?![ ]+\()[ ]{{0,2}}{_TOKEN})*
         (?P<ordinal>(?:st|nd|rd|th)\b)?
       | (?P<words>(?:\b(?:minus|negative)\s)?{words.WORDS}
           (?!['’]|-(?!year|month|day|hour|foot|inch)))
       | (?P<none>\b(?:is|are)\snone\b(?!\sof)|\b(?:none|nothing)\s(?:is|are|remains?|left)\b
           |\bthere\sare\sno\b(?!\s(?:more|less|fewer|other)\b)(?=(?:\s\w+){{0,2}}\s\w+s\b)|^\W*no\b(?=\s\w+\s(?:are|is|remain)))""",
    re.VERBOSE | re.IGNORECASE,
)
_NAMES = "|".join(sorted(map(re.escape, units.names()), key=len, reverse=True))
_UNIT = (
    rf"(?:(?:square|sq\.?|cubic|cu\.?)\s)?(?:{_NAMES}|units?|[LJNWVAKCFΩ])(?![a-zA-Z0-9])"
    r"(?:\s?\^\s?\{?\s?-?\d\s?\}?|\s(?:squared|cubed)\b)?"
)
_TAIL = re.compile(
    rf"""(?:\s?(?:{"|".join(words.SCALES)})s?\b|(?<=\d)(?:[kKMB]|mn|bn)(?!\w)|(?<=\d)\s?[千万亿])*
        (?:\s?(?:%|per\s?cent(?:age\spoints?)?\b)|\s?°\s?[CF]\b|\s?[¢€£¥₹]
          |-?\s{{0,2}}(?!in\s\w){_UNIT}(?:\s?(?:[/*]|per\b)\s?{_UNIT}){{0,3}})?
        (?:,?\s(?:degrees?\s)?below\szero\b)?""",
    re.VERBOSE,
)
_GOES_ON = re.compile(
    r"\s(?:times\s(?:as\s\w+\sas\s)?(?:\d|[a-z]\b(?!\w)|the\s(?:number|value|length)\b)"
    r"|(?:plus|minus|over)\s(?=[\d\\a-z])|divided|multiplied"
    r"|squared|cubed|factorial|halves|thirds|quarters|fourths|fifths)\b"
    r"|\s?\\(?:log|ln|sin|cos|tan|alpha|beta|gamma|theta)"
    r"|\s?[+*/^]\s?\\?[a-z(]|\s?-\s?[a-z]{1,2}\b(?!\s)",
    re.IGNORECASE,
)
"""What makes another value of the number before it."""
_BEFORE = re.compile(
    r"(?P<minus>-)\s?(?:US)?\\?\$\s?$|(?P<money>[€£¥₹])\s?$|(?:(?<![\w\s]\s)(?<!\d)|(?<=[a-z]\s))\b(?:minus|negative)\s$",
    re.IGNORECASE,
)
"""The sign of a number before its currency, or in words."""
_MADE_OF = re.compile(
    r"\b(?:twice|thrice|double|triple|half\sof"
    r"|(?:root|square|cube|factorial|reciprocal|log(?:arithm)?)\sof)\s$|[+*/]\s?\$\s?$",
    re.I,
)
"""What makes another value of the number after it."""
_SOLE = re.compile(r"\b(?:is|only|exactly|just|equals?|leaves)\s$|=\s?$", re.IGNORECASE)


@dataclass(frozen=True)
class Quantity:
    """A number or formula where it stands in a sentence."""

    start: int
    end: int
    text: str
    """With sign, scale and unit; the right side, where it is an equation."""
    kind: str = "value"
    """`value`; `bound`, of an inequality; `range`, "12-13"; `torn`, it goes on in words."""


def find(said: Sentence) -> list[Quantity]:
    """Return the quantities of a sentence in order.

    >>> [one.text for one in find(sentence("Of 12 cm² and two thirds, $x = 3$ is the 4th."))]
    ['12 cm^{2}', 'two thirds', '3']
    """
    found, at = [], 0
    for start, end in [*said.formulas, (len(said.text), len(said.text))]:
        while at < start and (run := _RUN.search(said.text, at, start)):
            one = _run(said.text, run)
            found += [one] if one else []
            at = max(run.end(), one.end if one else 0)
        if start >= at and _WORTH.search(said.text, start, end):
            found.append(_quantity(said.text, start, end))
        at = max(at, end, found[-1].end if found else 0)
    return found


_NUMBERED = re.compile(
    r"\b(?:fig(?:ure|\.)|step|question|problem|example|table|page|equation|exercise)\s$",
    re.IGNORECASE,
)
_WORTH = re.compile(r"\d|\\(?:pi|infty|sqrt|frac)(?![a-z])|(?<![a-z])pi(?![a-z])")


def _run(text: str, run: re.Match[str]) -> Quantity | None:
    if run["none"]:
        return Quantity(run.start(), run.end(), "0")
    if run["words"]:
        return None if _is_idle(text, run) else _quantity(text, run.start(), run.end())
    if run["ordinal"] or not _WORTH.search(run[0]) or _NUMBERED.search(text[: run.start()]):
        return None
    bar = "|" * (run[0].count("|") % 2)
    kept = run[0].rstrip(" *+-/^=<>:_([{" + bar)
    start = run.start() + len(kept) - len(kept.lstrip(" */^=:_)]}%°+" + bar))
    kept = kept[start - run.start() :]
    while kept[:1] in ("(", "[") and _open(kept) > 0:
        start, kept = start + 1, kept[1:]
    while kept[-1:] in (")", "]") and _open(kept) < 0:
        kept = kept[:-1].rstrip()
    if amounts.is_range(kept):
        return Quantity(start, start + len(kept), kept, "range")
    return _quantity(text, start, start + len(kept)) if kept else None


def _open(text: str) -> int:
    return sum(text.count(sign) for sign in "([") - sum(text.count(sign) for sign in ")]")


def _is_idle(text: str, run: re.Match[str]) -> bool:
    """Whether a number in words is none: "one of them", "the third half", "a half-hearted"."""
    word, rest = run["words"].lower(), text[run.end() :]
    alone = not re.search(r"\w", text[: run.start()] + rest)
    if alone:
        return False
    if word == "zero":
        return bool(
            re.search(r"(?:\d|\b(?:an?|the|one|only|each|real|no))\s$", text[: run.start()])
        )
    if word == "one":
        sole = _SOLE.search(text[: run.start()])
        if re.match(rf",\s(?:and\s)?(?:\d|{words.WORDS})", rest):
            return False
        return not sole or bool(re.match(r"\s(?:of|that|who|which|with|where)\b|-", rest))
    return bool(re.fullmatch(r"half|an? \w+", word)) and not (
        word.split()[-1] in words.SCALES or re.match(r"\W*$|\sof\b|[.,;]", rest)
    )


def _quantity(text: str, start: int, end: int) -> Quantity:
    tail = _TAIL.match(text, end)
    stop = tail.end() if tail else end
    said = text[start:stop].strip()
    if relation := relations.split(said):
        if relation.sign not in ("=", "\\approx"):
            return Quantity(start, stop, said, "bound")
        start, said = stop - len(relation.right), relation.right
    elif before := _BEFORE.search(text[:start]):
        said = (before["minus"] or before["money"] or before[0]) + said
        start -= len(before[0])
    torn = _GOES_ON.match(text, stop) or _GOES_ON.match(text, end) or _MADE_OF.search(text[:start])
    return Quantity(start, stop, said, "torn" if torn else "value")


def value(quantity: Quantity) -> amounts.Amount | None:
    """Return what a quantity is worth; None where that cannot be read."""
    return amounts.read(quantity.text, letters=False) if quantity.kind == "value" else None
