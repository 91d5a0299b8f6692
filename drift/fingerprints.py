"""A checkpoint named by its content: weights, configuration, tokenizer, processor, template.

Names and bytes count, times and places do not. A weight file's digest is XXH3 (128 bits), which
reads as fast as a disk does: it tells files apart, it does not withstand somebody who wants two to
look alike. Each file is read once per change, and what is no number in it is found on the way.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import UserError
from common.files import Stamped, cache_folder, stamp
from common.progress import reading
from common.provenance import Parent, canonical, digest
from common.typed import read_json
from drift.headers import Entry, fill, finite, headers

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")

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

CHUNK = 1 << 20
"""Bytes at a time: they stay in a core's cache from one look at them to the next."""

READERS = min(4, os.cpu_count() or 1)
"""Files read side by side."""


def fingerprint(folder: Path | str) -> str:
    """Return the sha256 over the content of a checkpoint.

    Raises:
        UserError: It has no sound weights: see `drift.headers.headers` and `digests`.
    """
    return digest({"weights": digests(headers(folder)), "files": shaping(Path(folder))})


def parent(role: str, folder: Path | str) -> Parent:
    """Return the record of a checkpoint that another one is made from."""
    return Parent(role, str(folder), fingerprint(folder))


def shaping(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a checkpoint that shapes an answer beside its weights."""
    found = sorted({file for pattern in SHAPING for file in folder.glob(pattern)})
    return {str(file.relative_to(folder)): sha256(_content(file)) for file in found}


def _content(file: Path) -> bytes:
    if file.name != "config.json":
        return file.read_bytes()
    return canonical({k: v for k, v in read_json(file).items() if k not in NOTES}).encode()


def sha256(content: bytes) -> str:
    """Return it in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digests(tables: Mapping[Path, Mapping[str, Entry]]) -> dict[str, str]:
    """Return the digest of each weight file by name.

    Args:
        tables: Files of one folder, and the tensors in each.

    Raises:
        UserError: A tensor holds a value that is not finite.
    """
    folder = next(iter(tables)).parent.resolve()
    known = Stamped(cache_folder() / "xxh3" / f"{sha256(os.fsencode(folder))}.json")
    new = [shard for shard in tables if known.get(str(shard), stamp(shard)) is None]
    size = sum(shard.stat().st_size for shard in new)
    what = f"reading {folder.name} once, to name it by its content"
    with reading(what, size) as moved, ThreadPoolExecutor(READERS) as pool:

        def read(shard: Path) -> str:
            return _digest(shard, tables[shard], moved)

        works = {shard.name: pool.submit(known.of, shard, read) for shard in tables}
        try:
            found = {name: work.result() for name, work in works.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if new:
        known.save()
    return found


def _digest(shard: Path, table: Mapping[str, Entry], moved: Callable[[int], None]) -> str:
    """Digest a file whose values are all finite."""
    import xxhash

    total, room = xxhash.xxh3_128(), memoryview(bytearray(CHUNK))
    first = min((entry.start for entry in table.values()), default=shard.stat().st_size)
    header = Entry(file=shard.name, dtype="", shape=(), start=0, end=first)
    with shard.open("rb", buffering=0) as file:
        for name, entry in (("", header), *table.items()):
            for at in range(entry.start, entry.end, CHUNK):
                piece = room[: entry.end - at]
                fill(piece, file, at)
                total.update(piece)
                moved(len(piece))
                if not finite(piece, entry.dtype):
                    raise UserError(
                        f"{shard}: the tensor {name} holds infinity or not-a-number values"
                    )
    return total.hexdigest()
