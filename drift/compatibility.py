"""What makes two models ill-matched, as far as it shows without their weights."""

from pathlib import Path
from typing import Any

from common.errors import UserError
from common.typed import read_json
from drift.families import decoder_keys, language_keys, read_config, row_of, text_config
from drift.headers import shapes

QWEN_VL = {"num_attention_heads": 64, "num_key_value_heads": 8, "rope_theta": 1e6}
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"num_attention_heads": 32, "rope_theta": 1e4},
    "mistral": {"num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 1e4},
    "qwen2": {"num_attention_heads": 32, "num_key_value_heads": 32, "rope_theta": 1e4},
    "qwen3": {"num_attention_heads": 32, "num_key_value_heads": 32, "rope_theta": 1e4},
    "ministral3": {"num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 1e6},
    "glm4": {"num_attention_heads": 32, "num_key_value_heads": 2, "rope_theta": 1e4},
    "glm4v_text": {"num_attention_heads": 32, "num_key_value_heads": 2, "rope_theta": 1e4},
    "glm4_moe": {"num_attention_heads": 96, "num_key_value_heads": 8, "rope_theta": 1e4},
    "glm4v_moe_text": {"num_attention_heads": 96, "num_key_value_heads": 8, "rope_theta": 1e4},
    "qwen3_moe": {"num_attention_heads": 32, "num_key_value_heads": 4, "rope_theta": 1e4},
    "qwen3_vl_moe_text": {
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "rope_theta": 5e5,
    },
    "qwen3_5_text": {"num_attention_heads": 16, "num_key_value_heads": 4, "rope_theta": 1e4},
    "qwen3_5_moe_text": {"num_attention_heads": 16, "num_key_value_heads": 2, "rope_theta": 1e4},
    "cohere2": {"num_attention_heads": 64, "num_key_value_heads": 64, "rope_theta": 1e4},
    "exaone4": {"num_attention_heads": 32, "num_key_value_heads": 32, "rope_theta": 1e4},
    "gemma3_text": {"num_attention_heads": 8, "num_key_value_heads": 4, "rope_theta": 1e6},
    "qwen2_vl_text": QWEN_VL,
    "qwen2_5_vl_text": QWEN_VL,
    "qwen3_vl_text": {"num_attention_heads": 32, "num_key_value_heads": 32, "rope_theta": 5e5},
}
"""What a `config.json` leaves out, by the type of the language model: the defaults of the classes
of transformers 5.19, which take seconds to import."""
SILENT = {"mistral3": {"rope_theta": 1e9}}
"""Likewise of a VLM's `config.json` that has no `text_config`, where it is not its type's."""

HEADS = ("num_attention_heads", "num_key_value_heads")
COMPARED = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_experts",
    "n_routed_experts",
    "num_experts_per_tok",
    *HEADS,
    "rms_norm_eps",
    "vocab_size",
)


def refuse_unlike(vlm: Path | str, llm: Path | str) -> None:
    """Stop where the shapes of two decoders may agree and what they compute does not.

    Raises:
        UserError: The language models are of other types, or split their tensors into other heads.
    """
    ours, theirs = settings(vlm), settings(llm)
    if not text_types(vlm) & text_types(llm):
        types = ours["model_type"], theirs["model_type"]
        raise UserError(
            f"the language model inside {vlm} is a {types[0]}, {llm} is a {types[1]}: give a "
            f"model that was made from the same {types[0]}"
        )
    for name in HEADS:
        if ours[name] != theirs[name]:
            raise UserError(
                f"{name} is {ours[name]} in {vlm}, {theirs[name]} in {llm}: the same numbers would "
                "mean other heads; give a model of the same architecture and size"
            )


def text_types(folder: Path | str) -> set[str]:
    """Return what type of text-only model the language model in `folder` may come from."""
    kind, family = str(settings(folder)["model_type"]), row_of(folder)
    # Qwen-VL's language models are types of their own (`qwen2_5_vl_text`), which no text model is.
    return {kind} if family is None or kind in family.text_types else {*family.text_types}


def settings(folder: Path | str) -> dict[str, Any]:
    """Return what `config.json` says of the language model, defaults and `rope_theta` included."""
    config = read_config(folder)
    text = text_config(config)
    kind = text.get("model_type")
    family = row_of(folder)
    if family and (text is config or not kind):
        kind = family.inside
    known = {name: value for name, value in text.items() if value is not None}
    silent = SILENT.get(str(config.get("model_type")), {}) if text is config else {}
    found = {**DEFAULTS.get(str(kind), {}), **silent, **known, "model_type": kind}
    found.setdefault("num_key_value_heads", found.get("num_attention_heads"))
    for name in HEADS:
        found.setdefault(name, None)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    rope = rope.get("full_attention", rope)  # of Gemma's two kinds of layers
    places = (rope, text, config, found)
    theta = next((one["rope_theta"] for one in places if one.get("rope_theta")), 1e4)
    # The sections of a VLM's multimodal rotary embedding share the positions of text among
    # themselves and stretch nothing.
    scaled = rope.get("rope_type", rope.get("type", "default"))
    return found | {
        "rope_theta": float(theta),
        "rope_type": "default" if scaled == "mrope" else scaled,
    }


def warnings(vlm: Path | str, llm: Path | str) -> list[str]:
    """What a merge or a prior of the two has to reckon with, a sentence each."""
    ours, theirs = settings(vlm), settings(llm)
    found = []
    if ours["rope_theta"] != theirs["rope_theta"]:
        found.append(
            f"rope_theta is {ours['rope_theta']:g} in the VLM, {theirs['rope_theta']:g} in the "
            "other: positions mean different things to the two, and merges of such pairs are "
            "known to break"
        )
    kinds = ours["rope_type"], theirs["rope_type"]
    if kinds[0] != kinds[1]:
        found.append(f"positions are scaled as {kinds[0]} in the VLM, as {kinds[1]} in the other")
    for name in COMPARED:
        mine, other = ours.get(name), theirs.get(name)
        if mine is not None and other is not None and mine != other:
            found.append(f"{name} is {mine} in the VLM, {other} in the other")
    there = shapes(vlm)
    sides = decoder_keys(vlm, there), language_keys(llm, shapes(llm))
    biased = [any(name.endswith("q_proj.bias") for name in names) for names in sides]
    if biased[0] != biased[1]:
        found.append(f"only {'the VLM' if biased[0] else 'the other'} has attention biases")
    return found + _of_tokenizers(Path(vlm), Path(llm))


def _of_tokenizers(vlm: Path, llm: Path) -> list[str]:
    words = [_vocabulary(folder) for folder in (vlm, llm)]
    if not words[0] or not words[1]:
        without = " and ".join(
            str(folder) for folder, one in zip((vlm, llm), words, strict=True) if not one
        )
        return [f"no tokenizer.json to compare in {without}"]
    found = []
    moved = [word for word, number in words[0].items() if words[1].get(word, number) != number]
    if moved:
        found.append(
            f"the tokenizers give different numbers to {len(moved)} of their common words "
            f"({', '.join(repr(word) for word in moved[:3])}): they are not of one line"
        )
    ours, theirs = ({number: word for word, number in one.items()} for one in words)
    taken = [
        f"{number} is {ours[number]!r} and {theirs[number]!r}"
        for number in sorted(ours.keys() & theirs.keys())
        if ours[number] != theirs[number] and not {ours[number], theirs[number]} & {*moved}
    ]
    if taken:
        found.append(
            f"{len(taken)} numbers stand for one word in the VLM and another in the other "
            f"({'; '.join(taken[:2])})"
        )
    return found


def _vocabulary(folder: Path) -> dict[str, int]:
    """Word → number, added tokens included; empty where there is no `tokenizer.json`."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return {}
    content = read_json(path)
    words = content.get("model", {}).get("vocab", {})
    known = words if isinstance(words, dict) else {word: i for i, (word, _) in enumerate(words)}
    return known | {one["content"]: one["id"] for one in content.get("added_tokens") or ()}
