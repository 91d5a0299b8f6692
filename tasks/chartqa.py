"""ChartQA: 2,500 test questions about charts, half by people and half made from their captions.

Paper: Masry et al. 2022, "ChartQA: A Benchmark for Question Answering about Charts with Visual and
Logical Reasoning", arXiv 2203.10244. It has no script for language models: `official` is its
relaxed accuracy (end of section 5.1) as pix2struct wrote it down, asked as in lmms-eval
(github.com/EvolvingLMMs-Lab/lmms-eval at 75571cfe, tasks/chartqa).
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from common.errors import UserError
from tasks import files
from tasks.grading import extract
from tasks.judging import Reading

Row = dict[str, Any]

HALVES = ("human", "augmented")

TOLERANCE = Fraction(1, 20)

_SHOWN = 200
"""Characters of a reply that are kept as the answer read."""


def dataset(
    data: str | Path | None = None, source: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, files.Rows]:
    """Return the rows of the hub's dataset, a snapshot of it, or the benchmark's own folder.

    The latter has `test/test_human.json`, `test/test_augmented.json` and `test/png/`.
    """
    own = [_own_file(data, half) for half in HALVES] if data is not None else []
    if any(own):
        rows = _own_rows(own)
    else:
        rows = (_row(n, row) for n, row in enumerate(files.hub_rows("chartqa", source, data)))
    return {"test": files.Rows(files.complete("chartqa", rows, ["question", "answer", "images"]))}


def _own_file(data: str | Path, half: str) -> Path | None:
    return files.find(data, [f"test_{half}.json", f"test/test_{half}.json"])


def _own_rows(paths: list[Path | None]) -> Iterator[Row]:
    for half, path in zip(HALVES, paths, strict=True):
        if path is None:
            raise UserError(f"chartqa has no file of the {half} questions beside the others")
        for number, row in enumerate(files.read_json(path)):
            yield {
                "id": f"{half}_{number}",
                "question": row["query"],
                "answer": row["label"],
                "metadata": {"type": half},
                "images": [f"png/{row['imgname']}"],
                files.FOLDER: str(path.parent),
            }


def _row(number: int, row: Row) -> Row:
    return {
        "id": number,
        "question": row["question"],
        "answer": row["answer"],
        "metadata": {"type": row["type"].removesuffix("_test")},
        "images": row["images"] or None,
        files.FOLDER: row[files.FOLDER],
    }


def to_prompt(row: Row) -> str:
    """Return the question and lmms-eval's request."""
    return f"<image>{row['question']}\nAnswer the question with a single word."


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return the question and VLMEvalKit's request."""
    return f"<image>{row['question']}\nAnswer the question using a single word or phrase."


def relaxed(target: str, prediction: str) -> bool:
    """Whether two numbers are within 5 % of the target, else whether the texts are the same.

    A per cent sign divides by 100; a target of 0 is a text.

    >>> relaxed("100", "104"), relaxed("14%", "0.14"), relaxed("14%", "14"), relaxed("0", "0.0")
    (True, True, False, False)
    """
    wanted, found = _float(target), _float(prediction)
    if found is not None and wanted:
        return abs(found - wanted) / abs(wanted) <= float(TOLERANCE)
    return prediction.lower() == target.lower()


def _float(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def official(row: Row, text: str) -> Reading:
    """Compare the whole reply."""
    return text[:_SHOWN], relaxed(row["answer"], text)


def by_vlmevalkit(row: Row, text: str) -> Reading:
    """Compare the whole reply, without the blanks around it."""
    return text.strip()[:_SHOWN], relaxed(row["answer"], text.strip())


def robust(row: Row, text: str) -> Reading:
    """Compare the final answer by value, or as a number within 5 % whatever its unit."""
    said, right = extract.read_value(text, row["answer"])
    wanted, found = extract.number(row["answer"]), _only_number(said or "")
    if right or said is None or wanted is None or found is None:
        return said, right
    # "0.14" is 14 % too, said as a share.
    shares = (found, found * 100) if "%" in row["answer"] and "%" not in said else (found,)
    return said, any(abs(share - wanted) <= TOLERANCE * abs(wanted) for share in shares)


_NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?")


def _only_number(text: str) -> Fraction | None:
    numbers = _NUMBER.findall(text)
    return extract.number(numbers[0]) if len(numbers) == 1 else None


def groups(row: Row) -> tuple[str, ...]:
    """Return the half."""
    return (row["metadata"]["type"],)


def process_results(row: Row, results: list[str]) -> dict[str, float]:
    """Score for lm-eval: an answer that cannot be read counts 0."""
    return {
        "acc": float(robust(row, results[0])[1] is True),
        "acc_official": float(official(row, results[0])[1] is True),
    }
