"""Safetensors on disk: read lazily by name, written in order, never half.

Nothing here loads a model. A checkpoint is a mapping from tensor names to places in files; headers
are read without torch, tensors one at a time. Every folder is written beside its place and renamed
when it is complete, with `made.json` in it.
"""

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from common.errors import UserError
from common.progress import counted
from common.provenance import MADE, Parent

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

BLOCK = 1 << 16
"""Entries that are worked on at a time: few enough for a core's cache, enough to outweigh the calls
that work on them."""
CHUNK = 8 * BLOCK
"""Entries, or bytes of what is only copied, that are read at a time."""
WORKERS = min(4, os.cpu_count() or 1)
"""Tensors that are read, computed and written side by side."""

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
        metadata = header.get("__metadata__", {})
        entries = _placed(path, header, 8 + length)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} has a header that cannot be read ({error!r})") from error
    end = max((entry.end for entry in entries.values()), default=8 + length)
    if end != size:
        raise UserError(f"{path} is {size} bytes long, its header promises {end}; fetch it again")
    return entries, metadata, head + raw


def _placed(path: Path, header: dict[str, Any], first: int) -> dict[str, Entry]:
    """Where a header puts tensors, in the order of their bytes; `first` is the data's own place."""
    found = {
        name: Entry(
            path.name,
            _TORCH_NAMES[info["dtype"]],
            tuple(info["shape"]),
            first + info["data_offsets"][0],
            first + info["data_offsets"][1],
        )
        for name, info in header.items()
        if name != "__metadata__"
    }
    return dict(sorted(found.items(), key=lambda item: item[1].start))


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
    """The tensors of one checkpoint folder, read when they are asked for.

    Read, not mapped: what was read can be let go, and memory holds what is being worked on.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.entries = entries(folder)
        self._sound: set[str] = set()

    def blocks(self, name: str, step: int = 1) -> "Iterator[torch.Tensor]":
        """Read one tensor piece by piece: flat, `BLOCK` entries each, the last one shorter.

        A piece is overwritten by those that follow.

        Args:
            name: Which tensor.
            step: Read the first of every `step` chunks of blocks, and pass over the others.

        Raises:
            UserError: it holds a NaN or an infinity.
        """
        import torch

        entry = self.entries[name]
        count, kind = prod(entry.shape), getattr(torch, entry.dtype)
        room = torch.empty(min(CHUNK, count), dtype=kind)
        with (self.folder / entry.file).open("rb", buffering=0) as file:
            for first in range(0, count, CHUNK * step):
                chunk = room[: count - first]
                _fill(chunk, file, entry.start + first * kind.itemsize)
                if name not in self._sound and chunk.is_floating_point() and not _finite(chunk):
                    raise UserError(f"{name} in {self.folder} holds a NaN or an infinity")
                yield from chunk.split(BLOCK)
        if step == 1:
            self._sound.add(name)


def read_tensor(path: Path, entry: Entry) -> "torch.Tensor":
    """Read the tensor that lies at `entry` in `path`."""
    import torch

    tensor = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype))
    with path.open("rb", buffering=0) as file:
        _fill(tensor, file, entry.start)
    return tensor


def _fill(tensor: "torch.Tensor", file: Any, start: int) -> None:
    """Read `tensor` from the bytes of the unbuffered `file` that begin at `start`."""
    room = tensor_bytes(tensor)
    done = 0
    while done < len(room):
        got = os.preadv(file.fileno(), [room[done:]], start + done)
        if not got:
            raise UserError(f"{file.name} became shorter while it was read; fetch it again")
        done += got


def _finite(tensor: "torch.Tensor") -> bool:
    """Whether all entries are numbers."""
    import torch

    if not tensor.numel():
        return True
    wide = tensor if tensor.dtype.itemsize > 1 else tensor.float()
    # A NaN or an infinity spoils the sum, which is 30 times as fast as asking each entry. A sum
    # can overflow without one: then the extremes tell.
    return isfinite(wide.sum()) or all(isfinite(extreme) for extreme in torch.aminmax(wide))


def tensor_bytes(tensor: "torch.Tensor") -> memoryview:
    """The bytes of `tensor` as safetensors stores them: row-major, little-endian."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def wide(a: "torch.Tensor", b: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """`a` and `b` for an operation that torch has as one: its arithmetic is then float32.

    Of two bfloat16 tensors torch computes in float32 and rounds once, in a third of the time.
    """
    import torch

    return (a, b) if a.dtype == b.dtype == torch.bfloat16 else (a.float(), b.float())


class Blocks(Protocol):
    """One tensor, flat, piece by piece, as often as it is called."""

    def __call__(self, step: int = 1) -> "Iterable[torch.Tensor]":
        """Give all of it, or every `step`-th chunk of `CHUNK` entries."""


def rewrite(
    source: Path, target: Path, replace: "Callable[[str], Iterable[torch.Tensor] | None]"
) -> None:
    """Copy one safetensors file; tensors for which `replace` returns one are exchanged.

    Header, order and every other byte are those of `source`. A replacement has as many entries as
    the original and is rounded to its dtype.
    """
    placed, _, header = read_header(source)

    def blocks(name: str) -> "Iterable[torch.Tensor]":
        new = replace(name)
        return _raw(source, placed[name]) if new is None else new

    write_tensors(target, header, placed, blocks)


def _raw(path: Path, entry: Entry) -> "Iterator[torch.Tensor]":
    """The bytes of one tensor, as they lie."""
    import torch

    room = torch.empty(min(CHUNK, entry.end - entry.start), dtype=torch.uint8)
    with path.open("rb", buffering=0) as file:
        for first in range(entry.start, entry.end, CHUNK):
            piece = room[: entry.end - first]
            _fill(piece, file, first)
            yield piece


def write_stream(
    path: Path,
    specs: Iterable[tuple[str, tuple[int, ...]]],
    dtype: str,
    blocks: "Callable[[str], Iterable[torch.Tensor]]",
    metadata: dict[str, str],
    workers: int = WORKERS,
) -> None:
    """Write one safetensors file, asking `blocks` for each of `specs` (name, shape)."""
    import torch

    kind = getattr(torch, dtype)
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, shape in specs:
        end = start + kind.itemsize * prod(shape)
        header[name] = {
            "dtype": _FORMAT_NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
        start = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    raw = struct.pack("<Q", len(raw)) + raw
    placed = _placed(path, header, len(raw))
    write_tensors(path, raw, placed, blocks, workers)


def write_tensors(
    path: Path,
    header: bytes,
    placed: Mapping[str, Entry],
    blocks: "Callable[[str], Iterable[torch.Tensor]]",
    workers: int = WORKERS,
) -> None:
    """Write one safetensors file, several tensors at a time.

    Args:
        path: New file.
        header: Its first bytes.
        placed: Name → where the tensor goes, and its dtype.
        blocks: Name → the tensor, piece by piece; rounded to the dtype unless they are bytes.
        workers: Tensors at a time.
    """
    import torch

    def write(name: str) -> None:
        entry, kind = placed[name], getattr(torch, placed[name].dtype)
        place = entry.start
        for block in blocks(name):
            room = tensor_bytes(block if block.dtype == torch.uint8 else block.to(kind))
            while room:
                done = os.pwrite(file.fileno(), room, place)
                place, room = place + done, room[done:]
        if place != entry.end:
            raise ValueError(f"{name} takes {entry.end - entry.start} bytes, not {place}")

    with path.open("wb", buffering=0) as file:
        os.pwrite(file.fileno(), header, 0)
        side_by_side(write, placed, path.name, workers)


def side_by_side(
    work: Callable[[str], Any], names: Iterable[str], what: str, workers: int = WORKERS
) -> list[Any]:
    """Do `work` for each of `names`, several at a time, with a bar when it takes long.

    Args:
        work: What is to be done.
        names: For what.
        what: Beside the bar.
        workers: How many at a time; each computes on one core.

    Returns:
        Results in the order of `names`.
    """
    import torch

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers)
    torch.set_num_threads(max(1, threads // workers))
    try:
        jobs = [pool.submit(work, name) for name in names]
        return [job.result() for job in counted(what, jobs, len(jobs))]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def fingerprint(folder: Path | str) -> str:
    """Name the content of a checkpoint: weights, configuration, tokenizer, template.

    Names and bytes count, times and places do not; `made.json` and other papers are left out. The
    files' digests are XXH3 (128 bits), which reads as fast as a disk does: it tells checkpoints
    apart, it does not withstand somebody who wants two to look alike.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give a local checkpoint folder")
    suffixes = {".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken"}
    files = sorted(
        path for path in folder.iterdir() if path.suffix in suffixes and path.name != MADE
    )
    with ThreadPoolExecutor(WORKERS) as pool:
        digests = list(pool.map(_digest, files))
    total = hashlib.sha256()
    for path, digest in zip(files, digests, strict=True):
        total.update(f"{path.name} {digest}\n".encode())
    return total.hexdigest()


def _digest(path: Path) -> str:
    import xxhash

    total, room = xxhash.xxh3_128(), bytearray(CHUNK)
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(room):
            total.update(memoryview(room)[:got])
    return total.hexdigest()


def parent(role: str, folder: Path | str) -> Parent:
    """The record of a parent checkpoint, its content hashed."""
    return Parent(role, str(folder), fingerprint(folder))
