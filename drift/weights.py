"""Safetensors on disk: read lazily by name, written in order, never half.

Nothing here loads a model. A checkpoint is a mapping from tensor names to places in files; headers
are read without torch, tensors one at a time. Every folder is written beside its place and renamed
when it is complete, with `made.json` in it.
"""

import hashlib
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drift.errors import UserError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MADE = "made.json"
PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "driftbench")

# https://github.com/huggingface/safetensors#format
_TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_FORMAT_NAMES = {name: code for code, name in _TORCH_NAMES.items()}


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies."""

    file: str
    """File name within the checkpoint folder."""
    dtype: str
    """Of torch: `bfloat16`."""
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    end: int
    """One past the last byte."""


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str], bytes]:
    """Read the header of one safetensors file.

    Returns:
        Its entries in the order of their bytes, its metadata, and the header's own bytes
        (length field included), to be copied as they are.

    Raises:
        UserError: the file is cut off or no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if 8 + length > size:
            raise UserError(f"{path} is cut off or no safetensors file; fetch it again")
        raw = file.read(length)
    try:
        header = json.loads(raw)
        metadata = header.pop("__metadata__", {})
        entries = {
            name: Entry(
                path.name,
                _TORCH_NAMES[info["dtype"]],
                tuple(info["shape"]),
                8 + length + info["data_offsets"][0],
                8 + length + info["data_offsets"][1],
            )
            for name, info in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} has a header that cannot be read ({error!r})") from error
    entries = dict(sorted(entries.items(), key=lambda item: item[1].start))
    end = max((entry.end for entry in entries.values()), default=8 + length)
    if end != size:
        raise UserError(f"{path} is {size} bytes long, its header promises {end}; fetch it again")
    return entries, metadata, head + raw


def entries(folder: Path | str) -> dict[str, Entry]:
    """All tensors of the checkpoint in `folder`, by name.

    Raises:
        UserError: no folder, no safetensors, pickle files only, a missing or truncated shard, or a
            tensor that the index promises and no shard holds.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give a local checkpoint folder")
    index = folder / INDEX
    if index.is_file():
        try:
            placed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{index} cannot be read as a shard index ({error!r})") from error
        files = sorted(set(placed.values()))
    elif (folder / SINGLE).is_file():
        placed, files = {}, [SINGLE]
    elif any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise UserError(
            f"{folder} holds pickle weights only, which can run code when read; "
            "convert them to safetensors first"
        )
    else:
        raise UserError(f"{folder} holds neither {SINGLE} nor {INDEX}")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} lacks the shards {', '.join(missing)} that its index names")
    found: dict[str, Entry] = {}
    for name in files:
        found.update(read_header(folder / name)[0])
    lost = [name for name in placed if name not in found]
    if lost:
        raise UserError(f"{folder} lacks tensors that its index names: {', '.join(lost[:5])}")
    return found


def shapes(folder: Path | str) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of the checkpoint in `folder`."""
    return {name: entry.shape for name, entry in entries(folder).items()}


class Checkpoint:
    """The tensors of one checkpoint folder, read when they are asked for."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.entries = entries(folder)
        self._open: dict[str, Any] = {}

    def tensor(self, name: str) -> "torch.Tensor":
        """Read one tensor, in the dtype and shape that lie on disk.

        Raises:
            UserError: it holds a NaN or an infinity.
        """
        from safetensors import safe_open

        file = self.entries[name].file
        if file not in self._open:
            self._open[file] = safe_open(str(self.folder / file), framework="pt")
        tensor = self._open[file].get_tensor(name)
        if tensor.is_floating_point() and not _finite(tensor):
            raise UserError(f"{name} in {self.folder} holds a NaN or an infinity")
        return tensor


def _finite(tensor: "torch.Tensor") -> bool:
    """Whether all entries are numbers. The extremes tell, 25 times as fast as asking each entry."""
    import torch

    if not tensor.numel():
        return True
    wide = tensor if tensor.dtype.itemsize > 1 else tensor.float()
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(wide))


def tensor_bytes(tensor: "torch.Tensor") -> memoryview:
    """The bytes of `tensor` as safetensors stores them: row-major, little-endian."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def rewrite(source: Path, target: Path, replace: "Callable[[str], torch.Tensor | None]") -> None:
    """Copy one safetensors file; tensors for which `replace` returns one are exchanged.

    Header, order and every other byte are those of `source`. A replacement has the shape of the
    original and is rounded to its dtype.
    """
    import torch

    placed, _, header = read_header(source)
    with source.open("rb") as read, target.open("wb") as write:
        write.write(header)
        for name, entry in placed.items():
            new = replace(name)
            if new is None:
                read.seek(entry.start)
                _copy_bytes(read, write, entry.end - entry.start)
            else:
                write.write(tensor_bytes(new.to(getattr(torch, entry.dtype))))


def _copy_bytes(read: Any, write: Any, count: int) -> None:
    while count:
        chunk = read.read(min(count, 1 << 24))
        write.write(chunk)
        count -= len(chunk)


def write_stream(
    path: Path,
    specs: Iterable[tuple[str, tuple[int, ...]]],
    dtype: str,
    tensor: "Callable[[str], torch.Tensor]",
    metadata: dict[str, str],
) -> None:
    """Write one safetensors file, asking `tensor` for each of `specs` (name, shape) in turn."""
    import torch

    kind = getattr(torch, dtype)
    header: dict[str, Any] = {"__metadata__": metadata}
    names, start = [], 0
    for name, shape in specs:
        count = kind.itemsize
        for size in shape:
            count *= size
        header[name] = {
            "dtype": _FORMAT_NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, start + count],
        }
        names.append(name)
        start += count
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for name in names:
            file.write(tensor_bytes(tensor(name).to(kind)))


def fingerprint(folder: Path | str) -> str:
    """Sha256 over the content of a checkpoint: weights, configuration, tokenizer, template.

    Names and bytes count, times and places do not; `made.json` and other papers are left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give a local checkpoint folder")
    suffixes = {".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken"}
    files = sorted(
        path for path in folder.iterdir() if path.suffix in suffixes and path.name != MADE
    )
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_sha256, files))
    total = hashlib.sha256()
    for path, digest in zip(files, digests, strict=True):
        total.update(f"{path.name} {digest}\n".encode())
    return total.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of the packages that shape a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of this source tree, with `+` when it was changed; None outside a repository."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10
        )
        if done.returncode:
            raise OSError
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True)
class Parent:
    """A checkpoint that another one was made from."""

    role: str
    """`vlm`, `reasoner` or `base`."""
    path: str
    fingerprint: str


@dataclass(frozen=True)
class Made:
    """How a checkpoint came to be: `made.json` beside its weights."""

    method: str
    """`sft`, `drift`, `merge`, `prior`."""
    name: str
    parents: tuple[Parent, ...]
    settings: dict[str, Any]
    """Every setting, defaults included."""
    coverage: dict[str, Any] | None = None
    """Tensors, parameters and share of the decoder that the method touched."""
    cost: dict[str, Any] | None = None
    """seconds, samples, tokens, flops, device, peak_memory_bytes."""
    packages: dict[str, str] = field(default_factory=package_versions)
    git: str | None = field(default_factory=git_commit)


def parent(role: str, folder: Path | str) -> Parent:
    """The record of a parent checkpoint, its content hashed."""
    return Parent(role, str(folder), fingerprint(folder))


def write_made(folder: Path, made: Made) -> None:
    """Write `made.json` into `folder`."""
    text = json.dumps(asdict(made), indent=2, ensure_ascii=False)
    (folder / MADE).write_text(text + "\n", encoding="utf-8")


@contextmanager
def written_aside(folder: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place when the block ends well.

    Raises:
        UserError: `folder` is already there and `overwrite` is not set.
    """
    folder = Path(folder)
    refuse_existing(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Stop when `folder` has something in it and may not be replaced."""
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is already there; give another --out or add --overwrite")


def put_in_place(aside: Path, folder: Path) -> None:
    """Rename `aside` to `folder`, replacing what was there."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
