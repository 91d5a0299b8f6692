"""Where the language model lies inside each family of VLM, in the names that lie on disk.

One row a family. Names in memory change between versions of transformers, names on disk do not, so
everything that reads or writes weights works on these. `pair` matches each tensor of a VLM's
decoder with the same tensor of a text-only model, or stops; `decoder` finds the same tensors in a
live model by looking for the text stack itself.

    driftbench families --check VLM LLM
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import UserError
from common.files import read_json

if TYPE_CHECKING:
    import torch

Role = Literal["attention", "mlp", "norm", "embedding", "head"]
ROLES: tuple[Role, ...] = ("attention", "mlp", "norm", "embedding", "head")
DECODER_ROLES: tuple[Role, ...] = ("attention", "mlp", "norm")

TEXT_PREFIX = "model."
TEXT_HEAD = "lm_head."


@dataclass(frozen=True)
class Family:
    """One family of VLM."""

    name: str
    model_type: str
    """`model_type` in the checkpoint's config.json."""
    text_types: tuple[str, ...]
    """Admitted `model_type` of the text-only partner."""
    layouts: tuple[tuple[str, str], ...]
    """What stands before `layers.0…`, `embed_tokens`, `norm` on disk, and before `weight` of the
    head: the hub's form first, then what other writers left behind."""
    pixels_per_row: bool = False
    """Whether `pixel_values` has one entry a row (of all its pictures), not one a picture."""


_INNER = (
    ("language_model.model.", "language_model.lm_head."),
    ("model.language_model.", "lm_head."),
)
_QWEN = (("model.", "lm_head."), ("model.language_model.", "lm_head."))
_QWEN3 = (("model.language_model.", "lm_head."),)
_IDEFICS = (("model.text_model.", "lm_head."),)

FAMILIES: tuple[Family, ...] = (
    Family("LLaVA-1.5", "llava", ("llama", "mistral", "qwen2"), _INNER),
    Family("LLaVA-NeXT", "llava_next", ("llama", "mistral", "qwen2"), _INNER),
    Family("LLaVA-OneVision", "llava_onevision", ("qwen2",), _INNER),
    Family("Idefics2", "idefics2", ("mistral",), _IDEFICS, pixels_per_row=True),
    Family("Idefics3", "idefics3", ("llama",), _IDEFICS, pixels_per_row=True),
    Family("SmolVLM", "smolvlm", ("llama",), _IDEFICS, pixels_per_row=True),
    Family("Qwen2-VL", "qwen2_vl", ("qwen2",), _QWEN),
    Family("Qwen2.5-VL", "qwen2_5_vl", ("qwen2",), _QWEN),
    Family("Qwen3-VL", "qwen3_vl", ("qwen3",), _QWEN3),
    Family("InternVL", "internvl", ("qwen2", "qwen3", "llama"), _INNER),
    Family("Gemma 3", "gemma3", ("gemma3_text",), _INNER),
)


@dataclass(frozen=True)
class Weight:
    """One tensor of the decoder, with its place in both checkpoints."""

    name: str
    """Canonical: `layers.3.self_attn.q_proj.weight`, `embed_tokens.weight`, `lm_head.weight`."""
    layer: int | None
    role: Role
    vlm_key: str
    llm_key: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Pairing:
    """The decoder of a VLM beside a text-only model."""

    family: Family
    weights: tuple[Weight, ...]
    """Every tensor that both sides have in the same shape; decoder tensors are complete."""
    notes: tuple[str, ...]
    """What could not be paired outside the decoder: vocabulary, tied heads."""


def read_config(folder: Path | str) -> dict:
    """Read `config.json` of a checkpoint folder.

    Raises:
        UserError: there is no such folder or file, or it is not JSON.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(
            f"{folder} holds no config.json; give a folder with a Hugging Face checkpoint"
        )
    return read_json(path)


def text_config(config: dict) -> dict:
    """The part of `config` that describes the language model (itself, for a text-only model)."""
    return config.get("text_config") or config


def family_of(folder: Path | str) -> Family:
    """Find the row for the VLM in `folder`.

    Raises:
        UserError: it is of no known family; the sentence lists those that are.
    """
    model_type = read_config(folder).get("model_type")
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    known = ", ".join(family.model_type for family in FAMILIES)
    raise UserError(
        f"{folder} has model_type {model_type!r}, which is no VLM family known here ({known})"
    )


def layer_and_role(name: str) -> tuple[int | None, Role] | None:
    """Layer and role of a canonical name; None for what is no weight of a decoder.

    >>> layer_and_role("layers.3.self_attn.q_proj.bias")
    (3, 'attention')
    >>> layer_and_role("layers.0.self_attn.q_norm.weight")
    (0, 'norm')
    >>> layer_and_role("norm.weight")
    (None, 'norm')
    """
    outside: dict[str, Role] = {
        "embed_tokens.weight": "embedding",
        "norm.weight": "norm",
        "lm_head.weight": "head",
        "lm_head.bias": "head",
    }
    if name in outside:
        return None, outside[name]
    match = re.fullmatch(r"layers\.(\d+)\.(?:(self_attn|mlp)\.)?(\w+)\.(weight|bias)", name)
    if match is None:
        return None
    layer = int(match[1])
    if "norm" in match[3]:
        return layer, "norm"
    if match[2] == "self_attn":
        return layer, "attention"
    return (layer, "mlp") if match[2] == "mlp" else None


def _canonical(keys: Mapping[str, tuple[int, ...]], prefix: str, head: str) -> dict[str, str]:
    """Canonical name → key, for the decoder under `prefix`."""
    found = {}
    for key in keys:
        if key.startswith(head):
            name = TEXT_HEAD + key.removeprefix(head)
        elif key.startswith(prefix):
            name = key.removeprefix(prefix)
        else:
            continue
        if layer_and_role(name) is not None:
            found[name] = key
        # inv_freq is a buffer that old checkpoints carry.
        elif name.startswith(("layers.", TEXT_HEAD)) and not name.endswith("rotary_emb.inv_freq"):
            raise UserError(f"{key} is no plain weight of a dense decoder (experts, quantised?)")
    return found


def decoder_keys(folder: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Canonical name → name on disk, for the VLM in `folder` whose tensors are `shapes`.

    Raises:
        UserError: unknown family, or no decoder under any of the family's prefixes.
    """
    family = family_of(folder)
    for prefix, head in family.layouts:
        if f"{prefix}embed_tokens.weight" in shapes and any(
            key.startswith(f"{prefix}layers.") for key in shapes
        ):
            return _canonical(shapes, prefix, head)
    places = " or ".join(prefix for prefix, _ in family.layouts)
    raise UserError(
        f"{folder} is a {family.name} checkpoint, but no decoder lies under {places} "
        f"(first tensors: {', '.join(sorted(shapes)[:3])})"
    )


def text_keys(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Canonical name → name on disk, for a text-only model whose tensors are `shapes`."""
    return _canonical(shapes, TEXT_PREFIX, TEXT_HEAD)


def pair(vlm: Path | str, llm: Path | str) -> Pairing:
    """Match every decoder tensor of `vlm` with that of the text-only `llm`.

    Attention, MLP and norm tensors (weights and biases) must all have a partner of the same shape.
    Embeddings and head may differ in vocabulary or be tied: that becomes a note.

    Raises:
        UserError: a tensor has no partner; the sentence names the orphans of both sides.
    """
    family = family_of(vlm)
    llm_type = read_config(llm).get("model_type")
    if llm_type not in family.text_types:
        raise UserError(
            f"{llm} has model_type {llm_type!r}, but the language model inside {family.name} "
            f"({vlm}) pairs with {' or '.join(family.text_types)}"
        )
    pairing, gaps = match(vlm, llm)
    if gaps:
        raise UserError(
            f"the decoders do not pair tensor by tensor ({'; '.join(gaps)}); "
            "give a text-only model of the same architecture and size"
        )
    return pairing


def match(vlm: Path | str, llm: Path | str) -> tuple[Pairing, tuple[str, ...]]:
    """What can be paired of `vlm` and `llm`, and a phrase for each way in which it is not all.

    Raises:
        UserError: the VLM is of no known family, or a checkpoint is unsound.
    """
    vlm_shapes, llm_shapes = _sound_shapes(vlm), _sound_shapes(llm)
    vlm_keys, llm_keys = decoder_keys(vlm, vlm_shapes), text_keys(llm_shapes)
    weights: list[Weight] = []
    alone: dict[str, list[str]] = {"the VLM": [], "the text-only model": []}
    unlike: list[str] = []
    notes: list[str] = []
    for name in sorted({*vlm_keys, *llm_keys}, key=_natural):
        placed = layer_and_role(name)
        assert placed is not None
        layer, role = placed
        if name not in vlm_keys or name not in llm_keys:
            side = "the VLM" if name in vlm_keys else "the text-only model"
            if role in DECODER_ROLES:
                alone[side].append(name)
            else:
                notes.append(f"{name} is in {side} only (tied in the other)")
            continue
        ours, theirs = vlm_shapes[vlm_keys[name]], llm_shapes[llm_keys[name]]
        if ours == theirs:
            weights.append(Weight(name, layer, role, vlm_keys[name], llm_keys[name], ours))
        elif role in DECODER_ROLES:
            unlike.append(f"{name} ({list(ours)} against {list(theirs)})")
        else:
            notes.append(f"{name} is {list(ours)} in the VLM, {list(theirs)} in the other")
    gaps = [f"only in {side}: {_some(names)}" for side, names in alone.items() if names]
    if unlike:
        gaps.append(f"of another shape: {_some(unlike)}")
    return Pairing(family_of(vlm), tuple(weights), tuple(notes)), tuple(gaps)


def _sound_shapes(folder: Path | str) -> dict[str, tuple[int, ...]]:
    """Name → shape of the tensors in `folder`, whose numbers mean what they say.

    Raises:
        UserError: they are quantised.
    """
    from drift.headers import entries

    config = read_config(folder)
    how = config.get("quantization_config") or text_config(config).get("quantization_config")
    if how:
        raise UserError(
            f"{folder} is quantised ({how.get('quant_method', 'config.json says so')}), and its "
            "numbers cannot be added up; give the checkpoint in bfloat16 or float32"
        )
    found = entries(folder)
    for name, entry in found.items():
        placed = layer_and_role(name[name.find("layers.") :])
        if placed and not re.fullmatch("b?float(16|32|64)", entry.dtype):
            raise UserError(
                f"{name} in {folder} is stored as {entry.dtype}, which is quantised; give the "
                "checkpoint in bfloat16 or float32"
            )
    return {name: entry.shape for name, entry in found.items()}


def same_decoder(
    vlm: Path | str, checkpoint: Path | str, weights: Iterable[Weight]
) -> dict[str, str]:
    """Canonical name → name on disk in `checkpoint`, which was made from `vlm`.

    Raises:
        UserError: it is of another family, or lacks one of `weights`, or has it in another shape.
    """
    from drift.headers import shapes

    ours, theirs = family_of(vlm), family_of(checkpoint)
    if ours != theirs:
        raise UserError(f"{checkpoint} is a {theirs.name}, {vlm} a {ours.name}")
    there = shapes(checkpoint)
    keys = decoder_keys(checkpoint, there)
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
        UserError: it is so: another vocabulary, or a head that is tied to the embedding.
    """
    there = {weight.role for weight in pairing.weights}
    absent = [role for role in roles if role not in there]
    if absent:
        why = "; ".join(pairing.notes) or "tied to the embedding in both"
        raise UserError(f"no tensor of {' or '.join(absent)} can be paired ({why})")


def _some(names: list[str], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _natural(name: str) -> tuple:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))


# Wrappers that put a segment of their own into parameter names.
_WRAPPERS = re.compile(r"(_checkpoint_wrapped_module|_orig_mod|module)\.")


def decoder(model: "torch.nn.Module") -> "tuple[torch.nn.Module, dict[str, torch.nn.Parameter]]":
    """Find the language model inside a live `model`, of any family, or of a text-only model.

    It is the one module that has `embed_tokens`, `layers` and `norm` and as many layers as the
    text configuration says; no path is assumed, so a renamed attribute does not matter.

    Returns:
        The module, and its parameters under canonical names (the head, if not tied, included).

    Raises:
        UserError: none or several such modules.
    """
    from torch.nn import Module

    bare: Any = model
    while isinstance(getattr(bare, "module", None), Module):
        bare = bare.module
    config = getattr(bare, "config", None)
    if config is None:
        raise UserError(f"{type(model).__name__} has no config, so its decoder cannot be found")
    layers = config.get_text_config().num_hidden_layers
    stacks = [
        (path, module)
        for path, module in bare.named_modules()
        if all(hasattr(module, part) for part in ("embed_tokens", "layers", "norm"))
        and len(module.layers) == layers
    ]
    if len(stacks) != 1:
        places = ", ".join(path or "the model itself" for path, _ in stacks) or "none"
        raise UserError(
            f"{type(bare).__name__} should hold one language model of {layers} layers, found "
            f"{len(stacks)} ({places})"
        )
    stack = stacks[0][1]
    found = {_WRAPPERS.sub("", name): tensor for name, tensor in stack.named_parameters()}
    head = bare.get_output_embeddings()
    if head is not None:
        inside = {id(tensor) for tensor in found.values()}
        for name, tensor in head.named_parameters():
            if id(tensor) not in inside:
                found[f"lm_head.{_WRAPPERS.sub('', name)}"] = tensor
    return stack, found
