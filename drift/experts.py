"""Experts, each matrix of each of them a tensor of its own, however a checkpoint has them.

Split, `mlp.experts.3.gate_proj.weight`, or fused: all gates and ups in `mlp.experts.gate_up_proj`,
all downs in `mlp.experts.down_proj`. Fused ones lie as transformers 5 has them in memory, (experts,
out, in), or turned, (experts, in, out), as Qwen3-VL-MoE has them on the hub. What is read here is
split; what is written, and what is joined to a live model, is put together again.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count, takewhile
from math import prod
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    import torch

    from drift.delta import Prior
    from drift.headers import Entry

FUSED = re.compile(r"(.*mlp\.experts\.)(gate_up_proj|down_proj)")
PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""What is fused, in its order (transformers 5.19, conversion_mapping.py, `qwen2_moe`)."""


def apart(found: "Mapping[str, Entry]") -> "dict[str, Entry]":
    """Return the tensors of a checkpoint, of fused experts each one's, where they lie.

    Raises:
        UserError: Of fused experts one tensor is missing, or the two do not fit.
    """
    split: dict[str, Entry] = {}
    for name, entry in found.items():
        for part, place in _places(name, entry, found) or ((name, entry),):
            split[part] = place
    return split


def parts(name: str, found: "Mapping[str, Entry]") -> list[list[str]]:
    """Return the names of what is fused in `name`, by expert; none where nothing is."""
    match = FUSED.fullmatch(name)
    if match is None or f"{name}_bias" in found:  # those with biases are laid out otherwise
        return []
    return [_of_expert(match, expert) for expert in range(found[name].shape[0])]


def _of_expert(match: re.Match, expert: int) -> list[str]:
    return [f"{match[1]}{expert}.{part}.weight" for part in PARTS[match[2]]]


def _places(
    name: str, entry: "Entry", found: "Mapping[str, Entry]"
) -> "list[tuple[str, Entry]] | None":
    names = parts(name, found)
    if not names:
        return None
    turned, size = is_turned(name, found), (entry.end - entry.start) // prod(entry.shape)
    _, rows, width = entry.shape
    matrix = rows * width * size
    placed = []
    for expert, row in enumerate(names):
        start = entry.start + expert * matrix
        for i, part in enumerate(row):
            if turned:
                shape, columns = (width // len(row), rows), (i * (width // len(row)), width)
                place = replace(entry, shape=shape, start=start, end=start + matrix)
                placed.append((part, replace(place, columns=columns)))
            else:
                shape, first = (rows // len(row), width), start + i * (matrix // len(row))
                last = first + matrix // len(row)
                placed.append((part, replace(entry, shape=shape, start=first, end=last)))
    return placed


def is_turned(name: str, found: "Mapping[str, Entry]") -> bool:
    """Whether fused experts lie as (experts, in, out).

    The two tensors of a layer tell it together: up is twice as wide as down is long, or as wide.

    Raises:
        UserError: They do neither.
    """
    stem = name[: name.rindex(".") + 1]
    up, down = (found.get(stem + part) for part in ("gate_up_proj", "down_proj"))
    if up and down and len(up.shape) == len(down.shape) == 3 and up.shape[0] == down.shape[0]:
        (_, a, b), (_, c, d) = up.shape, down.shape
        if (a, b) == (2 * d, c):
            return False
        if (a, b) == (d, 2 * c):
            return True
    told = [f"{stem}{part} " + (str(list(one.shape)) if one else "is missing")
            for part, one in (("gate_up_proj", up), ("down_proj", down))]  # fmt: skip
    raise UserError(f"the experts of one layer do not fit: {', '.join(told)}")


def together(
    name: str, found: "Mapping[str, Entry]", blocks: "Callable[[str], Iterable[torch.Tensor]]"
) -> "Iterator[torch.Tensor]":
    """Yield the fused tensor `name`, flat, as it lies.

    Args:
        name: One of `found` that has `parts`.
        found: All tensors of the checkpoint, as they lie.
        blocks: Name of a part → its entries, flat, piece by piece; a piece may be overwritten.
    """
    import torch

    turned, (_, rows, width) = is_turned(name, found), found[name].shape
    for row in parts(name, found):
        if not turned:
            for part in row:
                yield from blocks(part)
        else:
            matrix = torch.cat([block.clone() for part in row for block in blocks(part)])
            yield matrix.view(width, rows).T.contiguous().flatten()


def fused(prior: "Prior", names: Iterable[str]) -> "Prior":
    """Return `prior` with a Δ for the fused tensors among the `names` of a live model's."""
    made = {}
    for name in names:
        if match := FUSED.fullmatch(name):
            rows = (_of_expert(match, expert) for expert in count())
            if known := [*takewhile(lambda row: prior.shapes.keys() >= {*row}, rows)]:
                made[name] = known

    def read(name: str) -> "torch.Tensor":
        import torch

        if name not in made:
            return prior.read(name)
        return torch.stack([torch.cat([prior.read(part) for part in row]) for row in made[name]])

    shapes = {
        name: (
            len(rows),
            sum(prior.shapes[part][0] for part in rows[0]),
            prior.shapes[rows[0][0]][1],
        )
        for name, rows in made.items()
    }
    return replace(prior, shapes={**prior.shapes, **shapes}, read=read) if made else prior
