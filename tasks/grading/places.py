r"""Where in a response its answer may stand, the surest place first.

After the thought, and after the last word that takes back what came before ("wait", "I made a
mistake"):

1. `box`: the last complete `\boxed{}`, alone; where there is a box, nothing else is read;
2. `mark`: what follows "the answer is", "Answer:", "####", `<answer>`, `{"answer":` and the like,
   the last one first;
3. `bold`: the only words in bold;
4. `whole`: a response of one short sentence;
5. `last`: the last sentence; else one before it that begins with "So", "Therefore" and the like;
6. `first`: the first sentence, where the last says nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.grading import claims, marks, turns
from tasks.grading.sentences import CODE, PREMISE, QUESTION, is_step, sentences, unlisted
from tasks.grading.thought import after_thinking

LONGEST = 50_000
"""Only so many of the last characters of a response are looked at."""
SHORT = 80
"""A sentence of so many characters is short."""


@dataclass(frozen=True)
class Place:
    """A part of a response."""

    text: str
    kind: str
    """One of the six."""
    rival: str = ""
    """A sentence that must not say otherwise."""

    @property
    def is_lone(self) -> bool:
        """Whether it is a letter or number alone."""
        return bool(_LONE.fullmatch(self.text))

    @property
    def is_plain(self) -> bool:
        """Whether all that stands here is the answer."""
        return self.kind in ("box", "mark", "whole")


_LONE = re.compile(r"\W{0,4}(?:[A-J]|[-+−]?\$?[\d.,/]*\d\s?[a-z°%²³/]{0,6})\W{0,4}")
_EXPLAINS = re.compile(
    r"\W*(?:explanation|reason(?:ing)?|because|justification|rationale|(?:here['’]s )?why"
    r"|check|verification)\b",
    re.IGNORECASE,
)
"""What follows a lone answer, and only gives its reason."""

# Boxes

_BOX_OR_BRACE = re.compile(r"\\(?:boxed|f(?:rame)?box)\s{0,9}\{|\\[{}\\]|[{}]")


def boxed_spans(text: str) -> list[tuple[int, int, int]]:
    """Return (start of the command, start and end of what it holds) of each complete box."""
    spans: list[tuple[int, int, int]] = []
    if "\\boxed" not in text and "\\f" not in text:
        return spans
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


def _boxes(text: str) -> str:
    r"""Return the last complete box, with others right before it: `\boxed{1}, \boxed{2}`."""
    inside: list[str] = []
    start = None
    for opened, begin, end in reversed(boxed_spans(text)):
        if start is not None and end > start:  # a box in the last one
            break
        between = "" if start is None else text[end + 1 : start]
        if start is not None and not _BETWEEN_BOXES.fullmatch(between):
            break
        if start is not None and text[begin:end].strip() == inside[0]:
            break
        inside.insert(0, text[begin:end].strip())
        start = opened
    return ", ".join(part for part in inside if part)


_BETWEEN_BOXES = re.compile(r"[\s$,;.()\\]*(?:(?:\\text\s*\{)?\s*(?:and|or)\b)?[\s$,;()}\\]*")
_ANSWER_IS = re.compile(
    r"^(?:\\text\s*\{)?\s*(?:the\s)?(?:final\s)?answer(?:\sis\b|\s*:)\s*:?\s*\}?\s*", re.IGNORECASE
)
_CUT = re.compile(r"\\boxed\s{0,9}\{")


def stated(text: str) -> bool:
    r"""Whether a text says outright what its answer is, and has gone on since.

    Of a text that was cut, nothing else can be taken for its answer: its last sentence is a step.

    >>> stated(r"so \boxed{12}, because"), stated("The answer is 12. To check")
    (True, True)
    >>> stated("The answer is 1"), stated("3 + 4 = 7, and 7"), stated(r"so \boxed{1")
    (False, False, False)
    """
    spoken = _spoken(text)
    if boxed_spans(spoken):
        return True
    mark = marks.MARK.search(spoken)
    said = re.compile(r"\w").search(spoken, mark.end()) if mark else None
    return bool(said and re.compile(r"\n|[.。]\s").search(spoken, said.end()))


# The response

_TOKEN = re.compile(
    r"</s>|<eos>|<end_of_turn>|<[|｜][a-zA-Z_▁]{1,40}[|｜]>"
    r"|</?(?:conclusion|output|response|solution)>",
    re.IGNORECASE,
)
_QUOTE = re.compile(r"\n\s{0,9}>[ \t]+")
_NEXT = re.compile(r"\n\s{0,9}(?:\W{0,3}(?:Question|Human|User|Problem)\s?\d{0,3}\s?[:：])")


def _spoken(text: str) -> str:
    """Return the answer without special tokens; GLM's box is one like others."""
    spoken = (after_thinking(text) or "")[-LONGEST:]
    if "<" in spoken:
        spoken = spoken.replace("<|begin_of_box|>", r"\boxed{").replace("<|end_of_box|>", "}")
        spoken = _TOKEN.sub(" ", spoken)
    return _QUOTE.sub("\n", spoken).strip()


def _own(text: str) -> str:
    """Return a response without the questions that a model goes on to ask and answer itself."""
    found = _NEXT.search(text)
    if not found:
        return text
    own = text[: found.start()]
    return own if marks.MARK.search(own) or boxed_spans(own) else text


def places(text: str, past_box: bool = False) -> Iterator[Place]:
    """Yield the places in which an answer may stand, the surest first.

    Args:
        text: The response.
        past_box: Go on after a box with the marks.
    """
    before, after = turns.retracted(_own(_spoken(text)))
    after = _past_denied_box(after)
    yield from _of(after, past_box)
    if before and turns.CONFIRMS.search(after):
        yield from _of(before, past_box)


def _past_denied_box(spoken: str) -> str:
    """Return what follows the last box, if that is denied; else all."""
    last = boxed_spans(spoken)[-1:]
    denied = any(turns.is_denied_box(spoken, start, end + 1) for start, _, end in last)
    return spoken[last[0][2] + 1 :] if denied else spoken


def _of(spoken: str, past_box: bool) -> Iterator[Place]:
    inside = _boxes(spoken)
    if not spoken or (not inside and _CUT.search(spoken)):
        return
    if inside:
        yield Place(_ANSWER_IS.sub("", inside) or inside, "box")
        if not past_box:
            return
    found = marks.find(spoken)
    lines = unlisted([line for line in spoken.splitlines() if re.search(r"\w", line)])
    if lines and CODE.match(lines[-1]):
        return
    if found and lines and claims.UNSURE.search(lines[-1]) and not marks.MARK.search(lines[-1]):
        return  # it takes back what it said
    if found and not inside and (again := turns.found_again(spoken[found[-1].end() :])):
        yield Place(again, "last")
    for mark in found[: -marks.MOST - 1 : -1]:
        if segment := marks.segment(mark, spoken):
            yield Place(segment, "mark")
    if not inside and (bold := _bold(spoken)):
        yield Place(bold, "bold")
    if inside or not lines or (found and "\n" not in spoken[found[-1].end() :].strip()):
        return
    yield from _sentences(lines)


_BOLD = re.compile(r"\*\*([^*\n]{1,40})\*\*(?!\s*[:：])")
_HEADING = re.compile(
    r"^[^\w\n*]{0,6}\d{0,2}[^\w\n*]{0,6}\*\*(?!\W*(?:[A-J]|[\d.,/]+)\W*\*\*)[^*\n]{1,99}\*\*[^\w\n]{0,6}$",
    re.MULTILINE,
)


def _bold(text: str) -> str | None:
    """Return the only words in bold, headings apart."""
    if "**" not in text:
        return None
    found = _BOLD.findall(_HEADING.sub("", text))
    said = {part.strip() for part in found if not part.rstrip().endswith((":", "："))}
    return said.pop() if len(said) == 1 else None


def _sentences(lines: list[str]) -> Iterator[Place]:
    """Yield a response of one short sentence; else its last sentence, and its first."""
    if len(lines) > 1 and _LONE.fullmatch(lines[0]) and _EXPLAINS.match(lines[1]):
        lines = lines[:1]
    ends = [*lines[:2], *lines[-6:]] if len(lines) > 8 else lines
    parts = [part for line in ends for part in sentences(line[-2000:])]
    parts = [
        claims.CONCEDED.sub("", part[-marks.SEGMENT :])
        for part in parts
        if not (claims.FLUFF.match(part) or PREMISE.match(part) or QUESTION.search(part))
    ]
    if len(parts) > 1 and parts[0].endswith("?"):
        parts = parts[1:]
    if not parts:
        return
    if len(parts) == 1 and len(parts[0]) <= SHORT:
        yield Place(parts[0], "whole")
    concluding = [part for part in parts[-4:] if claims.SO.match(part)]
    rival = "" if concluding or len(parts) == 1 or is_step(parts) else parts[0]
    yield Place(parts[-1], "last", rival)
    if concluding and concluding[-1] != parts[-1]:
        yield Place(concluding[-1], "last")
    if len(parts) > 1:
        yield Place(parts[0], "first", parts[-1])
