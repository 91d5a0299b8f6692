"""Rows and pictures of a benchmark: from the hub, a snapshot of it, or its own files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError

Row = dict[str, Any]

Data = str | Path | None
"""Folder of the data; None: the hub."""

FOLDER = "folder"
"""Field of every row: where the data lies. No part of the benchmark."""

NAMED = 5
"""Rows named in a sentence about many."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a benchmark's rows come from when no folder is given."""

    repo: str
    """Dataset on the hub."""
    revision: str | None
    """Commit; None: the newest, whose commit goes into the run card."""
    config: str
    split: str
    """Several, one after the other, are joined by "+"."""
    licence: str
    n: int
    """Rows of the split."""


class Rows(list[Row]):
    """Rows with the one attribute of a dataset that lm-eval asks for."""

    @property
    def features(self) -> dict[str, None]:
        """Names of the fields."""
        return dict.fromkeys(self[0]) if self else {}


def complete(task: str, rows: Iterable[Row], fields: Sequence[str]) -> Iterator[Row]:
    """Pass rows on; when all have come, say which lack a field (or have None in it).

    Raises:
        UserError: Some do; the sentence has their number and the first names.
    """
    lacking: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=1):
        for field in fields:
            if row.get(field) is None:
                lacking.setdefault(field, []).append(str(row.get("id", f"number {number}")))
        yield row
    if lacking:
        parts = [
            f"{len(ids)} rows have no {field} ({first(ids)})" for field, ids in lacking.items()
        ]
        raise UserError(f"{task}: {'; '.join(parts)}")


def first(names: Sequence[str]) -> str:
    """Return the first few names, and a mark where there are more."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
