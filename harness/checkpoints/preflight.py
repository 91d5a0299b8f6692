"""What is this model: found, checked before any engine starts, and named by its content.

    checkpoint = open_checkpoint("runs/pocket/llava_next/vlm")

A checkpoint is a local folder in the Hugging Face layout, or a hub id (`owner/name[@revision]`)
that is fetched first; a LoRA adapter is opened with the model that it was made for. Weights are
safetensors only: a pickle can run code when it is read.
"""

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import hub
from common.errors import UserError
from common.provenance import MADE, read_made
from drift import chat_template, foreign
from harness.checkpoints.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, open_adapter
from harness.checkpoints.kinds import VISION, AdaptedModel, ModelFolder
from harness.checkpoints.weights import Header, digests, header
from harness.runs.schema import canonical

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

SHAPING = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.json",
    "video_preprocessor_config.json",
    *TOKENIZERS,
    *PROCESSORS,
    "*.jinja",
    "additional_chat_templates/*.jinja",
)
"""Files beside the weights that shape an answer."""

NOTES = ("_name_or_path", "transformers_version")
"""Fields of a config.json that shape no answer: where it was saved, and by which version."""

INDEX = "model.safetensors.index.json"

PIXELS = (
    "size",
    "crop_size",
    "min_pixels",
    "max_pixels",
    "max_image_size",
    "patch_size",
    "merge_size",
    "image_grid_pinpoints",
    "min_patches",
    "max_patches",
    "do_resize",
    "do_image_splitting",
    "do_pad",
)
"""Settings of an image processor that decide how many pixels the model sees."""


def quantization(config: dict[str, Any]) -> str | None:
    """Return how a model's weights are quantised (`awq`, `fp8`, …), None where they are not."""
    settings = config.get("quantization_config") or config.get("compression_config")
    return str((settings or {}).get("quant_method", "unnamed")) if settings else None


def declared_dtype(config: dict[str, Any]) -> str:
    """Return the type that a model says it computes in; bfloat16 where it says no usual one."""
    text = config.get("text_config") or {}
    names = [part.get(field) for part in (config, text) for field in ("dtype", "torch_dtype")]
    declared = next((name for name in names if name), "bfloat16")
    return declared if declared in ("float32", "float16", "bfloat16") else "bfloat16"


def open_checkpoint(
    where: str | Path, base: str | Path | None = None, template: Path | None = None
) -> ModelFolder | AdaptedModel:
    """Find a checkpoint, check it, and name it by its content.

    Args:
        where: Folder or hub id of a model, or of a LoRA adapter.
        base: The model under an adapter, instead of the one that it names.
        template: File with a chat template, instead of the checkpoint's own.

    Raises:
        UserError: It cannot be used; the sentence says what is wrong with it.
    """
    path, name = _find(str(where))
    given = None if template is None else chat_template.given(template)
    notes = (f"asked with the chat template of {template}",) if given else ()
    if _is_adapter(path):
        return _open_adapter(path, name, base, given, notes)
    if base:
        raise UserError(f"{path} is a whole model: --base is for an adapter")
    return replace(_open_model(path, name, given), notes=notes)


def _open_model(path: Path, name: str, template: str | None) -> ModelFolder:
    config = _config(path)
    is_multimodal = any(field in config for field in VISION)
    headers = {shard: header(shard) for shard in _shards(path)}
    _check_index(path, {shard.name: table for shard, table in headers.items()})
    prompting = template or chat_template.own(path, is_multimodal) or ""
    _check_companions(path, is_multimodal, has_template=bool(prompting))
    _check_image_token(path, config)
    shaping = _shaping(path)
    if template is not None:
        shaping["--chat-template"] = _sha256(template)
    tensors = {
        tensor: [entry["dtype"], entry["shape"]]
        for table in headers.values()
        for tensor, entry in table.items()
    }
    return ModelFolder(
        path=path,
        name=name,
        fingerprint=_sha256(canonical({"weights": digests(headers), "files": shaping})),
        surroundings=_sha256(canonical({"tensors": tensors, "files": shaping})),
        config=config,
        made=_made(path),
        pixels=_pixels(path) if is_multimodal else {},
        template=prompting,
    )


def _open_adapter(
    path: Path,
    name: str,
    base: str | Path | None,
    template: str | None,
    notes: tuple[str, ...],
) -> AdaptedModel:
    """Open an adapter on its base; a chat template beside it is the one that it was trained on."""
    config = _read_json(path, ADAPTER_CONFIG)
    where = str(base or config.get("base_model_name_or_path") or "")
    if not where:
        raise UserError(f"{path} is an adapter that names no base model: give it with --base")
    if not base and config.get("revision") and "@" not in where:
        where += f"@{config['revision']}"
    try:
        base_path, base_name = _find(where)
    except UserError as error:
        raise UserError(f"{path} is an adapter, and {error}; --base names another place") from error
    if _is_adapter(base_path):
        raise UserError(
            f"{path} is an adapter on another adapter, {base_path}: merge that one first"
        )
    own = chat_template.own(path, of_processor=True)
    brought = own if own != chat_template.own(base_path, of_processor=True) else None
    model = _open_model(base_path, base_name, template or brought)
    adapter = open_adapter(path, config, _tensors(base_path))
    parent = {"role": "base", "path": str(base_path), "fingerprint": model.fingerprint}
    settings = {field: config.get(field) for field in ("r", "lora_alpha", "target_modules")}
    made = {"method": "lora", "name": name, "parents": [parent], "settings": settings}
    said = [f"a LoRA adapter of rank {adapter.rank} on {base_path}"]
    if brought and not template:
        said.append("asked with the chat template beside the adapter, which its base has otherwise")
    return AdaptedModel(
        folder=model,
        adapter=adapter,
        name=name,
        made=_made(path) or made,
        notes=(*said, *notes),
    )


# Where it is


def _find(where: str) -> tuple[Path, str]:
    path = Path(os.path.abspath(hub.local(where)))
    if not path.is_dir():
        raise UserError(f"{path} is a file: a checkpoint is a folder with config.json and weights")
    if not (path / "config.json").exists() and not _is_adapter(path):
        raise UserError(foreign.told(path) or f"{path} is no checkpoint: it has no config.json")
    fetched = not Path(where).expanduser().exists()
    return path, where.partition("/")[2].replace("/", "-") if fetched else path.name


def _is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter, and no model beside it."""
    weights = {file.name for file in path.glob("*.safetensors")} - {ADAPTER_WEIGHTS}
    return (path / ADAPTER_CONFIG).exists() and not weights


# What is in it


def _config(path: Path) -> dict[str, Any]:
    config = _read_json(path, "config.json")
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise UserError(f"{path}/config.json names no architecture (field architectures)")
    for field in ("text_config", "quantization_config", "compression_config"):
        if not isinstance(config.get(field) or {}, dict):
            raise UserError(f"{path}/config.json: its {field} is no JSON object")
    return config


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((path / name).read_text())
    except ValueError as error:
        raise UserError(f"{path / name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path / name} is not a JSON object")
    return content


def _shards(path: Path) -> list[Path]:
    """Return the weight files: those that the index names, or all there are."""
    present = sorted({file.name for file in path.glob("*.safetensors")} - {ADAPTER_WEIGHTS})
    if not present:
        pickles = sorted(found.name for pattern in PICKLES for found in path.glob(pattern))
        raise UserError(
            f"{path} has its weights as pickle only ({pickles[0]}), which can run code when read: "
            "convert them to safetensors"
            if pickles
            else f"{path} has no weights: no *.safetensors beside config.json"
        )
    if (path / INDEX).exists():
        wanted = sorted(set(_read_json(path, INDEX).get("weight_map", {}).values()))
    else:
        wanted = _numbered(present)
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of {len(wanted)} weight files, the first is {missing[0]}"
        )
    return [path / name for name in wanted]


def _numbered(present: list[str]) -> list[str]:
    """Complete names like `model-00001-of-00003.safetensors` to the whole series."""
    series = re.fullmatch(r"(.*-)(\d+)-of-(\d+)(\.safetensors)", present[0])
    if not series:
        return present
    stem, digits, count, suffix = series.groups()
    numbers = (str(number).zfill(len(digits)) for number in range(1, int(count) + 1))
    return [f"{stem}{number}-of-{count}{suffix}" for number in numbers]


def _tensors(path: Path) -> Header:
    """Return all tensors of a model."""
    return {name: entry for shard in _shards(path) for name, entry in header(shard).items()}


def _check_index(path: Path, headers: dict[str, Header]) -> None:
    """Check that every tensor of the index lies in the shard it names."""
    if not (path / INDEX).exists():
        return
    for tensor, shard in _read_json(path, INDEX)["weight_map"].items():
        if tensor not in headers[shard]:
            raise UserError(f"{path / shard} lacks the tensor {tensor} that the index puts there")


def _check_companions(path: Path, is_multimodal: bool, has_template: bool) -> None:
    """Check for tokenizer, chat template and image processor."""
    if not any((path / name).exists() for name in TOKENIZERS):
        raise UserError(f"{path} has no tokenizer: none of {', '.join(TOKENIZERS)}")
    if is_multimodal and not any((path / name).exists() for name in PROCESSORS):
        raise UserError(f"{path} takes images but has no {' or '.join(PROCESSORS)}")
    if not has_template:
        raise UserError(
            f"{path} has no chat template (chat_template.jinja, or the field chat_template in "
            "tokenizer_config.json): a base model cannot be asked questions, unless "
            "--chat-template FILE says how"
        )


def _check_image_token(path: Path, config: dict[str, Any]) -> None:
    """Check that the tokenizer knows the token that stands for a picture."""
    token = config.get("image_token_id", config.get("image_token_index"))
    if not isinstance(token, int) or not (path / "tokenizer.json").exists():
        return
    content = _read_json(path, "tokenizer.json")
    try:
        known = {entry["id"] for entry in content.get("added_tokens") or ()}
        vocabulary = (content.get("model") or {}).get("vocab") or {}
        # Of a Unigram model the places are the tokens.
        is_listed = isinstance(vocabulary, list)
        known |= set(range(len(vocabulary)) if is_listed else vocabulary.values())
    except (TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{path}/tokenizer.json is no tokenizer: {error!r}") from error
    if known and token not in known:
        raise UserError(
            f"{path} takes token {token} for a picture (config.json), which its tokenizer lacks: "
            "take the tokenizer that belongs to it"
        )


def _made(path: Path) -> dict[str, Any] | None:
    return _read_json(path, MADE) if read_made(path) else None


def _pixels(path: Path) -> dict[str, Any]:
    for name in reversed(PROCESSORS):
        if (path / name).exists():
            content = _read_json(path, name)
            settings = content.get("image_processor", content)
            if not isinstance(settings, dict):
                raise UserError(f"{path / name}: its image_processor is no JSON object")
            found = {field: settings[field] for field in PIXELS if settings.get(field) is not None}
            if found:
                return found
    return {}


# Its name by content


def _shaping(path: Path) -> dict[str, str]:
    found = sorted({file for pattern in SHAPING for file in path.glob(pattern)})
    return {str(file.relative_to(path)): _sha256(_content(file)) for file in found}


def _content(file: Path) -> str | bytes:
    if file.name != "config.json":
        return file.read_bytes()
    config = _read_json(file.parent, file.name)
    return canonical({k: v for k, v in config.items() if k not in NOTES})


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
