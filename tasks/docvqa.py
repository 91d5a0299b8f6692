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
from tasks.grading import claims, extract
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

    A number must be the true one: here likeness is no merit.
    """
    named = "|".join(re.escape(truth.strip()) for truth in row["answer"] if truth.strip())
    true = re.compile(rf"(?<![\w.])(?:{named})(?![\w%]|\.\d)" if named else r"(?!)", re.IGNORECASE)
    words = [truth for truth in row["answer"] if extract.number(truth) is None]
    other = None
    for place in _places(text):
        said = place.text.strip("\"'*. ")[:_SHOWN]
        found = [(one[0], claims.stands(said, *one.span())) for one in true.finditer(said)]
        if stated := [name for name, stands in found if stands]:
            return stated[0], True
        if claims.UNSURE.search(said):
            break
        if place.is_plain and not found:
            return said, bool(words) and similarity(words, said) > 0
        other = other if found else said
    return UNPARSED if other is None else (other, False)


def _places(text: str) -> list[Place]:
    """Return where the answer may stand: a reply of one line is text of the page, and whole."""
    found = list(places(text))
    line = (extract.after_thinking(text) or "").strip()
    marked = "\\boxed" in line or any(place.kind == "mark" for place in found)
    return found if marked or not line or "\n" in line else [Place(line, "whole")]


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
