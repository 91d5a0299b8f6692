"""DocVQA and InfoVQA: questions about scanned documents and infographics, the validation splits.

Papers: Mathew et al. 2021, "DocVQA: A Dataset for VQA on Document Images", arXiv 2007.00398, and
2022, "InfographicVQA", arXiv 2104.12756. The answers of the test splits are not public: a server
scores them. `official` is ANLS as lmms-eval (at 75571cfe, tasks/docvqa) and VLMEvalKit (at
cfa63b1d, vlmeval/dataset/utils/vqa_eval.py) compute it, who ask alike.

An answer counts as right if its similarity to one of the true answers is at least a half; ANLS, the
mean of these similarities, is the benchmark's own metric.
"""

import re
from collections.abc import Iterable, Sequence

from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.grading import claims, extract, wholes
from tasks.grading.equivalence import same
from tasks.grading.places import Place, places
from tasks.judging import UNPARSED, Reading, metrics
from tasks.mathvista import distance
from tasks.mmmu import SHORT

THRESHOLD = 0.5

_SHOWN = 2_000
"""Characters of a reply that are compared: a longer one is like no answer."""


def _row(row: Row) -> Row:
    kinds = ("question_types", "answer_type", "operation/reasoning")
    return {
        "id": row["questionId"],
        "question": row["question"],
        "answer": row["answers"] or None,
        "metadata": {kind: list(row[kind] or ()) for kind in kinds if kind in row},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("docvqa", _row, ["question", "answer", "images"])


def to_prompt(row: Row) -> str:
    """Return the page, the question and the request for a short answer."""
    return f"<image>{row['question']}{SHORT}"


def similarity(truths: Sequence[str], said: str) -> float:
    """Return 1 less the normalized edit distance to the nearest truth; below a half it is 0.

    Case and runs of blanks make no distance, but it is divided by the length with all its blanks.

    >>> similarity(["Paris"], " paris"), similarity(["Rome", "Paris"], "Pari")
    (1.0, 0.8)
    >>> similarity(["abcdef"], "ab"), similarity(["abcdef"], "ab        ")
    (0.0, 0.6)
    """
    nearest = min(_distance(truth, said[:_SHOWN]) for truth in truths)
    return 1 - nearest if 1 - nearest >= THRESHOLD else 0.0


def _distance(truth: str, said: str) -> float:
    length = max(len(truth.upper()), len(said.upper()))
    between = distance(" ".join(truth.lower().split()), " ".join(said.lower().split()))
    return between / length if length else 0.0


def official(row: Row, text: str) -> Reading:
    """Compare the whole reply."""
    return text[:_SHOWN], similarity(row["answer"], text) > 0


def robust(row: Row, text: str) -> Reading:
    """Compare what is stated; what asserts a true answer, in whole words, is right too.

    A number must be the true one, whether alone or in a text: here likeness is no merit.
    """
    answers = [truth.strip() for truth in row["answer"] if truth.strip()]
    words = [truth for truth in answers if extract.number(truth) is None]
    found, spoken = list(places(text)), extract.after_thinking(text) or ""
    lines = [line for line in spoken.split("\n") if line.strip()]
    if "\\boxed" not in spoken and not any(place.kind in ("box", "mark") for place in found):
        if len(lines) == 1:  # text of the page, and whole
            found = [Place(lines[0], "whole")]
        elif lines and (name := _last(answers, _shown(lines[-1]))):
            return name, True
    other = None
    for place in found:
        if place.kind == "first" and _goes_on(place.rival, answers):
            break
        said = _shown(place.text)
        named = _named(answers, said)
        if stated := [name for name, stands in named if stands and not _is_other(place, name)]:
            return stated[0], True
        if claims.UNTOLD.search(said):
            break
        if place.is_plain and not named:
            alike = [truth for truth in words if _digits(truth) == _digits(said)]
            numbers = [truth for truth in answers if truth not in words]
            equal = any(("%" in one) == ("%" in said) and same(one, said) for one in numbers)
            return said, equal or (bool(alike) and similarity(alike, said) > 0)
        other = other if named else said
    return UNPARSED if other is None else (other, False)


def _is_other(place: Place, name: str) -> bool:
    """Whether a sentence comes to another number: "300 for rent, and the total is 800"."""
    is_sentence = place.kind == "whole" and extract.number(name) is not None
    return is_sentence and extract.read_value(place.text, name)[1] is False


def _digits(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def _shown(text: str) -> str:
    return text.strip("\"'*. ")[:_SHOWN]


_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|cannot be|rather than|instead of)|n['’]t)\s+"
    r"(?:(?:be|the|an?|in|on|at)\s+)*[\"'“(*$]*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[)\]\"'”*]*(?:\?\s*no\b|\s+(?:is|was|are|were)"
    r"(?:(?:\s+not|n['’]t)(?=\W*$|\s+(?:it|the|right|correct|what|shown|given|mentioned)\b)"
    r"|\s+(?:wrong|incorrect)\b))",
    re.IGNORECASE,
)
"""What denies an answer; other words of denial may stand on the page: "Closed except Sunday"."""


def _named(answers: Sequence[str], said: str) -> list[tuple[str, bool]]:
    """Return the true answers that a text has in it, in whole words, and whether each stands."""
    if not answers:
        return []
    any_of = "|".join(map(wholes.pattern, answers))
    found = re.finditer(rf"(?:{any_of})(?!%)", said, re.IGNORECASE)
    return [
        (
            one[0],
            one[0].casefold() in ("yes", "no")
            or not (
                _DENIED_BEFORE.search(said[max(0, one.start() - 60) : one.start()])
                or _DENIED_AFTER.match(said, one.end())
            ),
        )
        for one in found
    ]


def _last(answers: Sequence[str], line: str) -> str | None:
    """Return the true answer that a last line is, or has in it though sentences end there."""
    for name, stands in _named(answers, line):
        is_line = not re.search(r"\w", line.replace(name, "", 1))
        if stands and (is_line or re.search(r"[.!?;]\s", name)):
            return name
    return None


def _goes_on(last: str, answers: Sequence[str]) -> bool:
    """Whether the last sentence has a number, name or conclusion of its own, and the first none."""
    truths = " ".join(answers)
    return bool(
        claims.SO.match(last)
        or (re.search(r"\d", truths) and re.search(r"\d", last))
        or (re.search(r"[A-Z]", truths) and _IS_NAME.search(last))
    )


_IS_NAME = re.compile(r"\b(?:is|are|was|were)\s(?:(?:in|at|on|by|the)\s){0,2}[A-Z]")


def groups(row: Row) -> tuple[str, ...]:
    """Return the kinds of question or answer that the dataset names."""
    return tuple(
        f"{kind.split('/')[0].split('_')[0]}: {name}"
        for kind, names in row["metadata"].items()
        for name in names
    )


def summary(graded: Iterable[tuple[Row, bool]]) -> dict[str, float]:
    """Return ANLS: the mean similarity of what was read; nothing read is 0."""
    found = [similarity(row["answer"], row["read"]) if row["read"] else 0.0 for row, _ in graded]
    return {"ANLS": sum(found) / len(found)} if found else {}


process_results = metrics(acc=robust, acc_official=official)
