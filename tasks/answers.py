"""From a model's text to its answer: pure functions, standard library only, no guessing.

Each returns None where the text does not say it. None of them evaluates what a model wrote.
"""

import re
from fractions import Fraction

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


def after_thinking(text: str) -> str | None:
    """Return what follows the last closed thought; None while a thought is still open.

    Some chat templates put `<think>` into the prompt, so a text may close a thought that it never
    opened. A text without any mark is all answer.

        >>> after_thinking("<think> 3 + 4 = 7 </think> 7")
        '7'
        >>> after_thinking("so 3 + 4 = 7 </think> 7")
        '7'
        >>> after_thinking("<think> 3 + 4") is None
        True
        >>> after_thinking("7")
        '7'
    """
    _, _, rest = text.rpartition(THINK_CLOSE)
    return None if THINK_OPEN in rest else rest.strip()


def boxed(text: str) -> str | None:
    r"""Return what the last complete `\boxed{…}` holds, with balanced braces.

    >>> boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> boxed(r"\boxed{\frac{1}{2") is None
    True
    """
    for start in reversed([match.end() for match in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if text[end - 1] == "\\" and text[end] in "{}":
                depth -= {"{": 1, "}": -1}[text[end]]
            if depth == 0:
                return text[start:end].strip()
    return None


_ANSWER = re.compile(r"\b(?:answer|option|choice)\b[\s>*\"']*(?:\bis\b|[:：])", re.IGNORECASE)


def final(text: str) -> str | None:
    r"""Return the part of a response that holds its answer; None where there is none.

    That is, after the thought: the last `\boxed{}`; else what follows the last "answer is" or
    "Answer:" on its line; else the last line that is not empty.

    >>> final(r"so \boxed{B} it is"), final("Hence the answer is 12. \nAs asked.")
    ('B', '12.')
    >>> final("<Thought process>:<<x>>\n<Answer>:<<C>>."), final("3 + 4\n7\n")
    ('<<C>>.', '7')
    >>> final("<think> the answer is B") is None
    True
    """
    spoken = after_thinking(text)
    if not spoken:
        return None
    if (inside := boxed(spoken)) is not None:
        return inside or None
    marks = list(_ANSWER.finditer(spoken))
    if marks:
        rest = spoken[marks[-1].end() :].strip().splitlines()
        return rest[0].strip() if rest else None
    return spoken.splitlines()[-1].strip()


_LETTER = re.compile(
    r"""^(?:the\ )?(?:(?:correct\ |final\ |best\ )?(?:answer|option|choice)\s*(?:is|:)?\s*)?
        [\s({\[*$<:"']*(?:\\(?:text|textbf|mathbf|mathrm)\{)?\(?
        (?P<letter>[A-Z])
        (?:[\s)}\]*$>."'!]*$|\s*[).:]\s.*$|\)\s*\S.*$)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def option_letter(text: str, letters: str = "ABCDE") -> str | None:
    r"""Return the option that a short answer names; None if it names none or is not short.

    Accepted is a letter alone, in brackets, bold, or `\text{}`, one that labels its option
    ("B) 12", "(B) 12"), and each of these after "answer is" and the like. A sentence that merely
    contains a letter names nothing: "A triangle" is not option A.

        >>> option_letter("(B)"), option_letter("**C**."), option_letter("The answer is D.")
        ('B', 'C', 'D')
        >>> option_letter("B) 12 cm"), option_letter(r"\text{E}")
        ('B', 'E')
        >>> option_letter("A triangle"), option_letter("B or C"), option_letter("G")
        (None, None, None)
    """
    match = _LETTER.match(text.strip())
    if not match:
        return None
    letter = match["letter"]
    return letter.upper() if letter.upper() in letters else None


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
    if not re.search(r"\d", text) or not _NUMBER.fullmatch(text):
        return None
    # A long exponent would build a number of that many digits.
    if re.search(r"[eE][-+]?\d{4,}$", text):
        return None
    return Fraction(text.replace(",", "").replace("−", "-"))


def same_value(a: str, b: str) -> bool:
    r"""Whether two answers are the same number, or else the same text but for case and blanks.

    >>> same_value("0.5", r"\frac{1}{2}"), same_value("8.0", "8"), same_value("12", "120")
    (True, True, False)
    >>> same_value("(1, 2)", "(1,2)"), same_value("Cat", " cat ")
    (True, True)
    >>> same_value("", "")
    False
    """
    first, second = number(a), number(b)
    if first is not None and second is not None:
        return first == second
    plain = [re.sub(r"[\s$]+", "", text).rstrip(".").casefold() for text in (a, b)]
    return plain[0] == plain[1] != ""
