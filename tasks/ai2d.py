"""AI2D: 3,088 multiple-choice questions about diagrams of grade-school science.

Paper: Kembhavi et al. 2016, "A Diagram Is Worth A Dozen Images", arXiv 1603.07396. It has no script
for language models: `official` is lmms-eval's way (github.com/EvolvingLMMs-Lab/lmms-eval at
75571cfe, tasks/ai2d).
"""

import re
from string import ascii_uppercase

from tasks.data import FOLDER, Row
from tasks.data.loading import NUMBER, loader
from tasks.judging import Reading, metrics
from tasks.multiple_choice import REQUEST, listed, options, robust


def _row(row: Row) -> Row:
    return {
        "id": row[NUMBER],
        "question": row["question"],
        "choices": row["options"],
        "answer": ascii_uppercase[int(row["answer"])],
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("ai2d", _row, ["question", "answer", "images"])


def to_prompt(row: Row) -> str:
    """Return question, options and request."""
    return f"<image>{row['question']}\n{listed(options(row))}{REQUEST}"


_START = re.compile(r"\s*([A-Z])\.")
_PUNCTUATION = re.compile(r"[^\w\s]")


def official(row: Row, text: str) -> Reading:
    """Compare the letter and dot at the start, else the whole reply but for case and marks."""
    match = _START.match(text)
    said = match[1] if match else _PUNCTUATION.sub("", text).strip().upper()
    letter = said if said in options(row) else None
    return letter, letter == row["answer"]


process_results = metrics(acc=robust, acc_official=official)
