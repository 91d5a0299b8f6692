"""MMBench (dev, English, version 1.0): 1,164 questions, each asked with its options in every turn.

Paper: Liu et al. 2024, "MMBench: Is Your Multi-modal Model an All-around Player?", arXiv
2307.06281. Its own evaluation is VLMEvalKit's, so `official` and `vlmevalkit` are one.

A question counts as right only if all its passes are right ("circular evaluation"); the passes of
one question have the same `index` modulo a million.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from tasks import files
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading, settle

Row = dict[str, Any]

_PASSES = 1_000_000


def dataset(
    data: str | Path | None = None, source: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, files.Rows]:
    """Return the rows of the hub's dataset or of a snapshot of it, one a pass."""
    rows = (_row(row) for row in files.hub_rows("mmbench", source, data))
    return {"dev": files.Rows(files.complete("mmbench", rows, ["question", "answer", "images"]))}


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
        files.FOLDER: row[files.FOLDER],
    }


def _given(text: str | None) -> bool:
    """Whether a cell of the table is filled: the hub writes `nan` where it is not."""
    return text is not None and text != "nan"


def to_prompt(row: Row) -> str:
    """Return hint, question, options and request."""
    return f"<image>{vlmevalkit.mcq_prompt(row['question'], row['choices'], row['hint'])}"


def official(row: Row, text: str) -> Judging:
    """Match one pass with its options."""
    return (yield from vlmevalkit.choose(row["question"], row["choices"], row["answer"], text))


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text."""
    letter = extract.read_choice(text, row["choices"])
    return UNPARSED if letter is None else (letter, letter == row["answer"])


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


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score one pass for lm-eval: an answer that cannot be read counts 0."""
    return {
        "acc": float(robust(row, results[0])[1] is True),
        "acc_official": float(settle(official, row, results[0])[0][1] is True),
    }
