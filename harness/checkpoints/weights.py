"""Safetensors files: headers checked, content digested once, values that are none found.

Nothing is loaded. A digest is of a file's bytes (XXH3, 128 bits, as everywhere in this project): it
tells files apart, it does not withstand somebody who wants two to look alike.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import Stamped, cache_folder, stamp
from common.progress import reading

Header = dict[str, dict[str, Any]]
"""Tensor → `dtype`, `shape` and `data_offsets`, as the safetensors format has them."""

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

CHUNK = 1 << 20
"""Bytes at a time: they stay in a core's cache from one look at them to the next."""

READERS = min(4, os.cpu_count() or 1)
"""Files read side by side."""


def header(shard: Path) -> Header:
    """Read the tensor table of a safetensors file; check that the file holds all its bytes.

    Raises:
        UserError: It does not, or is another file.
    """
    size = shard.stat().st_size
    with shard.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise UserError(f"{shard} is cut off: {size} bytes do not hold its header")
        try:
            table = json.loads(file.read(length))
            table.pop("__metadata__", None)
            end = _packed(table)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"{shard} is not a safetensors file: its header is broken") from error
    expected = 8 + length + end
    if size != expected:
        kind = "is cut off" if size < expected else "is too long"
        raise UserError(f"{shard} {kind}: it has {size} bytes, its header promises {expected}")
    return table


def _packed(table: Header) -> int:
    """Return the bytes of all tensors; ValueError unless they lie one after the other."""
    end = 0
    for entry in sorted(table.values(), key=lambda entry: entry["data_offsets"]):
        size = math.prod(entry["shape"]) * TYPE_BYTES.get(entry["dtype"], 0)
        begin, after = entry["data_offsets"]
        if begin != end or (size and after - begin != size):
            raise ValueError
        end = after
    return end


def digests(shards: Mapping[Path, Header]) -> dict[str, str]:
    """Return the digest of each file by name; each is read once per change.

    A change is told by the file system's record of the file, with the time of its last change
    (`st_ctime`), which nobody can put back.

    Args:
        shards: Files and their headers.

    Raises:
        UserError: A tensor holds a value that is not finite.
    """
    folder = next(iter(shards)).parent.resolve()
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()
    known = Stamped(cache_folder() / "xxh3" / f"{name}.json")
    new = [shard for shard in shards if known.get(str(shard), stamp(shard)) is None]
    size = sum(shard.stat().st_size for shard in new)
    what = f"reading {folder.name} once, to name it by its content"
    with reading(what, size) as moved, ThreadPoolExecutor(READERS) as pool:

        def digest(shard: Path) -> str:
            return _digest(shard, shards[shard], moved)

        works = {shard.name: pool.submit(known.of, shard, digest) for shard in shards}
        try:
            found = {name: work.result() for name, work in works.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if new:
        known.save()
    return found


def _digest(shard: Path, table: Header, moved: Callable[[int], None]) -> str:
    """Digest a file whose values are all finite."""
    import xxhash

    total, room = xxhash.xxh3_128(), memoryview(bytearray(CHUNK))
    with shard.open("rb", buffering=0) as file:

        def read(count: int) -> memoryview:
            piece = room[:count]
            done = 0
            while done < count:
                if not (got := file.readinto(piece[done:])):
                    raise UserError(f"{shard} became shorter while it was read")
                done += got
            total.update(piece)
            moved(count)
            return piece

        start = struct.unpack("<Q", bytes(read(8)))[0]
        for count in _pieces(start):
            read(count)
        for tensor, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            for count in _pieces(end - begin):
                if not _finite(read(count), entry["dtype"]):
                    raise UserError(
                        f"{shard}: the tensor {tensor} holds infinity or not-a-number values"
                    )
    return total.hexdigest()


def _pieces(size: int) -> list[int]:
    return [min(CHUNK, size - at) for at in range(0, size, CHUNK)]


def _finite(piece: memoryview, dtype: str) -> bool:
    import numpy as np

    if dtype not in EXPONENTS:
        return True
    word, exponent = EXPONENTS[dtype]
    return bool((np.frombuffer(piece, word) & exponent).max() != exponent)
