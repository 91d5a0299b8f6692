"""How fast a checkpoint's weights are named by their content, beside plainly reading them.

Writes bfloat16 weights in four files and, in turn, reads them plainly in one thread, digests and
checks them in one thread, in several, and opens them again with the digests cached. GB are 10^9
bytes; the files lie in the page cache, so that no disk is measured.

    python perf/fingerprint.py --gib 2 --rounds 5
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FILES = 4
WANTED = 1.0
"""GB/s of a core."""


def make(folder: Path, gib: float) -> list[Path]:
    """Write the fingerprints."""
    import torch
    from safetensors.torch import save_file

    count = int(gib * 2**30 / 2 / FILES)
    paths = []
    for seed in range(FILES):
        numbers = torch.Generator().manual_seed(seed)
        some = torch.randn(1 << 24, generator=numbers).bfloat16()
        weights = some.repeat(count // len(some) + 1)[:count]
        paths.append(folder / f"model-{seed + 1:05}-of-{FILES:05}.safetensors")
        save_file({f"weight.{seed}": weights}, paths[-1])
    return paths


def read(paths: list[Path]) -> None:
    """Read files to their end."""
    room = bytearray(1 << 20)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(room):
                pass


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gib", type=float, default=2.0, help="size of the weights")
    parser.add_argument("--rounds", type=int, default=5, help="the best of so many is taken")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    given = parser.parse_args()
    from drift import fingerprints
    from drift.headers import read_header

    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        paths = make(folder, given.gib)
        headers = {path: read_header(path)[0] for path in paths}
        size = sum(path.stat().st_size for path in paths)
        cache = folder / "cache"
        os.environ["XDG_CACHE_HOME"] = str(cache)
        threads = fingerprints.READERS

        def digest(readers: int) -> Callable[[], object]:
            def work() -> object:
                fingerprints.READERS = readers
                for kept in cache.rglob("xxh3/*"):
                    kept.unlink()
                return fingerprints.digests(headers)

            return work

        rows: dict[str, Callable[[], object]] = {
            "plain reading": lambda: read(paths),
            "digest and check, one thread": digest(1),
            f"digest and check, {threads} threads": digest(threads),
            "opened again": lambda: fingerprints.digests(headers),
        }
        seconds: dict[str, list[float]] = {row: [] for row in rows}
        cores: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(given.rounds):
            for row, work in rows.items():
                started, worked = time.perf_counter(), time.process_time()
                work()
                seconds[row].append(time.perf_counter() - started)
                cores[row].append(time.process_time() - worked)
    print(f"{size / 1e9:.2f} GB in {FILES} files, best of {given.rounds} rounds\n")
    print("| | seconds | GB/s | / plain reading | GB/s of a core | wanted |")
    print("|---|---|---|---|---|---|")
    plain = min(seconds["plain reading"])
    for row in rows:
        best, core = min(seconds[row]), min(cores[row])
        wanted = f"≥ {WANTED}" if row.startswith("digest") else ""
        rates = [f"{size / best / 1e9:.2f}", f"{best / plain:.2f}", f"{size / core / 1e9:.2f}"]
        if row == "opened again":  # nothing is read
            rates = ["", f"{best / plain:.4f}", ""]
        print(f"| {row} | {best:.4f} | {' | '.join(rates)} | {wanted} |")


if __name__ == "__main__":
    main()
