"""A run's answers and verdicts as one Parquet file, and its logs as one.

    compact(Path("runs/vlm"))                # runs/vlm/answers.parquet
    pandas.read_parquet("runs/vlm/answers.parquet")

The run goes on and is read as before: what is asked is still told from `responses.jsonl`.
"""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import replaced
from harness.runs import folder, locks
from harness.runs.log import logs, read_responses
from harness.runs.schema import UTF8, Response, Verdict

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
        verdicts = {(v.task, v.id, v.sample): v for v in folder.read_verdicts(run)}
        _write(run, responses, verdicts)
    return run / NAME


def _write(
    run: Path, responses: Sequence[Response], verdicts: dict[tuple[str, str, int], Verdict]
) -> None:
    import pyarrow
    from pyarrow import parquet

    said = [name.name for name in fields(Response)]
    judged = [name.name for name in fields(Verdict) if name.name not in said]
    columns: dict[str, list[Any]] = {name: [] for name in (*said, *judged)}
    for response in responses:
        verdict = verdicts.get((response.task, response.id, response.sample))
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
    card = json.dumps(json.loads((run / "run.json").read_bytes()))
    table = pyarrow.table(columns, schema=schema.with_metadata({"driftbench.run": card}))
    with replaced(run / NAME) as aside:
        parquet.write_table(table, aside, compression="zstd")


def _storable(value: Any) -> Any:
    """Return what Arrow can hold: a lone surrogate in a model's text is no Unicode."""
    if isinstance(value, str):
        return value.encode(*UTF8).decode()
    return list(value) if isinstance(value, tuple) else value
