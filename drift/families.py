"""Where the language model lies inside each family of VLM, in the names that lie on disk.

One row a family. Names in memory change between versions of transformers, names on disk do not, so
everything that reads or writes weights works on these; `decoder` finds the same tensors in a live
model by looking for the text stack itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from common.errors import UserError
from common.typed import read_json
from drift import foreign

if TYPE_CHECKING:
    import torch

Role = Literal["attention", "mlp", "norm", "embedding", "head", "projector", "tower", "decay"]
ROLES: tuple[Role, ...] = get_args(Role)
"""`decay`: rates at which linear attention forgets, whose logarithms a merge would mix."""
DECODER_ROLES: tuple[Role, ...] = ("attention", "mlp", "norm")
BRIDGE = re.compile(r"projector|connector|merger|image_newline|perceiver")
"""What a parameter of the projector is known by; all else outside the language model is the
tower's."""

TEXT_LAYOUTS = (("model.", "lm_head."), ("model.language_model.", "lm_head."))
"""Of text-only models: Qwen3.5's lies as its VLM does."""
IN_LAYER = re.compile(
    r"layers\.(\d+)\.(?:"
    r"(self_attn\.|linear_attn\.|mlp\.(?:experts\.\d+\.|shared_experts?\.)?)?(\w+)\.(?:weight|bias)"
    r"|(mlp\.experts\.(?:gate_up|down)_proj|linear_attn\.(?:A_log|dt_bias)))"
)
"""A weight of a layer: the layer, the part and the module, or the whole name of one that is no
module's `weight` or `bias`: experts as they are in memory, rates of decay."""
BUFFERS = ("rotary_emb.inv_freq", "mlp.gate.e_score_correction_bias")
"""Ends of names in a layer that are computed, or set by how often experts were chosen."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of VLM."""

    name: str
    model_type: str
    """`model_type` in the checkpoint's config.json."""
    inside: str
    """`model_type` of the language model where config.json names none."""
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
_PLAIN = (("model.language_model.", "lm_head."),)
_IDEFICS = (("model.text_model.", "lm_head."),)

_LLAMAS = ("llama", "mistral", "qwen2")

# Name, model_type, that of the language model inside, those of its text-only partners, layouts.
_ROWS = (
    ("LLaVA-1.5", "llava", "llama", _LLAMAS, _INNER),
    ("LLaVA-NeXT", "llava_next", "llama", _LLAMAS, _INNER),
    ("LLaVA-OneVision", "llava_onevision", "qwen2", ("qwen2",), _INNER),
    ("Idefics2", "idefics2", "mistral", ("mistral",), _IDEFICS),
    ("Idefics3", "idefics3", "llama", ("llama",), _IDEFICS),
    ("SmolVLM", "smolvlm", "llama", ("llama",), _IDEFICS),
    ("Qwen2-VL", "qwen2_vl", "qwen2_vl_text", ("qwen2",), _QWEN),
    ("Qwen2.5-VL", "qwen2_5_vl", "qwen2_5_vl_text", ("qwen2", "mimo"), _QWEN),
    ("Qwen3-VL", "qwen3_vl", "qwen3_vl_text", ("qwen3",), _PLAIN),
    ("InternVL", "internvl", "qwen2", ("qwen2", "qwen3", "llama", "qwen3_moe"), _INNER),
    ("Qwen3-VL-MoE", "qwen3_vl_moe", "qwen3_vl_moe_text", ("qwen3_moe",), _PLAIN),
    ("Qwen3.5", "qwen3_5", "qwen3_5_text", ("qwen3_5_text",), _PLAIN),
    ("Qwen3.5-MoE", "qwen3_5_moe", "qwen3_5_moe_text", ("qwen3_5_moe_text",), _PLAIN),
    ("Gemma 3", "gemma3", "gemma3_text", ("gemma3_text",), _INNER),
    ("GLM-4.1V, 4.6V-Flash", "glm4v", "glm4v_text", ("glm4",), _PLAIN),
    ("GLM-4.6V, dense", "glm46v", "glm4v_text", ("glm4",), _PLAIN),
    ("GLM-4.5V, 4.6V", "glm4v_moe", "glm4v_moe_text", ("glm4_moe",), _PLAIN),
    ("Mistral Small 3, Ministral 3", "mistral3", "mistral", ("mistral", "ministral3"), _INNER),
    ("Command A Vision", "cohere2_vision", "cohere2", ("cohere2",), _PLAIN),
    ("Ovis2", "ovis2", "qwen2", ("qwen2",), _PLAIN),
    ("EXAONE 4.5", "exaone4_5", "exaone4", ("exaone4",), _PLAIN),
)
FAMILIES: tuple[Family, ...] = tuple(
    Family(
        name=name,
        model_type=model_type,
        inside=inside,
        text_types=text_types,
        layouts=layouts,
        pixels_per_row=layouts is _IDEFICS,
    )
    for name, model_type, inside, text_types, layouts in _ROWS
)
BY_TYPE = {family.model_type: family for family in FAMILIES}

_BY_LAYER = "its layers have tensors of several shapes, some no keys and values of their own"
NO_ROW = {
    "gemma3n": _BY_LAYER,
    "gemma4": _BY_LAYER,
    "gemma4_unified": _BY_LAYER,
    "kimi_k25": "its layers are named in two ways, and no reasoner of its text model is published",
    "lfm2_vl": "most of its layers are convolutions, which no reasoner shares",
    "llama4": "its experts are stored in a form of their own, and no reasoner has it",
    "mllama": "its layers of cross-attention are in no text-only model",
    "phi4_multimodal": "its towers lie inside the language model",
}
"""`model_type` → why there is no row."""


def read_config(folder: Path | str) -> dict:
    """Read `config.json` of a checkpoint folder.

    Raises:
        UserError: there is no such folder or file, or it is not JSON.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(
            foreign.told(Path(folder))
            or f"{folder} holds no config.json; give a folder with a Hugging Face checkpoint"
        )
    return read_json(path)


def text_config(config: dict) -> dict:
    """The part of `config` that describes the language model (itself, for a text-only model)."""
    return config.get("text_config") or config


def row_of(folder: Path | str) -> Family | None:
    """The row for the VLM in `folder`; None for a text-only model, and for other VLMs."""
    model_type = read_config(folder).get("model_type")
    return BY_TYPE.get(model_type) if isinstance(model_type, str) else None


def family_of(folder: Path | str) -> Family:
    """Find the row for the VLM in `folder`.

    Raises:
        UserError: it is of no known family; the sentence lists those that are.
    """
    family, model_type = row_of(folder), read_config(folder).get("model_type")
    if family is None:
        why = f": {NO_ROW[model_type]}" if model_type in NO_ROW else f" ({', '.join(BY_TYPE)})"
        raise UserError(
            f"{folder} has model_type {model_type!r}, which is no VLM family known here{why}; "
            "`eval` needs no family"
        )
    return family


def layer_and_role(name: str) -> tuple[int | None, Role] | None:
    """Layer and role of a canonical name; None for what is no weight of a decoder.

    >>> layer_and_role("layers.3.self_attn.q_proj.bias")
    (3, 'attention')
    >>> layer_and_role("layers.0.self_attn.q_norm.weight")
    (0, 'norm')
    >>> layer_and_role("norm.weight")
    (None, 'norm')
    >>> layer_and_role("layers.3.mlp.experts.7.up_proj.weight")
    (3, 'mlp')
    """
    outside: dict[str, Role] = {
        "embed_tokens.weight": "embedding",
        "norm.weight": "norm",
        "lm_head.weight": "head",
        "lm_head.bias": "head",
    }
    if name in outside:
        return None, outside[name]
    match = IN_LAYER.fullmatch(name)
    if match is None:
        return None
    layer, bare = int(match[1]), match[4]
    if bare:
        return (layer, "decay" if bare.startswith("linear") else "mlp")
    if "norm" in match[3]:
        return layer, "norm"
    if match[2] in ("self_attn.", "linear_attn."):
        return layer, "attention"
    return (layer, "mlp") if match[2] else None


def _canonical(keys: Mapping[str, tuple[int, ...]], prefix: str, head: str) -> dict[str, str]:
    """Canonical name → key, for the decoder under `prefix`."""
    found = {}
    for key in keys:
        if key.startswith(head):
            name = "lm_head." + key.removeprefix(head)
        elif key.startswith(prefix):
            name = key.removeprefix(prefix)
        else:
            continue
        if layer_and_role(name) is not None:
            found[name] = key
        elif name.startswith(("layers.", "lm_head.")) and not name.endswith(BUFFERS):
            raise UserError(
                f"{key} is no plain weight of a decoder (quantised, or a form of its own?)"
            )
    return found


def decoder_keys(folder: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Canonical name → name on disk, for the VLM in `folder` whose tensors are `shapes`.

    Raises:
        UserError: unknown family, or no decoder under any of the family's prefixes.
    """
    family = family_of(folder)
    shapes = _up_to_last_layer(folder, shapes, family.layouts)
    for layout in family.layouts:
        if _lies_at(layout[0], shapes):
            return _canonical(shapes, *layout)
    places = " or ".join(prefix for prefix, _ in family.layouts)
    raise UserError(
        f"{folder} is a {family.name} checkpoint, but no decoder lies under {places} "
        f"(first tensors: {', '.join(sorted(shapes)[:3])})"
    )


def _up_to_last_layer(
    folder: Path | str,
    shapes: Mapping[str, tuple[int, ...]],
    layouts: tuple[tuple[str, str], ...],
) -> Mapping[str, tuple[int, ...]]:
    """Leave out layers behind the last one that `config.json` counts: transformers drops them.

    They predict words ahead (`model.layers.46` of GLM-4.5-Air, `num_nextn_predict_layers`).
    """
    count = text_config(read_config(folder)).get("num_hidden_layers")
    if not isinstance(count, int):  # as in a configuration that is saved without defaults
        return shapes
    in_layer = re.compile(rf"(?:{'|'.join(re.escape(one) for one, _ in layouts)})layers\.(\d+)\.")
    placed = {name: in_layer.match(name) for name in shapes}
    return {name: shapes[name] for name, at in placed.items() if at is None or int(at[1]) < count}


def _lies_at(prefix: str, keys: Mapping[str, tuple[int, ...]]) -> bool:
    layers = any(key.startswith(f"{prefix}layers.") for key in keys)
    return layers and f"{prefix}embed_tokens.weight" in keys


def vlm_keys(folder: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """As `decoder_keys`, with tower and projector, under names that all layouts share.

    Layers that predict words ahead (`mtp.`, or behind the last) are left out: transformers drops
    them.
    """
    inside = decoder_keys(folder, shapes)
    shapes = _up_to_last_layer(folder, shapes, family_of(folder).layouts)
    rest = {
        key
        for key in shapes.keys() - inside.values()
        if not key.startswith("mtp.") and not key.endswith(BUFFERS)
    }
    return inside | {key.removeprefix("model."): key for key in sorted(rest)}


def text_keys(folder: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """As `decoder_keys`, for the text-only model in `folder`."""
    shapes = _up_to_last_layer(folder, shapes, TEXT_LAYOUTS)
    layout = next((one for one in TEXT_LAYOUTS if _lies_at(one[0], shapes)), TEXT_LAYOUTS[0])
    return _canonical(shapes, *layout)


def language_keys(folder: Path | str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """As `decoder_keys`, for a VLM or a text-only model."""
    return decoder_keys(folder, shapes) if row_of(folder) else text_keys(folder, shapes)


def shape_of(param: "torch.nn.Parameter") -> tuple[int, ...]:
    """The shape of a live matrix; one in 4 bits is packed, and tells its own elsewhere."""
    return tuple(getattr(getattr(param, "quant_state", None), "shape", param.shape))


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
