"""Safetensors from outside: the files of a checkpoint, what lies where in them, what is no number.

Nothing here loads a tensor, or torch. Pickles are refused: they can run code when they are read.
"""

import json
import os
import re
import struct
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.typed import read_json
from drift import experts, foreign

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
"""Weights of a LoRA adapter, no part of a model."""


@dataclass(frozen=True)
class Type:
    """How a number lies in a file."""

    torch: str
    bytes: int
    wrong: int = 0
    """Bits that are all set in infinities and what is no number, and only there."""


# https://github.com/huggingface/safetensors#format
TYPES = {
    "F64": Type("float64", 8, 0x7FF0000000000000),
    "F32": Type("float32", 4, 0x7F800000),
    "F16": Type("float16", 2, 0x7C00),
    "BF16": Type("bfloat16", 2, 0x7F80),
    "F8_E5M2": Type("float8_e5m2", 1, 0x7C),
    "F8_E4M3": Type("float8_e4m3fn", 1, 0x7F),
    "F8_E8M0": Type("float8_e8m0fnu", 1, 0xFF),
    "I64": Type("int64", 8),
    "I32": Type("int32", 4),
    "I16": Type("int16", 2),
    "I8": Type("int8", 1),
    "U64": Type("uint64", 8),
    "U32": Type("uint32", 4),
    "U16": Type("uint16", 2),
    "U8": Type("uint8", 1),
    "BOOL": Type("bool", 1),
}
CODES = {kind.torch: code for code, kind in TYPES.items()}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where one tensor lies."""

    file: str
    """File name within the checkpoint folder."""
    dtype: str
    """Of torch: `bfloat16`; of safetensors, where torch has no such type."""
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    end: int
    """One past the last byte."""
    columns: tuple[int, int] | None = None
    """Of one expert among several: it is the transpose of the columns from the first number on of
    what lies there, in rows of the second number."""


def finite(room: memoryview, dtype: str) -> bool:
    """Whether all entries of `dtype` in some bytes are numbers, and no infinity."""
    import numpy as np

    kind = TYPES.get(CODES.get(dtype, ""))
    if kind is None or not kind.wrong or not len(room):
        return True
    numbers = np.frombuffer(room, f"<u{kind.bytes}")
    return bool((numbers & kind.wrong).max() != kind.wrong)


def fill(room: memoryview, file: FileIO, start: int) -> None:
    """Fill `room` with the bytes of an unbuffered file that begin at `start`.

    Raises:
        UserError: There are fewer.
    """
    done = 0
    while done < len(room):
        got = os.preadv(file.fileno(), [room[done:]], start + done)
        if not got:
            raise UserError(f"{file.name} became shorter while it was read; fetch it again")
        done += got


# One file


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str], bytes]:
    """Read the header of a safetensors file.

    Returns:
        Its entries in the order of their bytes, its metadata, and the header's own bytes (length
        field included), to be copied as they are.

    Raises:
        UserError: The file is cut off or no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if 8 + length > size:
            raise UserError(
                f"{path} is cut off or no safetensors file: {size} bytes do not hold its header"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw)
        metadata = header.get("__metadata__", {})
        entries = placed(path, header, 8 + length)
        end = _packed(entries, 8 + length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is not a safetensors file: its header is broken") from error
    if end != size:
        kind = "is cut off" if size < end else "is too long"
        raise UserError(
            f"{path} {kind}: it has {size} bytes, its header promises {end}; fetch it again"
        )
    return entries, metadata, head + raw


def placed(path: Path, header: dict[str, Any], first: int) -> dict[str, Entry]:
    """Return where a header puts tensors, in the order of their bytes.

    Args:
        path: The file.
        header: As JSON.
        first: The data's own place in the file.
    """
    found = {}
    for name, info in header.items():
        if name != "__metadata__":
            shape, (start, end) = tuple(info["shape"]), info["data_offsets"]
            if not all(type(number) is int for number in (*shape, start, end)):
                raise TypeError
            dtype = TYPES[info["dtype"]].torch if info["dtype"] in TYPES else str(info["dtype"])
            found[name] = Entry(
                file=path.name, dtype=dtype, shape=shape, start=first + start, end=first + end
            )
    return dict(sorted(found.items(), key=lambda item: (item[1].start, item[1].end)))


def _packed(entries: dict[str, Entry], first: int) -> int:
    """Return where the last tensor ends; ValueError unless they lie one after the other."""
    for entry in entries.values():
        size = entry.end - entry.start
        if entry.dtype in CODES:
            size = prod(entry.shape) * TYPES[CODES[entry.dtype]].bytes
        if entry.start != first or entry.end != first + size:
            raise ValueError
        first = entry.end
    return first


# A checkpoint


def shards(folder: Path | str) -> list[Path]:
    """Return the weight files of a checkpoint: those that its index names, or all there are.

    Raises:
        UserError: There is no folder, there are none, some are missing, or it cannot be told which
            belong to it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give a local checkpoint folder")
    files = sorted(path.name for path in folder.glob("*.safetensors") if path.is_file())
    present = [name for name in files if name != ADAPTER]
    if not present:
        raise UserError(
            foreign.told(folder) or f"{folder} has no weights: no *.safetensors beside config.json"
        )
    if (folder / INDEX).exists():
        wanted = sorted(set(_index(folder).values()))
    else:
        wanted = _numbered(folder, present)
    if SINGLE in present and SINGLE not in wanted:
        raise UserError(
            f"{folder} has {SINGLE} and an {INDEX} that names {wanted[0]}; some programs read the "
            "one, some the other: remove what is out of date"
        )
    missing = [name for name in wanted if name not in present]
    if missing:
        raise UserError(
            f"{folder} lacks {len(missing)} of {len(wanted)} weight files, the first is "
            f"{missing[0]}"
        )
    return [folder / name for name in wanted]


def _index(folder: Path) -> dict[str, str]:
    placed: Any = read_json(folder / INDEX).get("weight_map")
    named = list(placed.values()) if isinstance(placed, dict) else []
    if not named or not all(isinstance(name, str) for name in named):
        raise UserError(f"{folder / INDEX} is no index of weight files: it has no weight_map")
    return placed


def _numbered(folder: Path, present: list[str]) -> list[str]:
    """Complete names like `model-00001-of-00003.safetensors` to the whole series."""
    series = re.fullmatch(r"(.*-)(\d+)-of-(\d+)(\.safetensors)", present[0])
    if not series:
        return present
    stem, digits, count, suffix = series.groups()
    if int(count) > 10 * len(present) + 1000:
        raise UserError(f"{folder} has {len(present)} of {int(count)} weight files")
    numbers = (str(number).zfill(len(digits)) for number in range(1, int(count) + 1))
    return [f"{stem}{number}-of-{count}{suffix}" for number in numbers]


def headers(folder: Path | str) -> dict[Path, dict[str, Entry]]:
    """Return the tensors of each weight file of a checkpoint.

    Raises:
        UserError: A file is unsound, or lacks a tensor that the index puts there: see `shards`.
    """
    folder = Path(folder)
    found = {shard: read_header(shard)[0] for shard in shards(folder)}
    if (folder / INDEX).exists():
        for tensor, name in _index(folder).items():
            if tensor not in found[folder / name]:
                raise UserError(
                    f"{folder / name} lacks the tensor {tensor} that the index puts there"
                )
    return found


def entries(folder: Path | str) -> dict[str, Entry]:
    """Return all tensors of a checkpoint by name: see `headers`."""
    return {name: entry for table in headers(folder).values() for name, entry in table.items()}


def shapes(folder: Path | str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a checkpoint, fused experts apart: see `headers`."""
    return {name: entry.shape for name, entry in experts.apart(entries(folder)).items()}
