"""Tensors of safetensors files, read by name and written in order, a few pieces at a time.

Nothing here loads a model.
"""

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from common.errors import UserError
from common.progress import counted
from drift import experts
from drift.headers import CODES, Entry, entries, fill, finite, placed, read_header

if TYPE_CHECKING:
    import torch

BLOCK = 1 << 16
"""Entries that are worked on at a time: few enough for a core's cache, enough to outweigh the calls
that work on them."""
CHUNK = 8 * BLOCK
"""Entries, or bytes of what is only copied, that are read at a time."""
WORKERS = min(4, os.cpu_count() or 1)
"""Tensors that are read, computed and written side by side."""


class Checkpoint:
    """The tensors of one checkpoint folder, fused experts apart, read when they are asked for.

    Read, not mapped: what was read can be let go, and memory holds what is being worked on.

    Args:
        folder: Of the checkpoint.
        finite: Whether it is known already that all values are finite.
    """

    def __init__(self, folder: Path | str, finite: bool = False) -> None:
        self.folder = Path(folder)
        self.stored = entries(folder)
        self.entries = experts.apart(self.stored)
        self._sound: set[str] = set(self.entries) if finite else set()

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
        if entry.columns:
            tensor = read_tensor(self.folder / entry.file, entry)
            if name not in self._sound and not finite(tensor_bytes(tensor), entry.dtype):
                raise UserError(f"{name} in {self.folder} holds a NaN or an infinity")
            for piece in tensor.flatten().split(CHUNK)[::step]:
                yield from piece.split(BLOCK)
            return
        count, kind = prod(entry.shape), _type(entry)
        room = torch.empty(min(CHUNK, count), dtype=kind)
        with (self.folder / entry.file).open("rb", buffering=0) as file:
            for first in range(0, count, CHUNK * step):
                chunk = room[: count - first]
                held = tensor_bytes(chunk)
                fill(held, file, entry.start + first * kind.itemsize)
                if name not in self._sound and not finite(held, entry.dtype):
                    raise UserError(f"{name} in {self.folder} holds a NaN or an infinity")
                yield from chunk.split(BLOCK)
        if step == 1:
            self._sound.add(name)


def read_tensor(path: Path, entry: Entry) -> "torch.Tensor":
    """Read the tensor that lies at `entry` in `path`."""
    import torch

    first, width = entry.columns or (0, 0)
    shape = (entry.shape[1], width) if entry.columns else entry.shape
    tensor = torch.empty(shape, dtype=_type(entry))
    with path.open("rb", buffering=0) as file:
        fill(tensor_bytes(tensor), file, entry.start)
    return tensor[:, first : first + entry.shape[0]].T.contiguous() if entry.columns else tensor


def _type(entry: Entry) -> "torch.dtype":
    import torch

    if entry.dtype not in CODES:
        raise UserError(
            f"{entry.file} holds numbers of the type {entry.dtype}, which torch cannot compute "
            "with; give the checkpoint in bfloat16 or float32"
        )
    return getattr(torch, entry.dtype)


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
    table, _, header = read_header(source)

    def blocks(name: str) -> "Iterable[torch.Tensor]":
        new = replace(name)
        return _raw(source, table[name]) if new is None else new

    write_tensors(target, header, table, blocks)


def _raw(path: Path, entry: Entry) -> "Iterator[torch.Tensor]":
    """The bytes of one tensor, as they lie."""
    import torch

    room = torch.empty(min(CHUNK, entry.end - entry.start), dtype=torch.uint8)
    with path.open("rb", buffering=0) as file:
        for first in range(entry.start, entry.end, CHUNK):
            piece = room[: entry.end - first]
            fill(tensor_bytes(piece), file, first)
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
            "dtype": CODES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
        start = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    raw = struct.pack("<Q", len(raw)) + raw
    write_tensors(path, raw, placed(path, header, len(raw)), blocks, workers)


def write_tensors(
    path: Path,
    header: bytes,
    table: Mapping[str, Entry],
    blocks: "Callable[[str], Iterable[torch.Tensor]]",
    workers: int = WORKERS,
) -> None:
    """Write one safetensors file, several tensors at a time.

    Args:
        path: New file.
        header: Its first bytes.
        table: Name → where the tensor goes, and its dtype.
        blocks: Name → the tensor, piece by piece; rounded to the dtype unless they are bytes.
        workers: Tensors at a time.
    """
    import torch

    def write(name: str) -> None:
        entry = table[name]
        place = entry.start
        for block in blocks(name):
            room = tensor_bytes(block if block.dtype == torch.uint8 else block.to(_type(entry)))
            while room:
                done = os.pwrite(file.fileno(), room, place)
                place, room = place + done, room[done:]
        if place != entry.end:
            raise ValueError(f"{name} takes {entry.end - entry.start} bytes, not {place}")

    with path.open("wb", buffering=0) as file:
        os.pwrite(file.fileno(), header, 0)
        side_by_side(write, table, path.name, workers)


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

    # One core a worker, whatever the machine has: see `one_core`.
    threads = torch.get_num_threads()
    own = threads if workers == 1 else 1
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(own,))
    try:
        jobs = [pool.submit(work, name) for name in names]
        return [job.result() for job in counted(what, jobs, len(jobs))]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch compute on one core meanwhile, so that no sum depends on how many there are.

    The number is each thread's own.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
