"""GSM8K: 1,319 test problems of grade-school mathematics, in words alone.

Paper: Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv 2110.14168. Its
own rule wants `#### 18` at the end, which only a model trained on it writes. `official` is
lm-eval's `gsm8k_cot_zeroshot` (version 3) with its filter `flexible-extract`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks import files
from tasks.grading import extract
from tasks.judging import Reading

Row = dict[str, Any]

_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def dataset(
    data: str | Path | None = None, source: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, files.Rows]:
    """Return the rows of the hub's dataset, a snapshot of it, or the authors' `test.jsonl`."""
    own = files.find(data, ["test.jsonl"]) if data is not None else None
    rows = _own_rows(own) if own else files.hub_rows("gsm8k", source, data)
    found = (_row(number, row) for number, row in enumerate(rows))
    return {"test": files.Rows(files.complete("gsm8k", found, ["question", "answer"]))}


def _own_rows(path: Path) -> Iterator[Row]:
    for row in files.read_json(path):
        yield {**row, files.FOLDER: str(path.parent)}


def _row(number: int, row: Row) -> Row:
    return {
        "id": number,
        "question": row["question"],
        "answer": row["answer"].rpartition("#### ")[2].strip(),
        "images": [],
        files.FOLDER: row[files.FOLDER],
    }


def to_prompt(row: Row) -> str:
    """Return lm-eval's prompt."""
    return f"Q: {row['question']}\nA: Let's think step by step."


def official(row: Row, text: str) -> Reading:
    """Compare the last number of the response, as a text without commas, dollars, a final dot."""
    found = _NUMBER.findall(text)
    if not found:
        return None, False
    said = _plain(found[-1])
    return said, said == _plain(row["answer"])


def _plain(number: str) -> str:
    return re.sub(r"\.$", "", number.strip().replace(",", "").replace("$", ""))


def robust(row: Row, text: str) -> Reading:
    """Compare the final answer by value."""
    return extract.read_value(text, row["answer"])


def groups(row: Row) -> tuple[str, ...]:
    """Return none: the benchmark reports one number."""
    return ()


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score for lm-eval: an answer that cannot be read counts 0."""
    return {
        "acc": float(robust(row, results[0])[1] is True),
        "acc_official": float(official(row, results[0])[1] is True),
    }
