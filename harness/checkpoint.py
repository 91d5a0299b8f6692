"""What is this model: found, checked before any engine starts, and named by its content.

    checkpoint = open_checkpoint("runs/pocket/llava_next/vlm")

A checkpoint is a local folder in the Hugging Face layout, or a hub id that is fetched first.
Weights are safetensors only: a pickle can run code when it is read.
"""

import difflib
import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.progress import reading
from harness.records import canonical

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

VISION = ("vision_config", "visual", "img_processor", "vision_tower", "mm_vision_tower")
"""Fields of a config.json that only a model that takes images has."""

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

TYPE_BYTES = {
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64"), 8),
}

EXPONENTS = {
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}
"""Safetensors type → word and its exponent bits: all of them set means infinity or not a number."""

CHUNK = 16 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A model that passed the preflight."""

    path: Path
    name: str
    """Of its folder, or the last part of its hub id."""
    fingerprint: str
    """sha256 over the content of weights, config, tokenizer, processor and template; no path."""
    surroundings: str
    """The same without the weights' values, but with the tensors' names, types and shapes."""
    config: dict[str, Any]
    architecture: str
    is_multimodal: bool
    """Takes images."""
    made: dict[str, Any] | None
    """`made.json`, if there is one."""
    pixels: dict[str, Any]
    """The image processor's size settings; empty for a text-only model."""
    merge: "Merge | None" = None
    """What an engine pours over the weights at `path`, to make this model."""


@dataclass(frozen=True)
class Merge:
    """A merge that lies nowhere on disk."""

    command: tuple[str, ...]
    """Starts the process that pours it: see `harness.sweep`."""
    alpha: float
    """Share of the reasoner."""


def swappable(a: Checkpoint, b: Checkpoint) -> bool:
    """Whether the weights of `b` fit a running engine of `a`: nothing else differs."""
    return a.surroundings == b.surroundings


def open_checkpoint(where: str | Path) -> Checkpoint:
    """Find a checkpoint, check it, and name it by its content.

    Raises:
        UserError: It cannot be used; the sentence says what is wrong with it.
    """
    path, name = _find(str(where))
    config = _read_json(path, "config.json")
    if not config.get("architectures"):
        raise UserError(f"{path}/config.json names no architecture (field architectures)")
    is_multimodal = any(field in config for field in VISION)
    shards = _shards(path)
    headers = {shard.name: _header(shard) for shard in shards}
    _check_index(path, headers)
    _check_companions(path, is_multimodal)
    weights = {shard.name: _digest(shard, headers[shard.name]) for shard in shards}
    shaping = _shaping(path)
    tensors = {
        tensor: [entry["dtype"], entry["shape"]]
        for header in headers.values()
        for tensor, entry in header.items()
    }
    return Checkpoint(
        path=path,
        name=name,
        fingerprint=_sha256(canonical({"weights": weights, "files": shaping})),
        surroundings=_sha256(canonical({"tensors": tensors, "files": shaping})),
        config=config,
        architecture=config["architectures"][0],
        is_multimodal=is_multimodal,
        made=_read_json(path, "made.json") if (path / "made.json").exists() else None,
        pixels=_pixels(path) if is_multimodal else {},
    )


# Where it is


def _find(where: str) -> tuple[Path, str]:
    path = Path(os.path.abspath(Path(where).expanduser()))
    if path.is_dir():
        _refuse_adapter(path)
        if not (path / "config.json").exists():
            raise UserError(f"{path} is not a checkpoint: it has no config.json")
        return path, path.name
    if path.exists():
        raise UserError(f"{path} is a file: a checkpoint is a folder with config.json and weights")
    # What starts with a folder that is there was meant as a path, the rest may be a hub id.
    if where.count("/") != 1 or where.startswith((".", "/", "~")) or path.parent.is_dir():
        raise UserError(f"there is no checkpoint folder {where}{_close(path)}")
    return _fetch(where), where.split("/")[1]


def _close(path: Path) -> str:
    """Name a neighbour with a similar name."""
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f": did you mean {path.parent / close[0]}?" if close else ""


def _fetch(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.safetensors.index.json", *SHAPING, "made.json"]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"there is no checkpoint folder {repository}, and the hub did not give it: {said}"
        ) from error


def _refuse_adapter(path: Path) -> None:
    if (path / "adapter_config.json").exists() and not (path / "config.json").exists():
        raise UserError(f"{path} holds an adapter, not a model: merge it into its base model first")


# What is in it


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
    present = sorted(file.name for file in path.glob("*.safetensors"))
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


def _header(shard: Path) -> dict[str, Any]:
    """Read the tensor table of a safetensors file; check that the file holds all its bytes."""
    size = shard.stat().st_size
    with shard.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise UserError(f"{shard} is cut off: {size} bytes do not hold its header")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = _packed(header)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"{shard} is not a safetensors file: its header is broken") from error
    expected = 8 + length + end
    if size != expected:
        kind = "is cut off" if size < expected else "is too long"
        raise UserError(f"{shard} {kind}: it has {size} bytes, its header promises {expected}")
    return header


def _packed(header: dict[str, Any]) -> int:
    """Return the bytes of all tensors; ValueError unless they lie one after the other."""
    end = 0
    for entry in sorted(header.values(), key=lambda entry: entry["data_offsets"]):
        size = math.prod(entry["shape"]) * TYPE_BYTES.get(entry["dtype"], 0)
        begin, after = entry["data_offsets"]
        if begin != end or (size and after - begin != size):
            raise ValueError
        end = after
    return end


def _check_index(path: Path, headers: dict[str, dict[str, Any]]) -> None:
    """Check that every tensor of the index lies in the shard it names."""
    if not (path / INDEX).exists():
        return
    for tensor, shard in _read_json(path, INDEX)["weight_map"].items():
        if tensor not in headers[shard]:
            raise UserError(f"{path / shard} lacks the tensor {tensor} that the index puts there")


def _check_companions(path: Path, is_multimodal: bool) -> None:
    """Check for tokenizer, chat template and image processor."""
    if not any((path / name).exists() for name in TOKENIZERS):
        raise UserError(f"{path} has no tokenizer: none of {', '.join(TOKENIZERS)}")
    if is_multimodal and not any((path / name).exists() for name in PROCESSORS):
        raise UserError(f"{path} takes images but has no {' or '.join(PROCESSORS)}")
    if not _has_template(path):
        raise UserError(
            f"{path} has no chat template (chat_template.jinja, or the field chat_template in "
            "tokenizer_config.json): a base model cannot be asked questions"
        )


def _has_template(path: Path) -> bool:
    if (path / "chat_template.jinja").exists():
        return True
    holders = ("tokenizer_config.json", "chat_template.json", "processor_config.json")
    return any(
        _read_json(path, name).get("chat_template") for name in holders if (path / name).exists()
    )


def _pixels(path: Path) -> dict[str, Any]:
    for name in reversed(PROCESSORS):
        if (path / name).exists():
            content = _read_json(path, name)
            settings = content.get("image_processor", content)
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


def _digest(shard: Path, header: dict[str, Any]) -> str:
    """Return the sha256 of a weight file whose values are all finite; read it once per change."""
    status = shard.stat()
    where = f"{shard.resolve()}\n{status.st_size}\n{status.st_mtime_ns}"
    cached = _cache() / _sha256(where)
    if cached.exists():
        return cached.read_text()
    digest = hashlib.sha256()
    with reading(f"reading {shard.name} once, to name it by its content", status.st_size) as moved:
        for chunk in _checked(shard, header):
            digest.update(chunk)
            moved(len(chunk))
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        aside = cached.with_name(f"{cached.name}.{os.getpid()}")
        aside.write_text(digest.hexdigest())
        aside.replace(cached)
    except OSError:
        pass  # A cache that cannot be written costs time, nothing else.
    return digest.hexdigest()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "driftbench" / "sha256"


def _checked(shard: Path, header: dict[str, Any]) -> Iterator[bytes]:
    """Yield the bytes of a weight file piece by piece; stop at a value that is not finite."""
    import numpy as np

    with shard.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        file.seek(0)
        yield file.read(8 + length)
        for tensor, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            word, exponent = EXPONENTS.get(entry["dtype"], ("", 0))
            begin, end = entry["data_offsets"]
            for at in range(begin, end, CHUNK):
                piece = file.read(min(CHUNK, end - at))
                if word and np.any(np.frombuffer(piece, word) & exponent == exponent):
                    raise UserError(
                        f"{shard}: the tensor {tensor} holds infinity or not-a-number values"
                    )
                yield piece
