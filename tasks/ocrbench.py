"""OCRBench: 1,000 questions about text in pictures, of ten kinds from 29 datasets.

Paper: Liu et al. 2024, "OCRBench: On the Hidden Mystery of OCR in Large Multimodal Models", arXiv
2305.07895. Code: github.com/Yuliang-Liu/MultimodalOCR (MIT) at 794c36d6; VLMEvalKit (Apache-2.0) at
cfa63b1d asks and scores alike.
"""

import re
from collections.abc import Callable, Iterable

from tasks.data import FOLDER, Row
from tasks.data.loading import NUMBER, loader
from tasks.grading import wholes
from tasks.grading.thought import after_thinking
from tasks.judging import UNPARSED, Reading, metrics

FORMULAS = "HME100k"
"""The dataset whose answers are formulas."""

_SHOWN = 200
"""Characters of a reply that are kept as the answer read."""


def _row(row: Row) -> Row:
    return {
        "id": row[NUMBER],
        "question": row["question"],
        "answer": [row["answer"]] if isinstance(row["answer"], str) else row["answer"],
        "metadata": {"dataset": row["dataset"], "type": row["question_type"]},
        "images": row["images"] or None,
        FOLDER: row[FOLDER],
    }


dataset = loader("ocrbench", _row, ["question", "answer", "images"])


def to_prompt(row: Row) -> str:
    """Return the picture and the bare question."""
    return f"<image>{row['question']}"


def official(row: Row, text: str) -> Reading:
    """Look for an answer anywhere in the reply: a formula without blanks, a text in any case."""
    plain = _solid if row["metadata"]["dataset"] == FORMULAS else _lower
    return text[:_SHOWN], _contained(row, text, plain)


def _contained(row: Row, text: str, plain: Callable[[str], str]) -> bool:
    return any(plain(answer) in plain(text) for answer in row["answer"])


def _solid(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


def _lower(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def robust(row: Row, text: str) -> Reading:
    """Look for an answer after the thought, in whole words and any blanks; formulas as above."""
    spoken = after_thinking(text)
    if not spoken:
        return UNPARSED
    if row["metadata"]["dataset"] == FORMULAS:
        return spoken[:_SHOWN], _contained(row, spoken, _solid)
    words = " ".join(spoken.casefold().split())
    named = (" ".join(answer.casefold().split()) for answer in row["answer"])
    patterns = [wholes.pattern(answer) for answer in named if answer]
    found = re.search("|".join(patterns), words) if patterns else None
    return (found[0] if found else words)[:_SHOWN], found is not None


def groups(row: Row) -> tuple[str, ...]:
    """Return the kind of question, and whether it is one of the six of text recognition."""
    kind = row["metadata"]["type"]
    is_text = kind.endswith("Recognition") and row["metadata"]["dataset"] != FORMULAS
    return (kind, "Text Recognition") if is_text else (kind,)


def summary(graded: Iterable[tuple[Row, bool]]) -> dict[str, float]:
    """Return the final score: right answers, of 1,000 if all were asked."""
    return {"final score": sum(right for _, right in graded)}


process_results = metrics(acc=robust, acc_official=official)
