"""Lines and sentences: where they end, and which of them state nothing."""

import re

CODE = re.compile(r"\s*(?:print\(|return\b|import\s|def\s\w+\(|els?e?if\b.*:|else:)")
"""A line of a program, which only says how to get an answer."""
_TRIED = re.compile(r"\W{0,6}(?:option\s)?[A-J]\s?(?:\*\*)?\s?[).:|]", re.IGNORECASE)
_HOLDS = re.compile(
    r"(?:[–—|:(,.]|\s-)\W*(?:this\s|it\s|is\s)?(?:yes|correct|right|true|match(?:es)?|fits|works|valid|possible)\b[^.]{0,40}\.?$"
    r"|[:：.、]\s?(?:正确|对|符合)[^。]{0,9}。?$|[✓✔✅☑]\W*$",
    re.IGNORECASE,
)
_FAILS = re.compile(
    r"\b(?:no|not|too|wrong|incorrect|false|impossible|invalid|\w+n['’]t|cannot|fails|excluded)\b|[✗✘❌]"
    r"|错|有误|不(?:对|正确|符合|成立)",
    re.IGNORECASE,
)
_LISTED_OPTION = re.compile(
    r"\W{0,4}([A-J])\s?[).:](?!.*(?:\b(?:yes|no|correct|incorrect|right|wrong|true|false)\b\W*$|[✓✔✅✗✘❌]))",
    re.IGNORECASE,
)


def unlisted(lines: list[str]) -> list[str]:
    """Drop lines that only repeat the options: `(A) …`, `(B) …`, one below the other.

    Of a list that finds one of its lines right and the others wrong only the one is left.
    """
    verdicts = [line if _TRIED.match(line) else "" for line in lines]
    held = [line for line in verdicts if line and not _FAILS.search(line)]
    if len([line for line in verdicts if line]) > 2 and len(held) == 1 and _HOLDS.search(held[0]):
        lines = [line for line, tried in zip(lines, verdicts, strict=True) if tried in ("", *held)]
        return [re.sub(r"\s*\|\s*", ": ", line.strip(" |")) for line in lines]
    letters = [found[1] if (found := _LISTED_OPTION.match(line)) else "" for line in lines]
    return [
        line
        for place, line in enumerate(lines)
        if not letters[place]
        or not any(
            letters[other] and letters[other] != letters[place]
            for other in (place - 1, place + 1)
            if 0 <= other < len(lines)
        )
    ]


_STOP = re.compile(r"[.!?]['\"”)*]{0,3}\s+(?=\S)|[。；]|;\s+(?=[a-zA-Z(])")
_NUMBERING = re.compile(r"\W*(?:step\s)?(?:\d{1,3}|[A-Z])", re.IGNORECASE)
_LABEL_END, _WORD = re.compile(r"\b[A-Z]$|\d$"), re.compile(r"[A-Z][a-z]|(?:I|A) [a-z]")
_SHORTENED = re.compile(
    r"\b(?:[a-z]\.[a-z]|approx|fig|vs|sq|dr|mrs?|st|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)$",
    re.IGNORECASE,
)


def sentences(line: str) -> list[str]:
    """Split a line at its full stops, not at those of "1. ", "A. " and "i.e.".

    >>> sentences("1. Small: 4. Large: 3! So A. 7 it is."), sentences("12 sq. m, i.e. a lot.")
    (['1. Small: 4.', 'Large: 3!', 'So A. 7 it is.'], ['12 sq. m, i.e. a lot.'])
    """
    parts, start = [], 0
    for stop in _STOP.finditer(line):
        before, after = line[start : stop.start()], line[stop.end() :]
        if stop[0][0] == "." and (
            _NUMBERING.fullmatch(before)
            or _SHORTENED.search(before)
            or (_LABEL_END.search(before) and not _WORD.match(after))
        ):
            continue
        parts.append(line[start : stop.end()].strip())
        start = stop.end()
    return [part for part in [*parts, line[start:].strip()] if re.search(r"\w", part)]


def is_step(parts: list[str]) -> bool:
    """Whether the number to which the first sentence comes is reckoned with in a later one."""
    numbers = re.findall(r"\d+(?:[.,]\d+)*", parts[0])
    if not numbers:
        return False
    number = rf"(?<![\d.]){re.escape(numbers[-1])}(?![\d.]\d)"
    sign = r"\s?(?:[-+*/×÷·−]|\\times|\\cdot|x(?=\s))\s?"
    return bool(re.search(rf"{number}{sign}|{sign}\$?{number}", " ".join(parts[1:])))


PREMISE = re.compile(
    r"\W*(?:let\s(?!me\b|us\b)|suppose\b|assume\b|assuming\b|for\s(?:example|instance)\b)"
    r"(?!.*\b(?:so|then)\b)",
    re.IGNORECASE,
)
"""It states what is supposed."""
QUESTION = re.compile(r"^(?!\W*[A-J][).:]).*\w\W+\w.*\?\W*$", re.DOTALL)
"""More than one word with a question mark: it states nothing."""
