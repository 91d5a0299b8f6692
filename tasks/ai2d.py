"""AI2D: 3,088 multiple-choice questions about diagrams of grade-school science.

Paper: Kembhavi et al. 2016, "A Diagram Is Worth A Dozen Images", arXiv 1603.07396. It has no script
for language models: `official` is lmms-eval's way (github.com/EvolvingLMMs-Lab/lmms-eval at
75571cfe, tasks/ai2d).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from tasks import files
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading

Row = dict[str, Any]

REQUEST = "\nAnswer with the option's letter from the given choices directly."


def dataset(
    data: str | Path | None = None, source: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, files.Rows]:
    """Return the rows of the hub's dataset or of a snapshot of it."""
    rows = (_row(n, row) for n, row in enumerate(files.hub_rows("ai2d", source, data)))
    return {"test": files.Rows(files.complete("ai2d", rows, ["question", "answer", "images"]))}


def _row(number: int, row: Row) -> Row:
    return {
        "id": number,
        "question": row["question"],
        "choices": row["options"],
        "answer": ascii_uppercase[int(row["answer"])],
        "images": row["images"] or None,
        files.FOLDER: row[files.FOLDER],
    }


def to_prompt(row: Row) -> str:
    """Return question, options and request."""
    options = vlmevalkit.lettered(row["choices"]).items()
    shown = "\n".join(f"{letter}. {text}" for letter, text in options)
    return f"<image>{row['question']}\n{shown}{REQUEST}"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's prompt."""
    choices = vlmevalkit.lettered(row["choices"])
    return f"<image>{vlmevalkit.mcq_prompt(row['question'], choices)}"


_START = re.compile(r"\s*([A-Z])\.")
_PUNCTUATION = re.compile(r"[^\w\s]")


def official(row: Row, text: str) -> Reading:
    """Compare the letter and dot at the start, else the whole reply but for case and marks."""
    match = _START.match(text)
    said = match[1] if match else _PUNCTUATION.sub("", text).strip().upper()
    letter = said if said in vlmevalkit.lettered(row["choices"]) else None
    return letter, letter == row["answer"]


def by_vlmevalkit(row: Row, text: str) -> Judging:
    """Match with the options."""
    choices = vlmevalkit.lettered(row["choices"])
    return (yield from vlmevalkit.choose(row["question"], choices, row["answer"], text))


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text."""
    letter = extract.read_choice(text, vlmevalkit.lettered(row["choices"]))
    return UNPARSED if letter is None else (letter, letter == row["answer"])


def groups(row: Row) -> tuple[str, ...]:
    """Return none: the benchmark reports one number."""
    return ()


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score for lm-eval: an answer that cannot be read counts 0."""
    return {
        "acc": float(robust(row, results[0])[1] is True),
        "acc_official": float(official(row, results[0])[1] is True),
    }
