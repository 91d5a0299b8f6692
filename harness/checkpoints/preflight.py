"""What is this model: found, checked before any engine starts, and named by its content.

    checkpoint = open_checkpoint("runs/pocket/llava_next/vlm")

A checkpoint is a local folder in the Hugging Face layout, or a hub id (`owner/name[@revision]`)
that is fetched first; a LoRA adapter is opened with the model that it was made for. Weights are
safetensors only: a pickle can run code when it is read.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import hub
from common.errors import UserError
from common.provenance import Made, Parent, digest, read_made
from common.typed import read_json
from drift import chat_template, foreign
from drift.adapter_folder import ADAPTER_CONFIG, is_adapter, open_adapter, refuse_other_base
from drift.fingerprints import PROCESSORS, TOKENIZERS, digests, sha256, shaping
from drift.headers import entries, headers
from harness.checkpoints.kinds import AdaptedModel, ModelFolder, sees
from harness.checkpoints.own_code import admit

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
    # Gemma 3 and 4
    *("do_pan_and_scan", "max_soft_tokens", "pooling_kernel_size"),
    # LFM2-VL, Mllama, Llama 4
    *("min_image_tokens", "max_image_tokens", "tile_size", "min_tiles", "max_tiles"),
    *("downsample_factor", "encoder_patch_size", "max_image_tiles", "resize_to_max_canvas"),
    # InternVL, Ovis2, Cohere; MiniCPM-V; DeepSeek-VL; Kimi-VL
    *("crop_to_patches", "slice_mode", "max_slice_nums", "scale_resolution", "downsample_mode"),
    *("min_size", "in_token_limit"),
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
    where: str | Path,
    base: str | Path | None = None,
    template: Path | None = None,
    trusted: str | None = None,
) -> ModelFolder | AdaptedModel:
    """Find a checkpoint, check it, and name it by its content.

    Args:
        where: Folder or hub id of a model, or of a LoRA adapter.
        base: The model under an adapter, instead of the one that it names.
        template: File with a chat template, instead of the checkpoint's own.
        trusted: Digest of the code of its own that it may run: see `own_code`.

    Raises:
        UserError: It cannot be used; the sentence says what is wrong with it.
    """
    path, name = _find(str(where))
    given = None if template is None else chat_template.given(template)
    notes = (f"asked with the chat template of {template}",) if given else ()
    if is_adapter(path):
        if trusted:
            raise UserError(f"{path} is an adapter, and no code is run for those")
        return _open_adapter(path, name, base, given, notes)
    if base:
        raise UserError(f"{path} is a whole model: --base is for an adapter")
    found = _open_model(path, name, given, trusted)
    return replace(found, notes=(*notes, *([found.code.note()] if found.code else [])))


def _open_model(
    path: Path, name: str, template: str | None, trusted: str | None = None
) -> ModelFolder:
    found = look(path, name, template, trusted)
    tables, files = headers(path), shaping(path)
    if found.code:
        files |= found.code.files
    if template is not None:
        files["--chat-template"] = sha256(template.encode())
    tensors = {
        tensor: [entry.dtype, entry.shape]
        for table in tables.values()
        for tensor, entry in table.items()
    }
    return replace(
        found,
        fingerprint=digest({"weights": digests(tables), "files": files}),
        surroundings=digest({"tensors": tensors, "files": files}),
    )


def look(path: Path, name: str, template: str | None, trusted: str | None = None) -> ModelFolder:
    """Check a model's folder without reading its weights; its fingerprints are left empty.

    Args:
        path: The folder.
        name: What to call it.
        template: A chat template, instead of its own.
        trusted: Digest of the code of its own that it may run.

    Raises:
        UserError: It cannot be used.
    """
    config = _config(path)
    code = admit(path, config, trusted)
    is_multimodal = sees(config)
    headers(path)
    prompting = template or chat_template.own(path, is_multimodal) or ""
    _check_companions(path, is_multimodal, has_template=bool(prompting))
    _check_image_token(path, config)
    return ModelFolder(
        path=path,
        name=name,
        fingerprint="",
        surroundings="",
        config=config,
        made=read_made(path),
        pixels=_pixels(path) if is_multimodal else {},
        template=prompting,
        code=code,
    )


def _open_adapter(
    path: Path,
    name: str,
    base: str | Path | None,
    template: str | None,
    notes: tuple[str, ...],
) -> AdaptedModel:
    """Open an adapter on its base; a chat template beside it is the one that it was trained on."""
    config = read_json(path / ADAPTER_CONFIG)
    where = str(base or config.get("base_model_name_or_path") or "")
    if not where:
        raise UserError(f"{path} is an adapter that names no base model: give it with --base")
    if not base and config.get("revision") and "@" not in where:
        where += f"@{config['revision']}"
    try:
        base_path, base_name = _find(where)
    except UserError as error:
        raise UserError(f"{path} is an adapter, and {error}; --base names another place") from error
    if is_adapter(base_path):
        raise UserError(
            f"{path} is an adapter on another adapter, {base_path}: merge that one first"
        )
    own = chat_template.own(path, of_processor=True)
    brought = own if own != chat_template.own(base_path, of_processor=True) else None
    model = _open_model(base_path, base_name, template or brought)
    recorded = read_made(path)
    refuse_other_base(path, recorded, base_path)
    adapter = open_adapter(path, entries(base_path))
    parent = Parent("base", str(base_path), model.fingerprint)
    settings = {field: config.get(field) for field in ("r", "lora_alpha", "target_modules")}
    made = Made(method="lora", name=name, parents=(parent,), settings=settings)
    said = [f"a LoRA adapter of rank {adapter.rank} on {base_path}"]
    if brought and not template:
        said.append("asked with the chat template beside the adapter, which its base has otherwise")
    room = adapter.room, adapter.beside_decoder
    return AdaptedModel(
        name=name,
        path=path,
        fingerprint=digest([model.fingerprint, adapter.fingerprint]),
        surroundings=digest([model.fingerprint, *room]),
        made=recorded or made,
        notes=(*said, *notes),
        folder=model,
        adapter=adapter,
    )


# Where it is


def _find(where: str) -> tuple[Path, str]:
    path = Path(os.path.abspath(hub.local(where)))
    if not path.is_dir():
        raise UserError(f"{path} is a file: a checkpoint is a folder with config.json and weights")
    if not (path / "config.json").exists() and not is_adapter(path):
        raise UserError(foreign.told(path) or f"{path} is no checkpoint: it has no config.json")
    fetched = not Path(where).expanduser().exists()
    return path, where.partition("/")[2].replace("/", "-") if fetched else path.name


# What is in it


def _config(path: Path) -> dict[str, Any]:
    config = read_json(path / "config.json")
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise UserError(f"{path}/config.json names no architecture (field architectures)")
    for field in ("text_config", "quantization_config", "compression_config"):
        if not isinstance(config.get(field) or {}, dict):
            raise UserError(f"{path}/config.json: its {field} is no JSON object")
    return config


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
    content = read_json(path / "tokenizer.json")
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


def _pixels(path: Path) -> dict[str, Any]:
    for name in reversed(PROCESSORS):
        if (path / name).exists():
            content = read_json(path / name)
            settings = content.get("image_processor", content)
            if not isinstance(settings, dict):
                raise UserError(f"{path / name}: its image_processor is no JSON object")
            found = {field: settings[field] for field in PIXELS if settings.get(field) is not None}
            if found:
                return found
    return {}
