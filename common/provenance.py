"""How a checkpoint came to be, and by which code: `made.json` beside its weights.

What is named by its content is named by the sha256 of its canonical JSON.
"""

import dataclasses
import hashlib
import json
import math
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from common.errors import UserError
from common.files import write_whole
from common.typed import AnyText, read_json, record

MADE = "made.json"
PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "driftbench")
"""Those that shape a checkpoint."""
Amount = Literal["flops", "processor_seconds"]
AMOUNTS: tuple[Amount, ...] = get_args(Amount)
"""What a method is judged to cost by: no other program on the machine changes them."""


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of some packages, of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, None elsewhere; `+`: changed."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no blanks: equal values give equal text."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """Return the sha256 of `canonical`."""
    return hashlib.sha256(canonical(value).encode("utf-8", "backslashreplace")).hexdigest()


@dataclass(frozen=True)
class Parent:
    """A checkpoint that another one was made from."""

    role: str
    """`vlm`, `reasoner`, `base`, `prior`, or `other` of two merged VLMs."""
    path: AnyText
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a checkpoint came to be."""

    method: str
    """`sft`, `drift`, `l2_sp`, `digrap`, `spd`, `grpo`, `merge`, `prior`, …"""
    name: AnyText = ""
    parents: tuple[Parent, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    """Every setting, defaults included."""
    coverage: dict[str, Any] | None = None
    """Tensors, parameters and share of the decoder that the method touched."""
    reached: dict[str, Any] | None = None
    """How far the weights went, as they were rounded when they were written: of a merge `rho` and
    `kept` (see `drift.merge.Reached`), of training see `drift.training.saving`."""
    cost: dict[str, Any] | None = None
    """seconds, processor_seconds, samples, tokens, flops, device, peak_memory_bytes."""
    tokens: dict[str, Any] | None = None
    """Words added to the vocabulary: see `drift.training.added_tokens`."""
    packages: dict[str, str] = field(default_factory=dict)
    """Versions; empty: not known."""
    git: str | None = None


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What was spent on something before a checkpoint could be made from it."""

    name: AnyText
    method: AnyText
    """As of `Made`; `rows` is the sampling of what is learnt from."""
    fingerprint: AnyText
    """Of the checkpoint; of rows, the digest of their note."""
    flops: float | None = None
    processor_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What all costs of checkpoints tell alike; None where it is not known."""

    seconds: float | None = None
    processor_seconds: float | None = None
    samples: float | None = None
    tokens: float | None = None
    flops: float | None = None
    device: str | None = None
    devices: int | None = None
    peak_memory_bytes: float | None = None
    before: tuple[Spent, ...] = ()
    """On what it was made from, each thing once, what a study begins with not counted."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a method reached of the decoder, likewise."""

    tensors: int | None = None
    parameters: int | None = None
    decoder_share: float | None = None


def cost_of(made: Made | None) -> Cost:
    """Return what a checkpoint took to make, all None where nothing tells.

    Raises:
        UserError: A figure is no number.
    """
    cost = made.cost if made else None
    return record(Cost, cost or {}, f"{MADE} of {made.name if made else ''}: cost", part=True)


def whole(cost: Cost, what: Amount) -> float | None:
    """Return what a checkpoint took with all that it was made from; None if a part is not known."""
    parts = [getattr(one, what) for one in (cost, *cost.before)]
    return None if None in parts else math.fsum(parts)


def lineage(parents: Iterable[Parent], notes: Iterable[Path] = ()) -> tuple[Spent, ...]:
    """Return what was spent on the parents of a checkpoint and on what they were made from.

    A parent is counted if its `made.json` tells how many operations it took: others, such as a
    published model or a pocket model as it was grown, are what all methods begin with.

    Args:
        parents: Folders, where they are at hand.
        notes: Files as `driftbench rows` writes beside its rows.

    Raises:
        UserError: A note is not what is written.
    """
    known: list[tuple[str, Made | None]] = []
    for parent in parents:
        with suppress(UserError):  # somebody else's file of this name: then it was given
            known.append((parent.fingerprint, read_made(Path(parent.path))))
    for note in notes:
        made = read_note(note)
        known.append((digest(dataclasses.asdict(made)), made))
    found: dict[str, Spent] = {}
    for fingerprint, one in known:
        cost = cost_of(one)
        before = {spent.fingerprint: spent for spent in cost.before}
        if one is not None and (cost.flops is not None or one.method == "rows"):
            before[fingerprint] = Spent(
                name=one.name,
                method=one.method,
                fingerprint=fingerprint,
                flops=cost.flops,
                processor_seconds=cost.processor_seconds,
            )
        found |= before
    return tuple(found.values())


def coverage_of(made: Made) -> Coverage:
    """Return what a method reached, see `cost_of`."""
    return record(Coverage, made.coverage or {}, f"{MADE} of {made.name}: coverage", part=True)


def write_made(folder: Path, made: Made) -> Made:
    """Write `made.json` into a checkpoint's folder, with the code of this process as its maker.

    Returns:
        What was written.
    """
    made = dataclasses.replace(made, packages=package_versions(), git=git_commit())
    text = json.dumps(dataclasses.asdict(made), indent=2, ensure_ascii=False)
    write_whole(folder / MADE, (text + "\n").encode())
    return made


def read_made(folder: Path) -> Made | None:
    """Read `made.json` of a checkpoint's folder; None where there is none.

    Raises:
        UserError: It is not what `write_made` writes.
    """
    path = folder / MADE
    return read_note(path) if path.exists() else None


def read_note(path: Path) -> Made:
    """Read a file as `made.json` is, see `read_made`."""
    return record(Made, read_json(path), path)
