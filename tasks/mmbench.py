"""MMBench (dev, English, version 1.0): 1,164 questions, each asked with its options in every turn.

Paper: Liu et al. 2024, "MMBench: Is Your Multi-modal Model an All-around Player?", arXiv
2307.06281. Its own evaluation is VLMEvalKit's, so `official` and `vlmevalkit` are one.

A question counts as right only if all its passes are right ("circular evaluation"); the passes of
one question have the same `index` modulo a million.
"""

from collections import defaultdict
from string import ascii_uppercase

from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.judging import metrics
from tasks.multiple_choice import by_vlmevalkit, robust

_PASSES = 1_000_000


def _row(row: Row) -> Row:
    letters = [letter for letter in ascii_uppercase if _given(row.get(letter))]
    return {
        "id": row["index"],
        "question": row["question"],
        "hint": row["hint"] if _given(row["hint"]) else None,
        "choices": {letter: row[letter] for letter in letters},
        "answer": row["answer"],
        "metadata": {"category": row["category"], "l2_category": row["L2-category"]},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("mmbench", _row, ["question", "answer", "images"])


def _given(text: str | None) -> bool:
    """Whether a cell of the table is filled: the hub writes `nan` where it is not."""
    return text is not None and text != "nan"


def groups(row: Row) -> tuple[str, ...]:
    """Return ability (level 2) and finer ability (level 3), of single passes."""
    return f"l2: {row['metadata']['l2_category']}", f"category: {row['metadata']['category']}"


def cluster(row: Row) -> str:
    """Return the question, which is asked in several passes."""
    return str(int(row["id"]) % _PASSES)


def summary(graded: list[tuple[Row, bool]]) -> dict[str, float]:
    """Return circular accuracy, over all and in each group, of the questions asked completely.

    A question has as many passes as options.
    """
    passes: dict[int, list[bool]] = defaultdict(list)
    asked: dict[int, Row] = {}
    for row, right in graded:
        question = int(row["id"]) % _PASSES
        passes[question].append(right)
        asked[question] = row
    found: dict[str, list[bool]] = defaultdict(list)
    for question, row in asked.items():
        if len(passes[question]) == len(row["choices"]):
            for name in ("circular", *(f"circular, {group}" for group in groups(row))):
                found[name].append(all(passes[question]))
    if not found:
        return {}
    means = {name: sum(right) / len(right) for name, right in found.items()}
    return {"questions": len(found["circular"]), **means}


process_results = metrics(acc=robust, acc_official=by_vlmevalkit)
