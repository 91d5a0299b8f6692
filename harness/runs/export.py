"""A run's answers and verdicts as one Parquet file, and its logs as one.

    compact(Path("runs/vlm"))                # runs/vlm/answers.parquet
    pandas.read_parquet("runs/vlm/answers.parquet")

The run goes on and is read as before: what is asked is still told from `responses.jsonl`.
"""

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import replaced
from harness.runs import folder, locks
from harness.runs.log import logs, read_responses
from harness.runs.schema import UTF8, Response, Verdict

if TYPE_CHECKING:
    import pyarrow

NAME = "answers.parquet"


def compact(run: Path) -> Path:
    """Write `answers.parquet`, a row an answer; make one log of those of shards.

    Of an answer that was asked for again after an error only the answer stays in the log. Verdicts
    are null where there are none yet. The run card stands in the file's metadata as
    `driftbench.run`.

    Returns:
        The file.

    Raises:
        UserError: It is no run, or another process writes it.
    """
    folder.read_card(run)
    with locks.locked(run):
        responses = read_responses(run)
        if not responses:
            raise UserError(f"{run} has no answer yet")
        # The whole first, then what is in it: killed between, answers are there twice, not never.
        folder.write_lines(run / "responses.jsonl", responses)
        for log in logs(run):
            if log.name != "responses.jsonl":
                log.unlink()
        _write(run)
    return run / NAME


def table(run: Path, verdicts: Iterable[Verdict]) -> "pyarrow.Table":
    """Return a run's answers as a table, a row an answer.

    Args:
        run: Folder with the answers.
        verdicts: On them; an answer without one has nulls.
    """
    import pyarrow

    graded = {(v.task, v.id, v.sample): v for v in verdicts}
    said = [name.name for name in fields(Response)]
    judged = [name.name for name in fields(Verdict) if name.name not in said]
    columns: dict[str, list[Any]] = {name: [] for name in (*said, *judged)}
    for response in read_responses(run):
        verdict = graded.get((response.task, response.id, response.sample))
        for name in said:
            columns[name].append(_storable(getattr(response, name)))
        for name in judged:
            columns[name].append(_storable(getattr(verdict, name)) if verdict else None)
    kinds = {
        **dict.fromkeys(("sample", "tokens_in", "tokens_image", "tokens_out"), pyarrow.int32()),
        **dict.fromkeys(("correct", "forced", "lasting"), pyarrow.bool_()),
        "seconds": pyarrow.float64(),
        "groups": pyarrow.list_(pyarrow.string()),
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in columns])
    return pyarrow.table(columns, schema=schema)


def _write(run: Path) -> None:
    from pyarrow import parquet

    card = json.dumps(json.loads((run / "run.json").read_bytes()))
    found = table(run, folder.read_verdicts(run)).replace_schema_metadata({"driftbench.run": card})
    with replaced(run / NAME) as aside:
        parquet.write_table(found, aside, compression="zstd")


def _storable(value: Any) -> Any:
    """Return what Arrow can hold: a lone surrogate in a model's text is no Unicode."""
    if isinstance(value, str):
        return value.encode(*UTF8).decode()
    return list(value) if isinstance(value, tuple) else value
