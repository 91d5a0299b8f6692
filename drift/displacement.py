"""How far a checkpoint that was made from a VLM has gone toward a reasoner: its displacement ρ."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from drift.checkpoints import Checkpoint, side_by_side
from drift.families import Role
from drift.pairing import Weight, pair, refuse_unpaired, same_tensors


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
    """ρ of each tensor alone."""


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
        checkpoint: Folder of a VLM of the same family that was made from `vlm`, w.
        modules: Roles that count; DRIFT's own log of ρ counts those that it pulls.

    Raises:
        UserError: the decoders do not pair, or `checkpoint` has other tensors than `vlm`.
    """
    from torch import dot

    pairing = pair(vlm, llm)
    refuse_unpaired(pairing, modules)
    weights = {weight.name: weight for weight in pairing.weights if weight.role in modules}
    places = same_tensors(vlm, checkpoint, weights.values())
    first, goal, last = Checkpoint(vlm), Checkpoint(llm), Checkpoint(checkpoint)

    def sums_of(name: str) -> list[float]:
        sums, weight = [0.0, 0.0, 0.0], weights[name]
        keys = weight.vlm_key, weight.llm_key, places[name]
        blocks = (one.blocks(key) for one, key in zip((first, goal, last), keys, strict=True))
        for before, reasoner, after in zip(*blocks, strict=True):
            there = before.float()
            delta, moved = reasoner.float() - there, after.float() - there
            for i, both in enumerate(((moved, delta), (delta, delta), (moved, moved))):
                sums[i] += float(dot(*both))
        return sums

    found = side_by_side(sums_of, weights, "measuring")
    by_role: dict[str, list[float]] = {}
    for weight, sums in zip(weights.values(), found, strict=True):
        role = by_role.setdefault(weight.role, [0.0, 0.0, 0.0])
        role[:] = [a + b for a, b in zip(role, sums, strict=True)]
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
            Share(weight.layer, module_of(weight), _along(sums))
            for weight, sums in zip(weights.values(), found, strict=True)
        ),
    )


def module_of(weight: Weight) -> str:
    """Return a weight's name within its layer."""
    return weight.name.removeprefix(f"layers.{weight.layer}.")


def _along(sums: list[float]) -> float:
    return sums[0] / sums[1] if sums[1] else 0.0
