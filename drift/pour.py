"""Merges for a running engine: asked for on standard input, poured out on standard output.

Nothing is written to disk. Each line of input, `{"alpha": 0.1}`, is answered by

    {"tensors": 2}
    {"name": "model.layers.0.mlp.up_proj.weight", "dtype": "bfloat16", "shape": [8, 4]}
    <the bytes of that tensor>
    …

with every tensor of the merged roles, also of those that this α leaves as they are: whatever the
engine held before, it then holds this merge. Names are those on the VLM's disk, bytes those that
`driftbench merge` would write.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from common.errors import UserError
from drift.checkpoints import Checkpoint
from drift.delta import open_base
from drift.families import Weight, pair, refuse_unpaired
from drift.merge import Recipe, check, merged, touched

if TYPE_CHECKING:
    import torch


def serve(
    vlm: Path, llm: Path, recipe: Recipe, base: Path | None, asked: Iterable[bytes], out: BinaryIO
) -> None:
    """Answer until the input ends.

    Args:
        vlm: Folder of the VLM.
        llm: Folder of the reasoner.
        recipe: How; its α is replaced by what is asked.
        base: Folder of the model that both came from, for the methods that need it.
        asked: Lines, see above.
        out: Gets the tensors.

    Raises:
        UserError: a recipe is off, the decoders do not pair, or a line cannot be read.
    """
    check(recipe, base)
    pairing = pair(vlm, llm)
    refuse_unpaired(pairing, recipe.modules)
    wanted = [weight for weight in pairing.weights if weight.role in recipe.modules]
    models = Checkpoint(vlm), Checkpoint(llm), open_base(base, wanted) if base else None
    for line in asked:
        try:
            wish = replace(recipe, alpha=float(json.loads(line)["alpha"]))
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"asked for {line!r}; a line is {{'alpha': 0.1}}") from error
        check(wish, base)
        _say(out, {"tensors": len(wanted)})
        for weight in wanted:
            _pour(weight, wish, *models, out)
        out.flush()


def _pour(
    weight: Weight,
    recipe: Recipe,
    vlm: Checkpoint,
    llm: Checkpoint,
    base: Checkpoint | None,
    out: BinaryIO,
) -> None:
    import torch

    entry = vlm.entries[weight.vlm_key]
    kind = getattr(torch, entry.dtype)
    _say(out, {"name": weight.vlm_key, "dtype": entry.dtype, "shape": entry.shape})
    count = 0
    for block in _blocks(weight, recipe, vlm, llm, base):
        count += block.numel()
        out.write(block.to(kind).contiguous().view(torch.uint8).numpy().data)
    assert count == prod(entry.shape)


def _blocks(
    weight: Weight, recipe: Recipe, vlm: Checkpoint, llm: Checkpoint, base: Checkpoint | None
) -> "Iterator[torch.Tensor]":
    ours = partial(vlm.blocks, weight.vlm_key)
    if not touched(weight, recipe):
        return ours()
    there = partial(base.blocks, weight.llm_key) if base is not None else None
    return merged(weight, recipe, ours, partial(llm.blocks, weight.llm_key), there)


def _say(out: BinaryIO, what: dict[str, Any]) -> None:
    out.write(json.dumps(what).encode() + b"\n")
