"""How far a checkpoint that was made from a VLM has gone toward a reasoner: its displacement ρ."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.provenance import read_made
from drift.adapter_folder import is_adapter, load_pairs, open_adapter, plain, refuse_other_base
from drift.checkpoints import BLOCK, Checkpoint, side_by_side
from drift.families import Role
from drift.pairing import Weight, pair, refuse_unpaired, same_tensors

if TYPE_CHECKING:
    import torch

Blocks = Callable[[str], "Iterator[torch.Tensor]"]
"""Canonical name → a tensor in the blocks of `Checkpoint.blocks`."""


@dataclass(frozen=True, kw_only=True)
class Displacement:
    """How far one checkpoint has moved from the VLM, and how much of it toward the reasoner."""

    checkpoint: str
    modules: tuple[Role, ...]
    """Over whose tensors the sums go."""
    rho: float
    """⟨w − w₀, Δ⟩ / ‖Δ‖²: the share of a linear merge that lies as far along Δ."""
    cosine: float
    """Of w − w₀ and Δ; 0 when nothing moved."""
    moved: float
    """‖w − w₀‖ / ‖Δ‖."""
    by_role: dict[str, float]
    """ρ of each role alone."""
    tensors: tuple["Share", ...] = ()
    """ρ of each tensor alone, of experts of those of a layer together."""


@dataclass(frozen=True)
class Share:
    """How far one tensor has moved toward the reasoner's."""

    layer: int | None
    """None outside the layers."""
    module: str
    """`self_attn.q_proj.weight`; as in `drift.distance.Gap`."""
    rho: float


def displacement(
    vlm: Path | str,
    llm: Path | str,
    checkpoint: Path | str,
    modules: tuple[Role, ...] = ("attention", "mlp"),
) -> Displacement:
    """Measure how far `checkpoint` has gone from `vlm` toward `llm`.

    Args:
        vlm: Folder of the VLM at its first weights, w₀.
        llm: Folder of the reasoner; Δ = llm − vlm.
        checkpoint: Folder of a VLM of the same family that was made from `vlm`, or of a LoRA
            adapter on it: w, which then is w₀ + scale·B·A.
        modules: Roles that count; DRIFT's own log of ρ counts those that it pulls.

    Raises:
        UserError: the decoders do not pair, or `checkpoint` has other tensors than `vlm`, or is an
            adapter on another model.
    """
    from torch import dot

    pairing = pair(vlm, llm)
    refuse_unpaired(pairing, modules)
    weights = {weight.name: weight for weight in pairing.weights if weight.role in modules}
    first, goal = Checkpoint(vlm), Checkpoint(llm)
    under_adapter = is_adapter(Path(checkpoint))
    last = (_adapted if under_adapter else _whole)(first, checkpoint, weights)

    def sums_of(name: str) -> list[float]:
        sums, weight = [0.0, 0.0, 0.0], weights[name]
        blocks = first.blocks(weight.vlm_key), goal.blocks(weight.llm_key), last(name)
        for before, reasoner, after in zip(*blocks, strict=True):
            there = before.float()
            delta = reasoner.float() - there
            moved = after if under_adapter else after.float() - there
            for i, both in enumerate(((moved, delta), (delta, delta), (moved, moved))):
                sums[i] += float(dot(*both))
        return sums

    found = side_by_side(sums_of, weights, "measuring")
    by_role: dict[str, list[float]] = {}
    by_module: dict[tuple[int | None, str], list[float]] = {}
    for weight, sums in zip(weights.values(), found, strict=True):
        module = by_module.setdefault((weight.layer, module_of(weight)), [0.0, 0.0, 0.0])
        role = by_role.setdefault(weight.role, [0.0, 0.0, 0.0])
        for total in (role, module):
            total[:] = [a + b for a, b in zip(total, sums, strict=True)]
    along, whole, moved = (sum(part) for part in zip(*by_role.values(), strict=True))
    if not whole:
        raise UserError(f"{llm} is the language model of {vlm}: there is no direction to measure")
    return Displacement(
        checkpoint=str(checkpoint),
        modules=modules,
        rho=along / whole,
        cosine=along / (whole * moved) ** 0.5 if moved else 0.0,
        moved=(moved / whole) ** 0.5,
        by_role={role: _along(sums) for role, sums in by_role.items()},
        tensors=tuple(
            Share(layer, module, _along(sums)) for (layer, module), sums in by_module.items()
        ),
    )


def _whole(first: Checkpoint, folder: Path | str, weights: dict[str, Weight]) -> Blocks:
    """The tensors of a checkpoint."""
    places, last = same_tensors(first.folder, folder, weights.values()), Checkpoint(folder)
    return lambda name: last.blocks(places[name])


def _adapted(first: Checkpoint, folder: Path | str, weights: dict[str, Weight]) -> Blocks:
    """What an adapter adds to each of `weights`, in float32: scale·B·A, or zeros."""
    import torch

    folder = Path(folder)
    refuse_other_base(folder, read_made(folder), first.folder)
    pairs = load_pairs(open_adapter(folder, first.entries))

    def added(name: str) -> "Iterator[torch.Tensor]":
        shape = weights[name].shape
        found = pairs.get(plain(weights[name].vlm_key.removesuffix(".weight")))
        for start in range(0, prod(shape), BLOCK):
            stop = min(start + BLOCK, prod(shape))
            if found is None:
                yield torch.zeros(stop - start)
                continue
            a, b, scale = found
            row, width = start // shape[1], shape[1]
            rows = b[row : -(-stop // width)].float() @ a.float()
            yield scale * rows.view(-1)[start - row * width : stop - row * width]

    return added


def module_of(weight: Weight) -> str:
    """Return a weight's name within its layer, which all experts of the layer share."""
    inside = weight.name.removeprefix(f"layers.{weight.layer}.")
    return re.sub(r"experts\.\d+\.", "experts.", inside)


def _along(sums: list[float]) -> float:
    return sums[0] / sums[1] if sums[1] else 0.0
