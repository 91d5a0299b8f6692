"""A true answer inside a text: in whole words and whole numbers."""

import re

_LETTER = r"[^\W\u3040-\u9fff\uac00-\ud7a3]"
"""Of a script that leaves blanks between its words."""
_INSIDE = rf"{_LETTER}|[.,/:-]\d"
"""What a number goes on with: 5.75, 1,500, 10/15/99."""


def pattern(answer: str) -> str:
    """Return the pattern of an answer that is no part of another word, number or date.

    >>> bool(re.search(pattern("500"), "1,500")), bool(re.search(pattern("500"), "500, and more"))
    (False, True)
    >>> bool(re.search(pattern("15"), "10/15/99")), bool(re.search(pattern("10"), "at -10"))
    (False, False)
    >>> bool(re.search(pattern("cat"), "cats")), bool(re.search(pattern("中国"), "是中国。"))
    (False, True)
    """
    before = after = ""
    if answer[0].isdecimal():
        before = rf"(?<!{_LETTER})(?<!\.)(?<!\d[,/:-])(?<![\s(][-−])(?<!^[-−])"
    elif re.match(rf"{_LETTER}|\W", answer):
        before = rf"(?<!{_LETTER})"
    if answer[-1].isdecimal():
        after = rf"(?!{_INSIDE})"
    elif re.match(rf"{_LETTER}|\W", answer[-1]):
        after = rf"(?!{_LETTER})"
    return f"{before}{re.escape(answer)}{after}"
