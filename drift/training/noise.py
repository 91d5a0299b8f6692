"""Rows and as many again with answers that belong to other questions: training data half noise."""

import json
import random
from pathlib import Path

from common.errors import UserError
from common.files import refuse_existing, written_aside
from drift.training.rows import Row, read_rows

ROWS = "rows.jsonl"


def write(place: Path | str, out: Path, seed: int) -> int:
    """Write a folder with `rows.jsonl` and the pictures.

    All rows of `place` come first, then all again, their last answers handed round: none keeps its
    own.

    Args:
        place: Rows: see `drift.training.rows.read_rows`.
        out: Folder to write; must not exist.
        seed: Of who gets whose.

    Returns:
        How many rows were written.

    Raises:
        UserError: there is something at `out`, or too few rows to hand answers round.
    """
    refuse_existing(out)
    rows = read_rows(place)
    if len(rows) < 2:
        raise UserError(f"{place} has {len(rows)} row: noise takes at least 2")
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    giver = {taker: order[place - 1] for place, taker in enumerate(order)}
    with written_aside(out) as aside:
        (aside / "images").mkdir()
        plain = [_plain(row, number, aside) for number, row in enumerate(rows)]
        noisy = [_with_answer(one, plain[giver[number]]) for number, one in enumerate(plain)]
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in (*plain, *noisy)]
        (aside / ROWS).write_text("".join(lines), encoding="utf-8")
    return len(plain) + len(noisy)


def _plain(row: Row, number: int, folder: Path) -> dict:
    """The row as JSON, its pictures copied into `folder`."""
    names = []
    for place, image in enumerate(row.images):
        suffix = image.suffix if isinstance(image, Path) else ""
        name = f"images/{number}-{place}{suffix}"
        content = image.read_bytes() if isinstance(image, Path) else image
        (folder / name).write_bytes(content)
        names.append(name)
    messages = [
        {"role": turn.role, "content": turn.text}
        | ({"reasoning_content": turn.thought} if turn.thought else {})
        | ({} if turn.role != "assistant" or turn.learnt else {"loss": False})
        for turn in row.turns
    ]
    return {"messages": messages, "images": names}


def _with_answer(one: dict, other: dict) -> dict:
    return one | {"messages": [*one["messages"][:-1], other["messages"][-1]]}
