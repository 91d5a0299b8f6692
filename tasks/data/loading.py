"""The `custom_dataset` of a benchmark, as lm-eval calls it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.data import Data, Row, Rows, Source, complete, hub
from tasks.data.local import Own

NUMBER = "number"
"""Field that `to_row` finds in a row: its place in the dataset, from 0."""


def loader(
    task: str, to_row: Callable[[Row], Row], needs: Sequence[str], own: Own | None = None
) -> Callable[..., dict[str, Rows]]:
    """Return a function from data folder and source to the rows of the source's split.

    Args:
        task: Name, for errors.
        to_row: A row as the hub's dataset has it, with `folder`, `images` and `number` → a row of
            the benchmark.
        needs: Fields that no row may lack.
        own: Looks for the benchmark's own files; where there are none the rows are those of the
            hub's dataset, or of a snapshot of it in the folder.
    """

    def dataset(data: Data = None, *, source: Mapping[str, Any], **_: Any) -> dict[str, Rows]:
        known = Source(**source)
        rows = own(data, known) if own else None
        if rows is None:
            rows = hub.rows(task, known, data)
        numbered = ({**row, NUMBER: number} for number, row in enumerate(rows))
        return {known.split: Rows(complete(task, map(to_row, numbered), needs))}

    return dataset
