"""How far a text-only model is from the language model inside a VLM, tensor by tensor.

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
from common.files import read_json, replaced, write_whole
from drift.checkpoints import Checkpoint, side_by_side
from drift.families import (
    DECODER_ROLES,
    Role,
    Weight,
    match,
    pair,
    read_config,
    refuse_unpaired,
    same_decoder,
    text_config,
)
from drift.headers import entries

UNRELATED = 0.5
"""Relative L2 above which common descent is doubtful (own rule: a fine-tune stays well below 0.1,
independent models of one architecture lie at √2)."""

COMPARED = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "rms_norm_eps",
    "vocab_size",
)


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
    """As in `Gap`."""
    rho: float


@dataclass(frozen=True)
class Distance:
    """Everything that `distance.json` holds."""

    vlm: str
    llm: str
    family: str
    tensors: tuple[Gap, ...]
    """One for each paired tensor."""
    layers: tuple[Gap, ...]
    """One for each layer and role."""
    total: Gap
    """Attention and MLP of all layers together; norms lie near 1 in any model and would hide it."""
    warnings: tuple[str, ...]
    displacements: tuple[Displacement, ...] = ()
    """One for each checkpoint that was asked for."""


@dataclass
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
            layer,
            module,
            role,
            (self.difference / self.ours) ** 0.5 if self.ours else 0.0,
            self.product / lengths if lengths else 0.0,
            self.count,
        )


def measure(vlm: Path | str, llm: Path | str) -> Distance:
    """Compare the decoders of `vlm` and of the text-only `llm`.

    Where they do not pair completely, what does is measured, and a warning names the rest.

    Raises:
        UserError: not one decoder tensor can be compared, or a checkpoint is unsound.
    """
    pairing, gaps = match(vlm, llm)
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
    tensors, total = [], _Sums()
    layers: dict[tuple[int | None, Role], _Sums] = {}
    measured = side_by_side(sums_of, weights, "measuring")
    for weight, sums in zip(pairing.weights, measured, strict=True):
        tensors.append(sums.gap(weight.layer, _module(weight), weight.role))
        if weight.role in DECODER_ROLES:
            layers.setdefault((weight.layer, weight.role), _Sums()).add(sums)
        if weight.role in ("attention", "mlp"):
            total.add(sums)
    whole = total.gap(None, "decoder", None)
    return Distance(
        str(vlm),
        str(llm),
        pairing.family.name,
        tuple(tensors),
        tuple(sums.gap(layer, role, role) for (layer, role), sums in layers.items()),
        whole,
        (*gaps, *pairing.notes, *config_warnings(vlm, llm), *_lineage(whole)),
    )


def _sums(ours: Any, theirs: Any) -> _Sums:
    from torch import dot

    ours, theirs = ours.float(), theirs.float()
    difference = theirs - ours
    # Blocks are short enough for float32; what they add up to is not.
    return _Sums(
        float(dot(difference, difference)),
        float(dot(ours, ours)),
        float(dot(theirs, theirs)),
        float(dot(ours, theirs)),
        ours.numel(),
    )


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
    places = same_decoder(vlm, checkpoint, weights.values())
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
        str(checkpoint),
        modules,
        along / whole,
        along / (whole * moved) ** 0.5 if moved else 0.0,
        (moved / whole) ** 0.5,
        {role: _along(sums) for role, sums in by_role.items()},
        tuple(
            Share(weight.layer, _module(weight), _along(sums))
            for weight, sums in zip(weights.values(), found, strict=True)
        ),
    )


def _along(sums: list[float]) -> float:
    return sums[0] / sums[1] if sums[1] else 0.0


def _module(weight: Weight) -> str:
    return weight.name.removeprefix(f"layers.{weight.layer}.")


def rope_theta(config: dict) -> float:
    """Base of the rotary embedding, wherever this version of the configuration keeps it."""
    text = text_config(config)
    places = (text.get("rope_parameters") or {}, text, config)
    return float(next((one["rope_theta"] for one in places if "rope_theta" in one), 10000.0))


def _rope_kind(config: dict) -> str:
    """How positions are stretched: `default`, `llama3`, `yarn` and others.

    The sections of a VLM's multimodal rotary embedding share the positions of text among
    themselves and stretch nothing.
    """
    text = text_config(config)
    scaling = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    return "default" if kind == "mrope" else kind


def config_warnings(vlm: Path | str, llm: Path | str) -> list[str]:
    """What makes the two ill-matched, as far as it shows without their weights."""
    ours, theirs = read_config(vlm), read_config(llm)
    found = []
    thetas = rope_theta(ours), rope_theta(theirs)
    if thetas[0] != thetas[1]:
        found.append(
            f"rope_theta is {thetas[0]:g} in the VLM, {thetas[1]:g} in the other: positions mean "
            "different things to the two, and merges of such pairs are known to break"
        )
    kinds = [_rope_kind(config) for config in (ours, theirs)]
    if kinds[0] != kinds[1]:
        found.append(f"positions are scaled as {kinds[0]} in the VLM, as {kinds[1]} in the other")
    for name in COMPARED:
        mine, other = text_config(ours).get(name), theirs.get(name)
        if mine is not None and other is not None and mine != other:
            found.append(f"{name} is {mine} in the VLM, {other} in the other")
    biased = [
        any(name.endswith("q_proj.bias") for name in entries(folder)) for folder in (vlm, llm)
    ]
    if biased[0] != biased[1]:
        found.append(f"only {'the VLM' if biased[0] else 'the other'} has attention biases")
    return found + _tokenizer_warnings(Path(vlm), Path(llm))


def _tokenizer_warnings(vlm: Path, llm: Path) -> list[str]:
    words = [_vocabulary(folder) for folder in (vlm, llm)]
    if words[0] is None or words[1] is None:
        without = " and ".join(
            str(folder) for folder, one in zip((vlm, llm), words, strict=True) if one is None
        )
        return [f"no tokenizer.json to compare in {without}"]
    moved = [word for word, number in words[0].items() if words[1].get(word, number) != number]
    if not moved:
        return []
    return [
        f"the tokenizers give different numbers to {len(moved)} of their common words "
        f"({', '.join(repr(word) for word in moved[:3])}): they are not of one line"
    ]


def _vocabulary(folder: Path) -> dict[str, int] | None:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    words = read_json(path).get("model", {}).get("vocab", {})
    return words if isinstance(words, dict) else {word: i for i, (word, _) in enumerate(words)}


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
