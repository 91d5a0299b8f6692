"""How far a reasoner is from the language model inside a VLM, tensor by tensor.

Says beforehand what a merge or a prior will meet: how large Δ is in each layer and module, and
whether the two models come from one line at all. Says afterwards how far a checkpoint that was
trained or merged from the VLM has gone along Δ: its displacement ρ.

    driftbench distance VLM LLM --out distance.json --plot distance.png
    driftbench distance VLM LLM --out distance.json --of SFT --of DRIFT
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import replaced, write_whole
from drift import compatibility
from drift.checkpoints import Checkpoint, side_by_side
from drift.displacement import Displacement, module_of
from drift.families import DECODER_ROLES, Role
from drift.pairing import is_same_family, match

UNRELATED = 0.5
"""Relative L2 above which common descent is doubtful (own rule: a fine-tune stays well below 0.1,
independent models of one architecture lie at √2)."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Distance between two versions of the same tensors."""

    layer: int | None
    """None outside the layers."""
    module: str
    """`self_attn.q_proj.weight`; a role or `decoder` for sums over several."""
    role: Role | None
    relative_l2: float
    """‖llm − vlm‖ / ‖vlm‖."""
    cosine: float
    """⟨llm, vlm⟩ / (‖llm‖·‖vlm‖)."""
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Everything that `distance.json` holds."""

    vlm: str
    llm: str
    family: str
    tensors: tuple[Gap, ...]
    """One for each paired tensor, of experts for those of a layer together."""
    layers: tuple[Gap, ...]
    """One for each layer and role."""
    total: Gap
    """Attention and MLP of all layers together; norms lie near 1 in any model and would hide it."""
    warnings: tuple[str, ...]
    displacements: tuple[Displacement, ...] = ()
    """One for each checkpoint that was asked for."""


@dataclass(kw_only=True)
class _Sums:
    difference: float = 0.0
    ours: float = 0.0
    theirs: float = 0.0
    product: float = 0.0
    count: int = 0

    def add(self, other: "_Sums") -> None:
        self.difference += other.difference
        self.ours += other.ours
        self.theirs += other.theirs
        self.product += other.product
        self.count += other.count

    def gap(self, layer: int | None, module: str, role: Role | None) -> Gap:
        lengths = (self.ours * self.theirs) ** 0.5
        return Gap(
            layer=layer,
            module=module,
            role=role,
            relative_l2=(self.difference / self.ours) ** 0.5 if self.ours else 0.0,
            cosine=self.product / lengths if lengths else 0.0,
            parameters=self.count,
        )


def measure(vlm: Path | str, llm: Path | str) -> Distance:
    """Compare the decoders of `vlm` and `llm`; of two VLMs of one family all that they hold.

    Where they do not pair completely, what does is measured, and a warning names the rest.

    Raises:
        UserError: not one decoder tensor can be compared, or a checkpoint is unsound.
    """
    pairing, gaps = match(vlm, llm, is_same_family(vlm, llm))
    if not any(weight.role in DECODER_ROLES for weight in pairing.weights):
        raise UserError(f"no decoder tensor of {vlm} and {llm} can be compared: {'; '.join(gaps)}")
    from_vlm, from_llm = Checkpoint(vlm), Checkpoint(llm)

    def sums_of(name: str) -> _Sums:
        weight, sums = weights[name], _Sums()
        blocks = from_vlm.blocks(weight.vlm_key), from_llm.blocks(weight.llm_key)
        for ours, theirs in zip(*blocks, strict=True):
            sums.add(_sums(ours, theirs))
        return sums

    weights = {weight.name: weight for weight in pairing.weights}
    tensors: dict[tuple[int | None, str, Role], _Sums] = {}
    total = _Sums()
    layers: dict[tuple[int | None, Role], _Sums] = {}
    measured = side_by_side(sums_of, weights, "measuring")
    for weight, sums in zip(pairing.weights, measured, strict=True):
        place = weight.layer, module_of(weight), weight.role
        tensors.setdefault(place, _Sums()).add(sums)
        if weight.role in DECODER_ROLES:
            layers.setdefault((weight.layer, weight.role), _Sums()).add(sums)
        if weight.role in ("attention", "mlp"):
            total.add(sums)
    whole = total.gap(None, "decoder", None)
    return Distance(
        vlm=str(vlm),
        llm=str(llm),
        family=pairing.family.name,
        tensors=tuple(sums.gap(*place) for place, sums in tensors.items()),
        layers=tuple(sums.gap(layer, role, role) for (layer, role), sums in layers.items()),
        total=whole,
        warnings=(
            *gaps,
            *pairing.notes,
            *compatibility.warnings(vlm, llm),
            *_lineage(whole),
        ),
    )


def _sums(ours: Any, theirs: Any) -> _Sums:
    from torch import dot

    ours, theirs = ours.float(), theirs.float()
    difference = theirs - ours
    # Blocks are short enough for float32; what they add up to is not.
    return _Sums(
        difference=float(dot(difference, difference)),
        ours=float(dot(ours, ours)),
        theirs=float(dot(theirs, theirs)),
        product=float(dot(ours, theirs)),
        count=ours.numel(),
    )


def _lineage(total: Gap) -> list[str]:
    if total.relative_l2 <= UNRELATED:
        return []
    return [
        f"the decoders are {total.relative_l2:.2f} apart (relative L2; cosine {total.cosine:.2f}): "
        "too far for two fine-tunes of one model"
    ]


def save(found: Distance, path: Path) -> None:
    """Write `found` as JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n"
    write_whole(path, content.encode())


def table(found: Distance) -> str:
    """`found` for people: relative L2 and cosine of each layer and role."""
    roles = [role for role in ("attention", "mlp", "norm")]
    cells = {(gap.layer, gap.role): gap for gap in found.layers}
    numbers = sorted({gap.layer for gap in found.layers if gap.layer is not None})
    lines = [f"{'layer':8}" + "".join(f"{role + ' L2':>14}{'cosine':>9}" for role in roles)]
    for layer in [*numbers, None]:
        line = f"{'final' if layer is None else layer!s:8}"
        for role in roles:
            gap = cells.get((layer, role))  # type: ignore[arg-type]
            line += f"{gap.relative_l2:14.4f}{gap.cosine:9.4f}" if gap else f"{'-':>14}{'-':>9}"
        lines.append(line)
    lines.append(f"all     {found.total.relative_l2:14.4f}{found.total.cosine:9.4f}")
    for one in found.displacements:
        parts = ", ".join(f"{role} {rho:.4f}" for role, rho in one.by_role.items())
        lines.append(
            f"{one.checkpoint}: rho {one.rho:.4f} ({parts}), moved {one.moved:.4f} of the "
            f"distance, cosine with the prior {one.cosine:.4f}"
        )
    return "\n".join(lines + [f"warning: {line}" for line in found.warnings])


def heat_map(found: Distance, path: Path) -> None:
    """Draw the relative L2 of each tensor.

    Raises:
        UserError: The ending names no kind of picture.
    """
    from drift.heat_map import Cell, figure, short

    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise UserError(f"{path} is no name of a picture: it ends in .png, .svg or .pdf")
    cells = tuple(Cell(gap.layer, short(gap.module), gap.relative_l2) for gap in found.tensors)
    title = f"{found.family}: ‖reasoner − VLM‖ / ‖VLM‖"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as aside:
        figure([(title, cells)], "relative L2", "cividis", 5.0).savefig(aside, format=kind, dpi=200)
