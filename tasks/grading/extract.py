r"""From a model's text to its answer: pure functions, standard library only, no guessing.

Each returns None where the text does not say it. None of them evaluates what a model wrote.

`read_choice`, `read_value` and `read_yes_no` are the robust reading of all benchmarks. They look
for the answer, after the thought, in this order, and stop at the first place that has one:

1. the last complete `\boxed{}`, alone: where there is a box, nothing else is read;
2. what follows "the answer is", "Answer:", "####", `<answer>` and the like, the last one first;
3. the only words in bold; a response of one short sentence;
4. the last sentence; else one before it that begins with "So", "Therefore" and the like; else the
   first. Without such a word a first sentence that says otherwise leaves the response unread.

A place that says it cannot tell ("cannot be determined") ends the search.
"""

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tasks.grading import equivalence, expressions
from tasks.grading.thought import after_thinking


def boxed(text: str) -> str | None:
    r"""Return what the last complete `\boxed{…}` holds, with balanced braces.

    >>> boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> boxed(r"\boxed{\frac{1}{2") is None
    True
    """
    spans = _boxed_spans(text)
    return text[spans[-1][1] : spans[-1][2]].strip() if spans else None


_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,9}\{|\\[{}\\]|[{}]")


def _boxed_spans(text: str) -> list[tuple[int, int, int]]:
    """Return (start of the command, start and end of what it holds) of each complete box."""
    spans: list[tuple[int, int, int]] = []
    open_braces: list[tuple[int, int, bool]] = []
    for found in _BOX_OR_BRACE.finditer(text):
        mark = found[0]
        if mark.endswith("{") and mark != "\\{":
            open_braces.append((found.start(), found.end(), len(mark) > 1))
        elif mark == "}" and open_braces:
            start, begin, is_box = open_braces.pop()
            if is_box:
                spans.append((start, begin, found.start()))
    return spans


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
    if not re.match(r"[-+−]?\.?\d", text) or not _NUMBER.fullmatch(text):
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


# The robust reading: one reading of the final answer, for all benchmarks.

NO_OPTION = "none"
"""What `read_choice` returns for an answer that is plainly none of the options, and so is wrong."""

LONGEST = 50_000
"""Only so many of the last characters of a response are looked at."""


def read_choice(text: str, options: Sequence[str] | Mapping[str, str]) -> str | None:
    r"""Return the letter of the option that a response chooses; None where it cannot be read.

    The letter counts, or the text of the option, or its value. A letter with the text of another
    option contradicts itself, two letters are no choice, and neither is read. An answer that is
    stated, and is none of the options ("F" of A to E, 36 of 22, 40, 44, 48), is `NO_OPTION`.

    Args:
        text: The response.
        options: The texts of the options in order, or letter → text. Texts may be empty.

    >>> read_choice("The answer is (B).", ["22", "40"]), read_choice("It is 40 cm.", ["22", "40"])
    ('B', 'B')
    >>> read_choice("(B) 22", ["22", "40"]) is None, read_choice("A or B", ["22", "40"]) is None
    (True, True)
    >>> read_choice(r"\boxed{36}", ["22", "40"]), read_choice("<think> B", ["22", "40"]) is None
    ('none', True)
    """
    if not isinstance(options, Mapping):
        options = dict(zip(string.ascii_uppercase, options, strict=False))
    options = {letter.upper(): str(option).strip() for letter, option in options.items()}
    boxed_none = False
    for place in _places(text, past_box=True):
        letter = _chosen(place, options)
        if letter == NO_OPTION and place.kind == "box":
            boxed_none = True  # a value on the way to the letter?
        elif letter is not None:
            return letter
        elif _REFUSAL.search(place.text) and place.kind != "first":
            break
    return NO_OPTION if boxed_none else None


def read_value(
    text: str, truth: str, *, unit: str | None = None, precision: int | None = None
) -> tuple[str | None, bool | None]:
    r"""Return the answer that a response states, and whether it is the truth.

    The answer is None where none can be read; the verdict is None where it cannot be told. What
    counts as the same is in `tasks.grading.equivalence`.

    Args:
        text: The response.
        truth: The true answer: a number, a list, a formula, or words.
        unit: The unit in which the question asks.
        precision: Decimals to which the question asks.

    >>> read_value("There are 3 dots in each group.", "3"), read_value("I cannot tell.", "3")
    (('3', True), (None, None))
    >>> read_value(r"Hence \boxed{\frac{\sqrt{6}}{6}}.", r"\frac{1}{\sqrt 6}")
    ('\\frac{\\sqrt{6}}{6}', True)
    >>> read_value("12 m + 10 m = 22 m", "22"), read_value("<think> It is 3", "3")
    (('22 m', True), (None, None))
    """
    truth = str(truth)
    number, unclear = equivalence.numeric(truth), False
    for place in _places(text):
        if unclear and place.kind == "first":
            break
        said = _stated_number(place) if number else _stated(place, truth)
        if said is not None:
            verdict = equivalence.same(truth, said, unit=unit, precision=precision)
            verdict = _begins(truth, said) if verdict is None else verdict
            sure = verdict or number or place.kind in ("box", "mark", "whole")
            if verdict is not None and sure:
                return said, verdict
        if _REFUSAL.search(place.text) and place.kind != "first":
            break
        if number and place.kind == "last" and _SPAN.search(expressions.normal(place.text)):
            unclear = True  # numbers, and no telling which
    return None, None


def read_yes_no(text: str) -> str | None:
    """Return "yes" or "no"; None where a response says neither, or both.

    >>> read_yes_no("No, both boxes are of the same size."), read_yes_no("The answer is Yes.")
    ('no', 'yes')
    >>> read_yes_no("There is no car.") is None, read_yes_no("yes and no") is None
    (True, True)
    """
    for place in _places(text):
        said = {word.casefold() for word in _YES_NO.findall(place.text)}
        first = _YES_NO_FIRST.match(place.text)
        if first and (place.kind not in ("whole", "box") or len(said) == 1):
            return first[1].casefold()
        if len(said) == 1 and place.kind != "first" and not _BOTH.search(place.text):
            return said.pop()
    return None


_YES_NO = re.compile(r"\b(yes|no)\b(?=\W*$|\s*[.,;:!*\"')])", re.IGNORECASE)
_BOTH = re.compile(r"\b(?:yes|no)\W+(?:(?:and|or|nor)\W+)?(?:yes|no)\b", re.IGNORECASE)
_YES_NO_FIRST = re.compile(
    r"[\W_]*(?:(?:so|therefore|thus|hence)\W+)?(yes|no)\b(?!\s+(?:and|or)\b)", re.IGNORECASE
)


# Where an answer may stand.


@dataclass(frozen=True)
class _Place:
    text: str
    kind: str
    """`box`; `mark`, after "answer is" and the like; `bold`, the only words in bold; `whole`, a
    response of one short sentence; `last`, the last sentence; `first`, the first."""
    rival: str = ""
    """A sentence that must not say otherwise."""


def stated(text: str) -> bool:
    r"""Whether a text says outright what its answer is, and has gone on since.

    Of a text that was cut, nothing else can be taken for its answer: its last sentence is a step.

        >>> stated(r"so \boxed{12}, because"), stated("The answer is 12. To check")
        (True, True)
        >>> stated("The answer is 1"), stated("3 + 4 = 7, and 7"), stated(r"so \boxed{1")
        (False, False, False)
    """
    spoken = (after_thinking(text) or "")[-LONGEST:]
    return bool(_boxed_spans(spoken)) or any(
        re.search(r"\w.*?(?:\n|[.。]\s)", spoken[found.end() :], re.DOTALL)
        for found in _MARK.finditer(spoken)
    )


def _places(text: str, past_box: bool = False) -> Iterator[_Place]:
    """Yield the places in which an answer may stand, the surest first.

    Args:
        text: The response.
        past_box: Go on after a box with the marks.
    """
    spoken = _END.sub("", after_thinking(text) or "").strip()[-LONGEST:]
    spoken = _own(spoken)
    if not spoken:
        return
    inside = _boxes(spoken)
    if not inside and _CUT.search(spoken):
        return
    if inside:
        yield _Place(inside, "box")
        if not past_box:
            return
    marks = [
        mark
        for mark in list(_MARK.finditer(spoken))[-4 * MARKS :]
        if not _IF.search(spoken[max(0, mark.start() - 200) : mark.start()])
    ]
    lines = _unlisted([line for line in spoken.splitlines() if re.search(r"\w", line)])
    if marks and lines and _UNSURE.search(lines[-1]) and not _MARK.search(lines[-1]):
        return  # it takes back what it said
    for mark in marks[: -MARKS - 1 : -1]:
        if segment := _segment(spoken[mark.end() : mark.end() + SEGMENT]):
            yield _Place(segment, "mark")
    if not inside and (bold := _bold(spoken)):
        yield _Place(bold, "bold")
    if inside or not lines or (marks and "\n" not in spoken[marks[-1].end() :].strip()):
        return
    yield from _sentences(lines)


MARKS = 5
SEGMENT = 300
SHORT = 80
_END = re.compile(r"(?:</s>|<\|[a-z_]+\|>|<eos>)+\s*$")
_MARK = re.compile(
    r"""(?:
        <answer>
      | \b(?:answer|option|choice)\b(?:[ ](?:to|for|of|letter|number|value)\b
            [^.!?\n:]{0,60}?|\ here|\ therefore)?[\s>*"'”_`]{0,9}
            (?:\bis\b|\bwould\ be\b|\bshould\ be\b|\bmust\ be\b|\bwill\ be\b|[:：=])(?!\s*not\b)
      | \bfinal\ answer\b[*_#\s:：]{0,9}\n
      | ^\#{4}(?!\#)
      | 答案\s*(?:是|为|选)?\s*[:：]? | 选项\s*(?:是|为)
      | 故选\s*[:：]? | 选择?\s*[:：]?(?=\s*[(（]?[A-H]\b)
    )""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_REFUSAL = re.compile(
    r"""\b(?:cannot|can't|can\ not|could\ not|couldn't|not\ (?:possible|enough|provided|given|clear|
        sufficient|able|specified|stated|shown|available|visible|mentioned)|impossible|unable|unknown|
        no\ (?:answer|information|correct|way)|unclear|insufficient|sorry|
        (?:does|do|is|are)(?:\ not|n't)\ (?:provide|show|contain|include|give|have)|
        without\ (?:more|additional|further|the\ image|seeing|any)|none\ of|not\ sure|
        not\ (?:in|among|one\ of)\ the|not\ listed|(?:not|n't)\ match)\b
        |\bN/A\b|无法""",
    re.VERBOSE | re.IGNORECASE,
)
_FLUFF = re.compile(
    r"""^\W*(?:I\ hope|hope\ (?:this|that)|let\ me\ know|feel\ free|please\ (?:let|note|feel|keep)|
        if\ you\ have|thank|you're\ welcome|is\ there\ anything|note\ that|note:|I\ arrived|
        do\ you\ (?:have|want|need))""",
    re.VERBOSE | re.IGNORECASE,
)
_SO = re.compile(
    r"\W*(?:so|thus|hence|therefore|finally|consequently|overall|in (?:conclusion|total|summary)"
    r"|we (?:get|have|find)|this (?:means|gives)|as a result|accordingly)\b",
    re.IGNORECASE,
)


_CUT = re.compile(r"\\boxed\s{0,9}\{")
_NEXT = re.compile(r"\n\s{0,9}(?:\W{0,3}(?:Question|Human|User|Problem)\s?\d{0,3}\s?[:：])")
_IF = re.compile(r"\b(?:if|otherwise|when|assuming|suppose|whether)\b[^.!?\n]*$", re.IGNORECASE)
_UNSURE = re.compile(
    r"(?:(?:not |im)possible|cannot|can't|unable|not enough|insufficient|without)\b[^.]{0,80}"
    r"\b(?:determine|answer|conclude|select|choose|information)\b(?!.*\b(?:but|however)\b)",
    re.IGNORECASE,
)
_LISTED_OPTION = re.compile(r"\W{0,4}([A-J])\s?[).:]")


def _own(text: str) -> str:
    """Return a response without the questions that a model goes on to ask and answer itself."""
    found = _NEXT.search(text)
    if not found:
        return text
    own = text[: found.start()]
    return own if _MARK.search(own) or _boxed_spans(own) else text


def _unlisted(lines: list[str]) -> list[str]:
    """Drop lines that only repeat the options: `(A) …`, `(B) …`, one below the other."""
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


def _bold(text: str) -> str | None:
    """Return the only words in bold, headings apart."""
    found = re.findall(r"\*\*([^*\n]{1,40})\*\*(?!\s*[:：]|[^\S\n]*(?:\n|$))", text)
    said = {part.strip() for part in found if not part.rstrip().endswith((":", "："))}
    return said.pop() if len(said) == 1 else None


def _boxes(text: str) -> str:
    r"""Return the last complete box, with others right before it: `\boxed{1}, \boxed{2}`."""
    spans = _boxed_spans(text)
    if not spans:
        return ""
    inside: list[str] = []
    start = None
    for opened, begin, end in reversed(spans):
        if start is not None and end > start:  # a box in the last one
            break
        between = "" if start is None else text[end + 1 : start]
        if start is not None and not re.fullmatch(r"[\s$,;.()\\]*(?:and|or)?[\s$,;()\\]*", between):
            break
        if start is not None and text[begin:end].strip() == inside[0]:
            break
        inside.insert(0, text[begin:end].strip())
        start = opened
    return ", ".join(part for part in inside if part)


def _segment(rest: str) -> str:
    """Return what follows a mark: its line, or the next if that is empty."""
    rest = re.split(r"</answer>", rest, maxsplit=1)[0]
    lines = [line for line in rest.strip(" \t\n*_#:：").splitlines() if re.search(r"\w", line)]
    return lines[0].strip() if lines else ""


def _sentences(lines: list[str]) -> Iterator[_Place]:
    """Yield a response of one short sentence; else its last sentence, and its first."""
    ends = [*lines[:2], *lines[-6:]] if len(lines) > 8 else lines
    parts = [
        part.strip()
        for line in ends
        for part in re.split(r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\d\.)\s+(?=\S)|(?<=。)", line[-2000:])
    ]
    parts = [part for part in parts if re.search(r"\w", part) and not _FLUFF.match(part)]
    parts = [part[-SEGMENT:] for part in parts]
    if not parts:
        return
    if len(parts) == 1 and len(parts[0]) <= SHORT:
        yield _Place(parts[0], "whole")
    concluding = [part for part in parts[-4:] if _SO.match(part)]
    rival = "" if concluding or len(parts) == 1 else parts[0]
    yield _Place(parts[-1], "last", rival)
    if concluding and concluding[-1] != parts[-1]:
        yield _Place(concluding[-1], "last")
    if len(parts) > 1:
        yield _Place(parts[0], "first")


# What it says there: an option.


def _chosen(place: _Place, options: Mapping[str, str]) -> str | None:
    """Return the letter that a place names, `NO_OPTION`, or None."""
    if place.rival:
        first = _chosen(_Place(place.rival, "first"), options)
        last = _chosen(_Place(place.text, "last"), options)
        return last if first in (None, last) else None
    said = _bare(place.text)
    alone = said.strip("().[]<> ")
    if alone in options:
        return alone  # a letter is asked for, and meant, though "B" may be the text of A
    if letter := _by_text(said, options):
        return letter
    label = _LABEL.match(said)
    if label and _labels(label, said, place.kind, options):
        return _labelled(label, said, place.kind, options)
    if letter := _by_beginning(said, options):
        return letter
    found = [(hit[1] or hit[2] or hit[3], said[hit.end() :]) for hit in _MENTION.finditer(said)]
    named = {letter: rest for letter, rest in found if letter in options}
    if named:
        letter, rest = named.popitem()
        sure = not named and not _NOT.search(said) and not _of_another(letter, rest, options)
        return letter if sure else None
    if place.kind == "first" or _REFUSAL.search(_ASIDE.split(said)[0]):
        return None
    if letter := _by_value(place, options):
        return letter
    return _by_mention(said, options)


def _bare(text: str) -> str:
    """Strip the marks around an answer: dollars, stars, quotes, LaTeX's brackets, `<<>>`."""
    text = re.sub(r"\\\(|\\\)|\\\[|\\\]|\*\*|__|`", " ", text)
    for _ in range(3):
        text = _DRESS.sub(r"\1", text)
    return text.strip(" \t\n$<>*\"'“”‘’_:：=").strip()


_DRESS = re.compile(
    r"\\(?:text|textbf|mathbf|mathrm|mbox|textrm|boxed|bf|textit)\s{0,3}\{([^{}]{0,200})\}"
)
_LABEL = re.compile(
    r"""(?:the\ )?(?:(?:correct|final|best|right)\ )?
        (?:(?:answer|option|choice|letter)\s{0,3}(?:is|:)?\s{0,3})?
        (?P<open>[(\[{（])?\s{0,3}(?P<letter>[A-Za-z])\s{0,3}(?P<close>[)\]}）])?
        (?P<end>\s*$|\s*[.,;:!?。，、]|\s+[-–—]|\s+(?![=<>+^*/\\-])|(?=[^\w\s'’^=+/<>*\\-]))""",
    re.VERBOSE | re.IGNORECASE,
)
_MORE = re.compile(
    r"\s*(?:[,&/、]|and\b|or\b|,\s*(?:and|or)\b)?\s*(?:option |choice )?"
    r"[(\[]?(?:([A-Z])(?![\w'’])|([a-z])\s*(?:[,)]|$|(?:and|or)\s))"
)
_MENTION = re.compile(
    r"\(\s?([A-Z])\s?\)|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter)\s+(?:is\s+)?[\"'“(*]{0,3}([A-Z])\b(?!['’*+^=/])"
    r"|\b(?:is|be|chose|choose|select|pick|get)\s+[\"'“(*$]{0,3}\[?([A-Z])\W*$"
)
_BRACKETED = re.compile(r"[(\[]\s?([A-Za-z])\s?[)\]]")
_NOT = re.compile(
    r"\b(?:not|never|neither|nor|cannot|rather|instead|except|unlike|incorrect|wrong|no|without"
    r"|than|or)\b|n['’]t\b",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\W*(?:because|since|as|is|was|for|due|which|that|but|if|would|in|on|by)\b", re.IGNORECASE
)


def _labels(label: re.Match[str], said: str, kind: str, options: Mapping[str, str]) -> bool:
    """Whether a letter at the beginning is a label, and no word."""
    letter, rest = label["letter"], said[label.end() :]
    if not rest.strip(" .)*$"):
        return True
    if label["close"]:
        return True
    if letter.islower():
        return False
    if label["end"].strip():
        return True
    if kind in ("last", "first"):
        return False
    own = options.get(letter, "")
    return bool(_REASON.match(rest) or letter not in "AI" or (own and _is(own, rest)))


def _labelled(label: re.Match[str], said: str, kind: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of a label, unless what follows it speaks for another."""
    letter, rest = label["letter"].upper(), said[label.end() - len(label["end"]) :]
    if letter in options and _is(options[letter], _bare(rest.strip(" .,:;)"))):
        return letter
    more = _MORE.match(rest)
    other = (more[1] or more[2]).upper() if more else letter
    if other != letter and (other in options or letter not in options):
        return None
    if letter not in options:
        odd = _REFUSAL.search(rest) or _by_text(_bare(rest), options)
        return None if odd or kind not in ("box", "mark", "whole") else NO_OPTION
    sentence = re.split(r"[;\n]|[.](?!\d)|\s(?:because|since|as)\b", label[0] + rest[:SEGMENT])[0]
    labels = {found.upper() for found in _BRACKETED.findall(sentence)} & set(options)
    return None if len(labels) > 1 or _of_another(letter, rest, options) else letter


def _of_another(letter: str, rest: str, options: Mapping[str, str]) -> bool:
    """Whether what follows a letter is the text of another option."""
    clause = re.split(r"[;\n]|[.,](?!\d)|\s(?:because|since|as)\b", rest.strip(" .,:;)-–—"))[0]
    said, own = _bare(clause), options[letter]
    if not said or _is(own, said):
        return False
    return any(_is(text, said) for text in options.values() if len(text) > 1 and text != own)


def _is(option: str, said: str) -> bool:
    return equivalence.same(option, said, verify=False) is True


def _worded(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options that have a text of their own, not just their letter."""
    return {
        letter: text for letter, text in options.items() if text and _bare(text).upper() != letter
    }


def _unique(letters: list[str]) -> str | None:
    return letters[0] if len(letters) == 1 else None


def _by_text(said: str, options: Mapping[str, str]) -> str | None:
    """Return the option whose text, or value, is all that is said."""
    worded = _worded(options)
    if not said or not worded or len(said) > SEGMENT:
        return None
    exact = [letter for letter, text in worded.items() if _bare(text).casefold() == said.casefold()]
    if exact:
        return exact[0]  # two options of the same words are one
    return _unique([letter for letter, text in worded.items() if _agrees(text, said)])


def _agrees(option: str, said: str) -> bool:
    decimals = re.fullmatch(r"\D*\d+\.(\d+)\D*", option)
    precision = len(decimals[1]) if decimals and equivalence.numeric(option) else None
    return equivalence.same(option, said, precision=precision, verify=False) is True


def _by_beginning(said: str, options: Mapping[str, str]) -> str | None:
    """Return the option with whose text a sentence begins: "Yes, it is."."""
    clause, mark, _ = re.sub(r"\s(because|since|as)\b", r", \1", said).partition(",")
    if not mark:
        clause, mark, _ = re.sub(r"[.:;!](?!\d)", ".", said).partition(".")
    if not mark:
        return None
    clause = re.sub(r"(?i)^(?:so|therefore|thus|hence)\W+", "", clause)
    words = equivalence.plain_words(clause)
    found = [letter for letter, text in _worded(options).items() if _plain(text) == words != ""]
    return _unique(found)


def _plain(text: str) -> str:
    return equivalence.plain_words(_bare(text))


def _by_value(place: _Place, options: Mapping[str, str]) -> str | None:
    """Return the option whose value is stated; `NO_OPTION` for a plain statement of another."""
    worded = _worded(options)
    if len(worded) < 2 or not all(equivalence.numeric(text) for text in worded.values()):
        return None
    said = _stated_number(place)
    if said is None:
        return None
    if letter := _unique([letter for letter, text in worded.items() if _agrees(text, said)]):
        return letter
    plain = place.kind in ("box", "mark", "whole")
    different = all(equivalence.same(text, said, verify=False) is False for text in worded.values())
    return NO_OPTION if plain and different and len(worded) == len(options) else None


_ASIDE = re.compile(r",?\s(?:because|since|as|with|while|due to|given|where|which means)\b")


def _by_mention(said: str, options: Mapping[str, str]) -> str | None:
    """Return the only option whose words a sentence holds."""
    said = _ASIDE.split(said)[0]
    if _NOT.search(said):
        return None
    sentence = f" {equivalence.plain_words(said)} "
    texts = {letter: _plain(text) for letter, text in _worded(options).items()}
    held = {
        letter: text
        for letter, text in texts.items()
        if len(text) > 1
        and re.search(rf" {re.escape(text)}s? ", sentence)
        and not equivalence.numeric(options[letter])
    }
    longest = [
        letter
        for letter, text in held.items()
        if not any(text != other and f" {text} " in f" {other} " for other in held.values())
    ]
    return _unique(longest)


# What it says there: a value.

_SIMPLE = r"(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_GROUP = r"\{[^{}]{0,60}(?:\{[^{}]{0,40}\}[^{}]{0,40}){0,4}\}"
_TERM = (
    rf"(?:{_SIMPLE}|\\frac\s?{_GROUP}\s?{_GROUP}|\\frac\d\d|\\sqrt\s?(?:\[\d\])?\s?(?:{_GROUP}|\d+|\([^()]{{0,60}}\))"
    r"|\\pi(?![a-z]))[!°%]?"
)
_NUMBER_WORD = (
    r"(?<=\bis )zero\b|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen"
    r"|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)"
    r"(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?)\b(?!-)"
    r"|(?<=\bis )one\b(?! of| that| who| which)|(?<=\bonly )one\b|^\W*one\b(?=\W*$)"
)
_SPAN = re.compile(
    rf"""(?<![\w.\\_])(?:(?<!\d\s)[-+]\s?(?=[\d.\\]))?\(?{_TERM}(?:\s?[-+*/^:]\s?\(?{_TERM}\)?|\s?(?=\\){_TERM}
        |\s\d+/\d+|\^\s?\{{[^{{}}]{{0,20}}\}})*\)?(?!(?:st|nd|rd|th)\b)(?!\.?\d)
        (?!\s?[+*/^]\s?\\?[a-z(]|\s?-\s?[a-z]{{1,2}}\b|[xyznkabp]\b)
        |{_NUMBER_WORD}""",
    re.VERBOSE | re.IGNORECASE,
)
_CUE = re.compile(
    r"=|\\approx|(?<!that )(?<!who )\b(?:is|are|was|were|be|been|equals?|has|have|had|gives?|gets?"
    r"|got|costs?|totals?|needs?|takes?|makes?|contains?|shows?|approximately|remains?|becomes?|leaves?"
    r"|find|found)\b|:",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\s*(?:%|percent(?:age points?)?\b|(?:\\text\s?\{\s*)?"
    r"(?:mm|cm|km|m|kg|g|mg|ml|l|ft|feet|inch(?:es)?|in|seconds?|minutes?|hours?|hrs?|days?|months?|years?|cents?|meters?|grams?|kilograms?"
    r"|kilometers?|centimeters?|liters?|min|sec|s|h)\b(?!\s?[\^²³])\s*\}?)",
)


def _stated_number(place: _Place) -> str | None:
    """Return the number that a place states, with its unit if that is a common one."""
    if place.kind == "box":
        return place.text
    if place.rival:
        first = _stated_number(_Place(place.rival, "first"))
        last = _stated_number(_Place(place.text, "last"))
        if first is None or last is None or equivalence.same(first, last) is True:
            return last
        return None
    text = expressions.normal(_plain_math(place.text))
    if place.kind == "mark" and re.match(r"\W*(?:not|between|either)\b", text):
        return None
    if _REFUSAL.search(text):
        return None
    clause = _ASIDE.split(re.split(r"(?<!\d)\.\s|\.\s+(?=[A-Z])|;|\sso that\b", text)[0])[0]
    if place.kind in ("mark", "bold") or _SPAN.search(clause):
        text = clause
    spans = [span for span in _SPAN.finditer(text) if not _THAN.search(text[: span.start()])]
    if not spans:
        return None
    if place.kind == "bold":
        return _with_unit(text, spans[0]) if len(spans) == 1 else None
    if place.kind == "mark" and spans[0].start() <= 3 and not _continues(text, spans[0]):
        return _with_unit(text, spans[0])
    for cue in reversed(list(_CUE.finditer(text))):
        after = [span for span in spans if span.start() >= cue.end()]
        if after:
            if re.match(
                r"\s*(?:not|n't|between|less|more|greater|at least|at most)\b", text[cue.end() :]
            ):
                return None
            return _only(text, after)
    return _only(text, spans)


def _plain_math(text: str) -> str:
    return re.sub(r"\\\(|\\\)|\\\[|\\\]|\*\*|[$`]", " ", _DRESS.sub(r" \1 ", text)).strip()


def _continues(text: str, span: re.Match[str]) -> bool:
    """Whether an equation or another number goes on where a number ends."""
    rest = text[span.end() :]
    return bool(re.match(r"[^.;]{0,60}(?:=|\\approx)|\s*(?:,|or|and|to|-)\s*[-\d\\]", rest))


def _only(text: str, spans: list[re.Match[str]]) -> str | None:
    values = {span[0].strip().casefold() for span in spans}
    if len(spans) > 1 and " and " in text[spans[0].end() : spans[-1].start()]:
        return None
    if _ONE.search(text, spans[0].start()):
        values.add("one")
    return _with_unit(text, spans[0]) if len(values) == 1 else None


_THAN = re.compile(r"\b(?:than|below|above|over|under)\s*$", re.IGNORECASE)
_ONE = re.compile(r"\b(?:an?d?|,) one \w", re.IGNORECASE)


def _with_unit(text: str, span: re.Match[str]) -> str:
    unit = _AFTER.match(text, span.end())
    said = span[0].strip()
    if said.count("(") != said.count(")"):
        said = said.strip("()")
    return (said + re.sub(r"\\text|[{}]", "", unit[0]) if unit else said).strip()


_BRACKETS = re.compile(
    r"\\begin\{([pbvBV]?matrix)\}.{0,300}?\\end\{\1\}|\\?[\[({][^\[\](){}]{0,200}[\])}\\]{1,2}",
    re.DOTALL,
)
_CHUNK = re.compile(r"\$\$?([^$]{1,300})\$\$?|\\\((.{1,300}?)\\\)|\\\[(.{1,300}?)\\\]", re.DOTALL)


def _stated(place: _Place, truth: str) -> str | None:
    """Return what a place states, for a truth that is a list, a formula, or words."""
    if place.kind == "box":
        return place.text
    if place.kind == "first" or _REFUSAL.search(place.text):
        return None
    text = place.text.strip()
    shape = equivalence.shape(truth)
    if shape == "list":
        found = [part[0] for part in _BRACKETS.finditer(text) if "," in part[0] or "&" in part[0]]
        return found[-1] if found else _after_cue(text) or (text if place.kind == "mark" else None)
    if shape == "words":
        return text if place.kind in ("mark", "whole") else _after_cue(text)
    chunks = [next(filter(None, chunk.groups())) for chunk in _CHUNK.finditer(text)]
    if len(chunks) == 1 or (chunks and place.kind == "last"):
        return chunks[-1]
    return (
        re.split(r"(?<=\w)\.\s", text)[0] if place.kind in ("mark", "whole") else _after_cue(text)
    )


def _after_cue(text: str) -> str | None:
    cues = list(re.finditer(r"\b(?:is|are|was|were|be|equals?)\b", text))
    return text[cues[-1].end() :].strip() or None if cues else None


def _begins(truth: str, said: str) -> bool | None:
    """Whether what is said begins with the true words, and goes on about them."""
    if equivalence.shape(truth) != "words" or _NOT.search(said):
        return None
    clause = re.split(r"[.,;:(](?!\d)|\s(?:because|since|as|which)\b", said)[0]
    return True if equivalence.plain_words(clause) == equivalence.plain_words(truth) else None
