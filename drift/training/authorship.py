"""What rows took whose answers another model is known to have written, where nobody kept a record.

It is the least that it can have been: each answer that is there was sampled once, at 2 operations a
parameter and token (arXiv 2001.08361, section 2.1). What was asked, and what was sampled and thrown
away, is not known.
"""

import json
from dataclasses import asdict
from math import prod
from pathlib import Path

from common.files import write_whole
from common.loading import loaded
from common.provenance import MADE, Made, git_commit, package_versions
from drift.fingerprints import parent
from drift.headers import shapes
from drift.training.rows import read_rows


def write(data: Path | str, model: Path, name: str, out: Path) -> Made:
    """Write `<out>.made.json`, as `driftbench rows` does beside rows of its own.

    Args:
        data: Rows, as `train` takes them.
        model: Folder of the model that wrote their answers.
        name: Of that model, for people.
        out: The rows, or a link to them.

    Raises:
        UserError: There are no rows, or it is no model.
    """
    from transformers import AutoTokenizer

    words = loaded(AutoTokenizer, model, "tokenizer")
    parameters = sum(map(prod, shapes(model).values()))
    rows, tokens = read_rows(data), 0
    for row in rows:
        said = [turn.thought + turn.text for turn in row.turns if turn.learnt]
        tokens += sum(map(len, words(said, add_special_tokens=False)["input_ids"]))
    made = Made(
        method="rows",
        name=name,
        parents=(parent("sampled", model),),
        settings={"counted": "the tokens of the answers that are there, once each"},
        cost={
            "samples": len(rows),
            "tokens": tokens,
            "tokens_out": tokens,
            "flops": 2 * parameters * tokens,
        },
        packages=package_versions(),
        git=git_commit(),
    )
    text = json.dumps(asdict(made), indent=2) + "\n"
    write_whole(out.with_name(f"{out.name}.{MADE}"), text.encode())
    return made
