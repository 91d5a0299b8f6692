"""Merge a reasoning model into the language model of a VLM: functions of tensors, streamed.

Every method is a pure function of float32 tensors; the walk over a checkpoint opens the VLM's
shards one after the other, exchanges the decoder's tensors and copies every other byte. α is the
share of the reasoner: 0 is the VLM byte for byte, 1 is the reasoner's decoder.

    python -m drift merge VLM LLM --method linear --alpha 0.3 --out DIR
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import acos, inf, prod, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from drift.errors import UserError
from drift.families import DECODER_ROLES, Role, Weight, pair
from drift.inject import dot
from drift.prior import open_base, stream
from drift.weights import (
    INDEX,
    MADE,
    Checkpoint,
    Made,
    parent,
    refuse_existing,
    rewrite,
    write_made,
    written_aside,
)

if TYPE_CHECKING:
    import torch

Method = Literal[
    "linear", "task_arithmetic", "slerp", "ties", "dare_linear", "dare_ties", "layer_swap"
]
METHODS: tuple[Method, ...] = get_args(Method)
BLOCK = 1 << 18
"""Entries that are merged at a time."""
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack"}
NOT_COPIED = {INDEX, MADE, "drift_log.jsonl"}
NEEDS_BASE: tuple[Method, ...] = ("task_arithmetic", "ties", "dare_linear", "dare_ties")


@dataclass(frozen=True)
class Recipe:
    """How two decoders are merged."""

    method: Method = "linear"
    alpha: float = 0.1
    """Share of the reasoner, 0 … 1."""
    density: float = 0.5
    """Share of each task vector's entries that is kept: `ties`, `dare_*`."""
    swap_layers: tuple[int, ...] = ()
    """Layers that get the reasoner's share: `layer_swap`. All others stay the VLM's."""
    seed: int = 0
    """Of the masks of `dare_*`; each tensor has its own stream, named after it."""
    modules: tuple[Role, ...] = DECODER_ROLES
    """Roles that are merged."""


def linear(vlm: "torch.Tensor", llm: "torch.Tensor", alpha: float) -> "torch.Tensor":
    """(1 − α)·vlm + α·llm (Chen et al., ICML 2025, arXiv 2505.05464, with their λ = 1 − α)."""
    import torch

    return torch.lerp(vlm, llm, alpha)  # exact at both ends


def task_arithmetic(
    vlm: "torch.Tensor", llm: "torch.Tensor", base: "torch.Tensor", alpha: float
) -> "torch.Tensor":
    """Base + (vlm − base) + α·(llm − base): the reasoner's update on top of the VLM.

    Source: Ilharco et al., ICLR 2023, arXiv 2212.04089, section 4.
    """
    return vlm + alpha * (llm - base)


def slerp_shares(vlm: "torch.Tensor", llm: "torch.Tensor", alpha: float) -> tuple[float, float]:
    """Factors of vlm and llm that lead to the point at α on the great circle between the two.

    Directions are those of the whole tensor, flattened; lengths are interpolated linearly. Nearly
    parallel directions are interpolated linearly as well. Source: Shoemake, SIGGRAPH 1985.
    """
    a, b = dot(vlm, vlm) ** 0.5, dot(llm, llm) ** 0.5
    if not a or not b:
        return 1 - alpha, alpha
    angle = acos(max(-1.0, min(1.0, dot(vlm, llm) / (a * b))))
    if sin(angle) < 1e-4:
        return 1 - alpha, alpha
    length = ((1 - alpha) * a + alpha * b) / sin(angle)
    return length * sin((1 - alpha) * angle) / a, length * sin(alpha * angle) / b


def threshold(update: "torch.Tensor", density: float) -> float:
    """The magnitude that the largest `density` of the entries of `update` reach.

    Found by selection, not by sorting.
    """
    import numpy as np

    keep = round(density * update.numel())
    if keep == 0:
        return inf
    place = update.numel() - keep
    return float(np.partition(update.abs().flatten().numpy(), place)[place])


def trim(update: "torch.Tensor", least: float) -> "torch.Tensor":
    """`update` with the entries that are smaller than `least` set to 0."""
    return update * (update.abs() >= least)


def elect(ours: "torch.Tensor", theirs: "torch.Tensor", alpha: float) -> "torch.Tensor":
    """(1 − α)·ours + α·theirs, without the one that is against the sign of that sum.

    Sign election of TIES (Yadav et al., NeurIPS 2023, arXiv 2306.01708, section 4.2). The sum is
    not divided by the shares that remain: with two models that would let the reasoner's entries
    in at full strength wherever the VLM's were trimmed, whatever α.
    """
    ours, theirs = (1 - alpha) * ours, alpha * theirs
    sign = (ours + theirs).sign()
    return ours * (ours.sign() == sign) + theirs * (theirs.sign() == sign)


def drop(update: "torch.Tensor", density: float, stream: "torch.Generator") -> "torch.Tensor":
    """Keep each entry with probability `density`, divided by it, so that the mean stays.

    Source: DARE, Yu et al., ICML 2024, arXiv 2311.03099, equation 1.
    """
    import torch

    return update * (torch.rand(update.shape, generator=stream) < density) / density


def _touched(weight: Weight, recipe: Recipe) -> bool:
    """Whether the recipe changes this tensor; if not, the VLM's bytes stay."""
    if recipe.alpha == 0 or weight.role not in recipe.modules:
        return False
    return recipe.method != "layer_swap" or weight.layer in recipe.swap_layers


def merge_tensor(
    weight: Weight,
    recipe: Recipe,
    vlm: "torch.Tensor",
    llm: "torch.Tensor",
    base: "torch.Tensor | None",
) -> "torch.Tensor":
    """The merged tensor, in the shape and dtype of `vlm`; the arithmetic is float32.

    Args:
        weight: Which tensor; its name picks the random streams.
        recipe: How.
        vlm: As it lies in the VLM.
        llm: Its partner.
        base: The same of the common base, for the methods in `NEEDS_BASE`.
    """
    alpha, density, name = recipe.alpha, recipe.density, weight.name
    if recipe.method in ("linear", "layer_swap"):
        return _blockwise(lambda v, r: linear(v, r, alpha), vlm, llm)
    if recipe.method == "slerp":
        ours, theirs = slerp_shares(vlm, llm, alpha)
        return _blockwise(lambda v, r: ours * v + theirs * r, vlm, llm)
    assert base is not None
    if recipe.method == "task_arithmetic":
        return _blockwise(lambda v, r, b: task_arithmetic(v, r, b, alpha), vlm, llm, base)
    if recipe.method == "ties":
        least = [threshold(one.float() - base.float(), density) for one in (vlm, llm)]
        return _blockwise(
            lambda v, r, b: b + elect(trim(v - b, least[0]), trim(r - b, least[1]), alpha),
            vlm,
            llm,
            base,
        )
    streams = [stream(f"{who} {name}", recipe.seed) for who in ("vlm", "llm")]
    join = elect if recipe.method == "dare_ties" else linear
    return _blockwise(
        lambda v, r, b: (
            b + join(drop(v - b, density, streams[0]), drop(r - b, density, streams[1]), alpha)
        ),
        vlm,
        llm,
        base,
    )


def _blockwise(function: "Callable[..., torch.Tensor]", *tensors: "torch.Tensor") -> "torch.Tensor":
    """`function` of float32 blocks of the flattened tensors, in the shape and dtype of the first.

    Blocks fit the processor's cache: whole tensors take ten times as long.
    """
    import torch

    out = torch.empty_like(tensors[0])
    blocks = zip(*(one.flatten().split(BLOCK) for one in tensors), strict=True)
    for place, block in zip(out.flatten().split(BLOCK), blocks, strict=True):
        place.copy_(function(*(one.float() for one in block)))
    return out


def check(recipe: Recipe, base: Path | str | None) -> None:
    """Stop at a recipe that cannot be meant.

    Raises:
        UserError: unknown method, a number out of range, or a base too many or too few.
    """
    if recipe.method not in METHODS:
        raise UserError(f"no merge is called {recipe.method!r}; choose {', '.join(METHODS)}")
    if not 0 <= recipe.alpha <= 1:
        raise UserError(f"alpha is {recipe.alpha}; it is the reasoner's share, between 0 and 1")
    if not 0 < recipe.density <= 1:
        raise UserError(f"density is {recipe.density}; give a share above 0, at most 1")
    if (base is None) == (recipe.method in NEEDS_BASE):
        raise UserError(
            f"a base model goes with {', '.join(NEEDS_BASE)}, and only with these; the method "
            f"here is {recipe.method}"
        )
    if bool(recipe.swap_layers) != (recipe.method == "layer_swap"):
        raise UserError("layers to swap go with layer_swap, and only with it")


def merge(
    vlm: Path | str,
    llm: Path | str,
    jobs: Mapping[Path, Recipe],
    base: Path | str | None = None,
    overwrite: bool = False,
) -> Iterator[tuple[Path, Made]]:
    """Write merges of `vlm` and the text-only `llm`, one after the other.

    Sharding, names, dtypes and all files that hold no weights are those of the VLM.

    Args:
        vlm: Folder of the VLM.
        llm: Folder of the reasoner.
        jobs: New folder → how.
        base: Folder of the model that both came from, for the methods that need it.
        overwrite: Whether folders may be replaced.

    Yields:
        Each folder, when it is complete, and its `made.json`.

    Raises:
        UserError: a recipe is off, the decoders do not pair, or a file is unsound.
    """
    for out, recipe in jobs.items():
        check(recipe, base)
        refuse_existing(out, overwrite)
    weights = pair(vlm, llm).weights
    layers = {weight.layer for weight in weights}
    absent = {layer for recipe in jobs.values() for layer in recipe.swap_layers} - layers
    if absent:
        raise UserError(f"the decoder has no layers {', '.join(map(str, absent))}")
    from_base = open_base(base, weights) if base is not None else None
    parents = [parent("vlm", vlm), parent("reasoner", llm)]
    if base is not None:
        parents.append(parent("base", base))
    from_vlm, from_llm = Checkpoint(vlm), Checkpoint(llm)
    for out, recipe in jobs.items():
        with written_aside(out, overwrite) as aside:
            started = time.perf_counter()
            merged = _write(weights, recipe, from_vlm, from_llm, from_base, aside)
            cost = {"seconds": time.perf_counter() - started, "device": "cpu"}
            coverage = _coverage(merged, weights)
            made = Made("merge", out.name, tuple(parents), asdict(recipe), coverage, cost)
            write_made(aside, made)
        yield out, made


def _write(
    weights: tuple[Weight, ...],
    recipe: Recipe,
    from_vlm: Checkpoint,
    from_llm: Checkpoint,
    from_base: Checkpoint | None,
    aside: Path,
) -> list[Weight]:
    """Write one merge into `aside`; what was merged."""
    wanted = {weight.vlm_key: weight for weight in weights if _touched(weight, recipe)}

    def replace(key: str) -> "torch.Tensor | None":
        weight = wanted.get(key)
        if weight is None:
            return None
        ours, theirs = from_vlm.tensor(key), from_llm.tensor(weight.llm_key)
        there = from_base.tensor(weight.llm_key) if from_base is not None else None
        return merge_tensor(weight, recipe, ours, theirs, there)

    copy_papers(from_vlm.folder, aside)
    for file in sorted({entry.file for entry in from_vlm.entries.values()}):
        rewrite(from_vlm.folder / file, aside / file, replace)
    if (from_vlm.folder / INDEX).is_file():
        shutil.copyfile(from_vlm.folder / INDEX, aside / INDEX)
    return list(wanted.values())


def _coverage(merged: list[Weight], weights: Iterable[Weight]) -> dict[str, Any]:
    inside = [weight for weight in merged if weight.role in DECODER_ROLES]
    whole = sum(prod(weight.shape) for weight in weights if weight.role in DECODER_ROLES)
    return {
        "tensors": len(merged),
        "parameters": sum(prod(weight.shape) for weight in merged),
        "decoder_share": sum(prod(weight.shape) for weight in inside) / whole,
        "by_role": dict(Counter(weight.role for weight in merged)),
    }


def copy_papers(source: Path, target: Path) -> None:
    """Copy what a checkpoint folder holds beside weights: configuration, tokenizer, template."""
    for path in sorted(source.rglob("*")):
        place = path.relative_to(source)
        hidden = any(part.startswith(".") for part in place.parts)
        if path.is_dir() or hidden or path.suffix in WEIGHT_SUFFIXES or path.name in NOT_COPIED:
            continue
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / place)
