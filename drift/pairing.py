"""Which tensor of one checkpoint goes with which of another: all of them, or a stop with names.

driftbench families --check VLM LLM
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from drift import experts
from drift.compatibility import refuse_unlike, text_types
from drift.families import (
    BRIDGE,
    Family,
    Role,
    decoder_keys,
    family_of,
    language_keys,
    layer_and_role,
    read_config,
    row_of,
    text_config,
    vlm_keys,
)
from drift.headers import Entry, entries, shapes

FLOATS = re.compile("b?float(16|32|64)")


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One tensor, with its place in both checkpoints."""

    name: str
    """Canonical: `layers.3.self_attn.q_proj.weight`, `embed_tokens.weight`, `lm_head.weight`; of
    tower and projector as on disk, without a leading `model.`."""
    layer: int | None
    role: Role
    vlm_key: str
    llm_key: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Pairing:
    """A VLM beside a text-only model, or beside another VLM."""

    family: Family
    weights: tuple[Weight, ...]
    """Every tensor that both sides have in the same shape; decoder tensors are complete."""
    notes: tuple[str, ...]
    """What could not be paired outside the decoder: vocabulary, tied heads."""


def pair(vlm: Path | str, llm: Path | str) -> Pairing:
    """Match every decoder tensor of `vlm` with that of `llm`, a text-only model or another VLM.

    Attention, MLP and norm tensors (weights and biases) must all have a partner of the same shape.
    Embeddings and head may differ in vocabulary or be tied: that becomes a note.

    Raises:
        UserError: The two are of other kinds, or a tensor has no partner; the sentence names the
            orphans of both sides.
    """
    family = family_of(vlm)
    if not text_types(llm) & {*family.text_types}:
        raise UserError(
            f"{llm} has model_type {read_config(llm).get('model_type')!r}, but the language model "
            f"inside {family.name} ({vlm}) pairs with {' or '.join(family.text_types)}, or with a "
            "VLM of one of these"
        )
    return _complete(vlm, llm, whole=False)


def pair_vlms(vlm: Path | str, other: Path | str) -> Pairing:
    """Match every tensor of two VLMs of one family, tower and projector included; see `pair`."""
    return _complete(vlm, other, whole=True)


def is_same_family(vlm: Path | str, other: Path | str) -> bool:
    """Whether `other` is a VLM of the family of `vlm`, and no text-only model."""
    return read_config(other).get("model_type") == family_of(vlm).model_type


def _complete(vlm: Path | str, other: Path | str, whole: bool) -> Pairing:
    refuse_unlike(vlm, other)
    pairing, gaps = match(vlm, other, whole)
    if gaps:
        raise UserError(
            f"the two do not pair tensor by tensor ({'; '.join(gaps)}); "
            "give a model of the same architecture and size"
        )
    return pairing


def match(vlm: Path | str, other: Path | str, whole: bool) -> tuple[Pairing, tuple[str, ...]]:
    """What can be paired of `vlm` and `other`, and a phrase for each way in which it is not all.

    Args:
        vlm: Folder of the VLM.
        other: Folder of a text-only model or of another VLM.
        whole: Tower and projector too, of two VLMs of one family; else the language models.

    Raises:
        UserError: The VLM is of no known family, or a checkpoint is unsound.
    """
    sides = ("the VLM", "the other VLM" if row_of(other) else "the text-only model")
    ours, theirs = _sound_shapes(vlm), _sound_shapes(other)
    our_keys = vlm_keys(vlm, ours) if whole else decoder_keys(vlm, ours)
    their_keys = vlm_keys(other, theirs) if whole else language_keys(other, theirs)
    weights: list[Weight] = []
    alone: dict[str, list[str]] = {side: [] for side in sides}
    unlike: list[str] = []
    notes: list[str] = []
    for name in sorted({*our_keys, *their_keys}, key=_natural):
        layer, role = placed(name)
        wanted = role not in ("embedding", "head")
        if name not in our_keys or name not in their_keys:
            side = sides[name not in our_keys]
            if wanted:
                alone[side].append(name)
            else:
                notes.append(f"{name} is in {side} only (tied in the other)")
            continue
        mine, other_shape = ours[our_keys[name]], theirs[their_keys[name]]
        if mine == other_shape:
            weights.append(
                Weight(
                    name=name,
                    layer=layer,
                    role=role,
                    vlm_key=our_keys[name],
                    llm_key=their_keys[name],
                    shape=mine,
                )
            )
        elif wanted:
            unlike.append(f"{name} ({list(mine)} against {list(other_shape)})")
        else:
            notes.append(f"{name} is {list(mine)} in the VLM, {list(other_shape)} in the other")
    gaps = [f"only in {side}: {_some(names)}" for side, names in alone.items() if names]
    if unlike:
        gaps.append(f"of another shape: {_some(unlike)}")
    return Pairing(family_of(vlm), tuple(weights), tuple(notes)), tuple(gaps)


def placed(name: str) -> tuple[int | None, Role]:
    """Layer and role of any canonical name; tower and projector have no layer here."""
    return layer_and_role(name) or (None, "projector" if BRIDGE.search(name) else "tower")


def _sound_shapes(folder: Path | str) -> dict[str, tuple[int, ...]]:
    """Name → shape of the tensors in `folder`, whose numbers mean what they say.

    Raises:
        UserError: they are quantised.
    """
    config = read_config(folder)
    how = config.get("quantization_config") or text_config(config).get("quantization_config")
    if how:
        raise UserError(
            f"{folder} is quantised ({how.get('quant_method', 'config.json says so')}), and its "
            "numbers cannot be added up; give the checkpoint in bfloat16 or float32"
        )
    found = experts.apart(entries(folder))
    for name, entry in found.items():
        if layer_and_role(name[name.find("layers.") :]) and not FLOATS.fullmatch(entry.dtype):
            raise UserError(
                f"{name} in {folder} is stored as {entry.dtype}, which is quantised; give the "
                "checkpoint in bfloat16 or float32"
            )
    return {name: entry.shape for name, entry in found.items() if not _is_buffer(name, entry)}


def _is_buffer(name: str, entry: Entry) -> bool:
    """Whether it is computed, not trained: old checkpoints carry such."""
    counts = not FLOATS.fullmatch(entry.dtype) and "layers." not in name
    return counts or name.endswith("inv_freq")


def same_tensors(
    vlm: Path | str, checkpoint: Path | str, weights: Iterable[Weight]
) -> dict[str, str]:
    """Canonical name → name on disk in `checkpoint`, which was made from `vlm`.

    Raises:
        UserError: it is of another family, or lacks one of `weights`, or has it in another shape.
    """
    ours, theirs = family_of(vlm), family_of(checkpoint)
    if ours != theirs:
        raise UserError(f"{checkpoint} is a {theirs.name}, {vlm} a {ours.name}")
    there = shapes(checkpoint)
    keys = vlm_keys(checkpoint, there)
    wrong = [one.name for one in weights if there.get(keys.get(one.name, "")) != one.shape]
    if wrong:
        raise UserError(
            f"{checkpoint} lacks {len(wrong)} tensors of {vlm}, or has them in another shape "
            f"({', '.join(wrong[:5])}); give a checkpoint that was made from it"
        )
    return keys


def refuse_unpaired(pairing: Pairing, roles: tuple[Role, ...]) -> None:
    """Stop when one of `roles` was asked for and has not a single paired tensor.

    Raises:
        UserError: it is so: another vocabulary, a head that is tied to the embedding, or a part
            that a text-only model has not.
    """
    there = {weight.role for weight in pairing.weights}
    absent = [role for role in roles if role not in there]
    if absent:
        why = "; ".join(pairing.notes) or "tied to the embedding in both, or in one of them alone"
        raise UserError(f"no tensor of {' or '.join(absent)} can be paired ({why})")


def _some(names: list[str], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _natural(name: str) -> tuple:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))
