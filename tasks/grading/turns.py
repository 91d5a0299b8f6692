"""Where a response turns from its answer: takes it back, finds another, denies its box."""

import re
from collections import deque

from tasks.grading.sentences import sentences

_ANSWER = r"\W{0,4}(?:(?-i:[A-J])|[-−]?\d[\d.,/]*)(?:\W*$|[.;,]\s)"
_QUALIFIED = r"""(?:^|[.!?;\n]\s{0,9})["'*]{0,3}
    (?:(?:normally|usually|typically|originally|initially|at\ first|ignoring|neglecting|without
        |in\ the\ (?:original|usual|classic|first)|for\ the\ (?:first|other))\b
        [^.!?;\n]{0,60}\banswer\b
      |(?:the|my)\ (?:usual|normal|original|initial|first
        |(?:book|author|student|teacher|friend)['’]s)\ answer\b
      |[^.!?;\n]{0,40}\bwould\ be\b[^.!?;\n]{1,40}\bif\b)
    [^.!?;\n]{0,60}?(?:[,;]\s|[.!?]\s|\n)\s{0,9}
    (?=(?:but|however|yet|here|now|in\ th(?:is|e\ (?:edited|second|other))|with|including|after
      |for\ the|it\ is\ not|they\ are\ not|my|i\ (?:now\ )?get)\b)"""
"""An answer to something else, up to where the text turns to what is asked."""

_TAKEN_BACK = re.compile(
    r"""(?:^|[.!?…\n]["')*]{0,9}\s{0,20})
        (?:(?:(?:but|oh|hmm+|ah|no|hold\ on|and)\b,?\s*){0,2}
           (?:wait(?=\s*[,.!?…:—-]|\s(?:no|a|let|that|actually|i)\b)|correction|scratch\ that|oops
             |on\ (?:second\ thoughts?|reflection)|hold\ on(?=\s*[,.!…:—])
             |let\ me\ (?:reconsider|re-?evaluate|re-?do|re-?count|re-?calculate|correct)
             |i(?:\ have|'ve)?\ (?:misread|miscounted|miscalculated
               |made\ an?\ (?:\w+\ )?(?:error|mistake|slip))
             |sorry,?\ (?:that|it|the\ answer|i\ meant?)\b
             |(?:edit|revised(?:\ \w+)?|corrected(?:\ \w+)?|after\ (?:re)?checking)\W{0,3}[:：]
             |actually,?\ (?:no\b|that|it|(?:re)?counting|the\ (?:correct|right|answer)|(?=ANSWER)))
          |(?P<denies>(?:hmm+|oh|ah|no|wait)\b[,.\s]*that(?:'s|\ is|\ was)\ (?:wrong|incorrect
            |not\ (?:right|correct))|不对(?=[，,。：:]))
        )
      | (?<=\S)(?:\s?(?:,|--|—|–|\.\.\.|…)\s?(?:no,|i\ mean)\s(?=ANSWER)|,?\s(?:or\ rather)\s)
      | [。？?！，,\n]\s?(?:等等|等一下|(?:其实|实际上)(?=[是应为])|更正[：:]
          |但[^。；，]{0,8}，?(?=应该?[是为选]))
      | [。？?！]\s?不对(?=[，,])
      | CONCEDED""".replace("ANSWER", _ANSWER).replace("CONCEDED", _QUALIFIED),
    re.VERBOSE | re.IGNORECASE,
)
_UNSAID = re.compile(r"\W*(?:(?:the\s)?(?:final\s)?answer(?:\sis)?\W*)?", re.IGNORECASE)
"""What stands before "No, that is wrong" where it is the answer, and takes nothing back."""
CONFIRMS = re.compile(
    r"(?<!not )(?<!in)\b(?:(?:correct|right)(?!\s\w+\s(?:is|was)\b)|confirm(?:s|ed)"
    r"|consistent|checks? out|verified|matches)\b",
    re.IGNORECASE,
)
"""Said after a second look: what came before stands."""


def retracted(text: str) -> tuple[str, str]:
    """Split a response at the last word that takes back what came before; "" before if none does.

    >>> retracted("The answer is 35. Wait, it is 145."), retracted("So it is 12.")
    (('The answer is 35', 'it is 145.'), ('', 'So it is 12.'))
    """
    last = next(iter(deque(_TAKEN_BACK.finditer(text), 1)), None)
    if last is None or (last["denies"] and _UNSAID.fullmatch(text, 0, last.start())):
        return "", text
    return text[: last.start()], text[last.end() :].lstrip(" \n\t,.;:!…–—")


_LOOKS_AGAIN = re.compile(
    r"(?:^|[.!?…\n])\W{0,9}(?:let(?:['’]s|\sme|\sus)\s(?:\w+\s)?(?:verify|(?:double[- ]?)?check)"
    r"|verification|verifying|(?:double[- ]?)?check(?:ing)?)\b",
    re.IGNORECASE,
)
_FINDS = re.compile(r"\W*(?:so|thus|hence|therefore)\b|.*\binstead\W*$", re.IGNORECASE)


def found_again(after: str) -> str:
    """Return what a second look after an answer comes to; "" where it confirms it, or says nothing.

    >>> found_again(" 12. Let me check: 7 + 8 = 15, not 12. So it is 15.")
    'So it is 15.'
    >>> found_again(" 12. Let me check: 3 * 4 = 12. Correct. So it is 12."), found_again(" 12.")
    ('', '')
    """
    look = _LOOKS_AGAIN.search(after)
    lines = after[look.end() :].splitlines() if look else []
    parts = [part for line in lines for part in sentences(line)]
    if not parts or not _FINDS.match(parts[-1]) or any(map(CONFIRMS.search, parts)):
        return ""
    return parts[-1]


_BOX_DENIED_BEFORE = re.compile(
    r"(?:\b(?:answer|it|this|that)(?:\s?(?:is|was|ca|could|should))?\s?(?:not|n['’]t|never|cannot)"
    r"\s(?:(?:be|the|option)\s){0,2}|\b(?:rather\sthan|instead\sof)\s"
    r"|\b(?:wrong|incorrect)\s\w+\s?(?:is|was|=|:)\s?)[$\\(\[*\s]*$",
    re.IGNORECASE,
)
_BOX_DENIED_AFTER = re.compile(
    r"[$)\]\\*.,\s]*(?:(?:which|it|this|that)\s)?(?:is|was|cannot\sbe|can['’]t\sbe)\s"
    r"(?:wrong|incorrect|not\s(?:right|correct|the\sanswer))(?=\s*[.,;:!—–-]|\W*$|\s(?:since|because|as)\b)",
    re.IGNORECASE,
)


def is_denied_box(text: str, start: int, end: int) -> bool:
    r"""Whether a box is put up only to be denied: "not \boxed{3}", "\boxed{3} is wrong".

    Of a box it takes more than of a name: what follows mostly speaks of other things.
    """
    return bool(
        _BOX_DENIED_BEFORE.search(text[max(0, start - 60) : start])
        or _BOX_DENIED_AFTER.match(text[end : end + 60])
    )
