"""The pocket world: small questions in a picture, in words, or in both.

Rows are `<data>/test.jsonl`, `validation.jsonl` and `text.jsonl`, as `driftbench pocket` writes:

    {"id": "…", "question": "… <image> …", "answer": "7", "group": "reasoning-image",
     "images": ["images/….png"], "floor": 0.1}

`floor`, which may be left out, is the share that a guess gets right.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from tasks.data import Data, Row, Rows, complete
from tasks.data.local import read_rows
from tasks.grading import extract
from tasks.judging import metrics

SPLITS = ("test", "validation", "text")


def dataset(data: Data = None, **_: Any) -> dict[str, Rows]:
    """Return the splits that lie in the folder `data`."""
    present = [split for split in SPLITS if data and (Path(data) / f"{split}.jsonl").exists()]
    return {
        split: Rows(complete("pocket", _rows(data, f"{split}.jsonl"), ("answer", "group")))
        for split in present or SPLITS
    }


def _rows(data: Data, name: str) -> Iterator[Row]:
    for row in read_rows("pocket", data, name):
        for field in ("id", "question", "answer", "group"):
            if not isinstance(row.get(field, ""), str):
                raise UserError(
                    f"pocket: {name} has {row[field]!r} for the {field} of row {row.get('id')!r}: "
                    "expected text, in quotes"
                )
        floor = row.get("floor")
        number = isinstance(floor, int | float) and not isinstance(floor, bool)
        if floor is not None and not (number and 0 <= floor <= 1):
            raise UserError(
                f"pocket: {name} has {floor!r} for the floor of row {row.get('id')!r}: expected "
                "the share that a guess gets right, a number from 0 to 1"
            )
        yield row


def to_prompt(row: Row) -> str:
    """Return the question as it is, `<image>` marks included."""
    return row["question"]


def verdict(row: Row, text: str) -> tuple[str | None, bool | None]:
    """Compare the last word after the thought with the answer."""
    spoken = extract.after_thinking(text)
    if not spoken:
        return None, None
    last = spoken.split()[-1]
    return last, last == row["answer"]


def groups(row: Row) -> tuple[str, ...]:
    """Return the kind of question: perception, reasoning-image, reasoning-both, reasoning-text."""
    return (row["group"],)


def cluster(row: Row) -> str:
    """Return the chain that a reasoning question asks, shared with its other versions."""
    versions = re.fullmatch(r".*(reasoning)-(?:image|both|text)-(\d+)", row["id"])
    return "-".join(versions.groups()) if versions else ""


process_results = metrics(acc=verdict)
