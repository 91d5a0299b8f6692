"""Merge a reasoning model into the language model of a VLM: functions of tensors, streamed.

Every method is a pure function of float32 tensors; the walk over a checkpoint opens the VLM's
shards one after the other, exchanges the decoder's tensors and copies every other byte. α is the
share of the reasoner: 0 is the VLM byte for byte, 1 is the reasoner's decoder.

    driftbench merge VLM LLM --method linear --alpha 0.3 --out DIR
    driftbench merge SFT LLM --base VLM --rho-of DRIFT --out DIR

Written into a folder by `merge`, or handed to a running engine by `tensors`: the same bytes.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import acos, inf, prod, sin
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from common.errors import UserError
from common.files import refuse_existing, written_aside
from common.provenance import MADE, Made, write_made
from drift.checkpoints import (
    CHUNK,
    Blocks,
    Checkpoint,
    read_tensor,
    rewrite,
    wide,
)
from drift.delta import open_base, stream
from drift.families import (
    DECODER_ROLES,
    Role,
    Weight,
    family_of,
    pair,
    read_config,
    refuse_unpaired,
    same_decoder,
)
from drift.fingerprints import parent
from drift.headers import INDEX

if TYPE_CHECKING:
    import torch

Method = Literal[
    "linear", "task_arithmetic", "slerp", "ties", "dare_linear", "dare_ties", "layer_swap"
]
METHODS: tuple[Method, ...] = get_args(Method)
SAMPLE = 1 << 16
"""Entries that a threshold is first guessed from."""
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack"}
NOT_COPIED = {INDEX, MADE, "drift_log.jsonl"}
NEEDS_BASE: tuple[Method, ...] = ("task_arithmetic", "ties", "dare_linear", "dare_ties")
FURTHEST = 2.0
"""Largest alpha that reaches a displacement: DRIFT at a large step size passes the reasoner."""


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
    rho: float | None = None
    """Displacement that alpha was chosen for, see `to_reach`."""
    rounding: Literal["nearest", "stochastic"] = "nearest"
    """Of the result to bfloat16. A step of less than half a bfloat16's resolution is lost when it
    is rounded to the nearest; rounded up or down by chance, it is kept on the average."""


def to_reach(
    rho: float, vlm: Path | str, llm: Path | str, sft: Path | str, modules: tuple[Role, ...]
) -> Recipe:
    """How to merge `sft` with `llm`, base `vlm`, so that the displacement becomes `rho`.

    ρ = ⟨w − w₀, Δ⟩/‖Δ‖² grows by α when α·Δ is added, so α is what is missing. Rounding is
    stochastic: the step is often smaller than bfloat16 resolves.

    Args:
        rho: Wanted displacement from `vlm` along Δ = llm − vlm.
        vlm: Folder of the VLM before training, w₀.
        llm: Folder of the reasoner.
        sft: Folder of what plain fine-tuning made of `vlm`.
        modules: Roles that count and that are merged.

    Raises:
        UserError: `sft` has gone as far already, or it is too far to be meant.
    """
    from drift.distance import displacement

    there = displacement(vlm, llm, sft, modules).rho
    if not 0 < rho - there <= FURTHEST:
        raise UserError(
            f"{sft} has a displacement of {there:.4g} toward {llm}; a merge adds more than 0 and "
            f"at most {FURTHEST:g} to it, which does not reach {rho:.4g}"
        )
    return Recipe("task_arithmetic", rho - there, modules=modules, rho=rho, rounding="stochastic")


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


def slerp_shares(vv: float, vr: float, rr: float, alpha: float) -> tuple[float, float]:
    """Factors of vlm and llm that lead to the point at α on the great circle between the two.

    Directions are those of the whole tensor, flattened; lengths are interpolated linearly. Nearly
    parallel directions are interpolated linearly as well. Source: Shoemake, SIGGRAPH 1985.

    Args:
        vv: ⟨vlm, vlm⟩.
        vr: ⟨vlm, llm⟩.
        rr: ⟨llm, llm⟩.
        alpha: Share of llm.
    """
    a, b = vv**0.5, rr**0.5
    if not a or not b:
        return 1 - alpha, alpha
    angle = acos(max(-1.0, min(1.0, vr / (a * b))))
    if sin(angle) < 1e-4:
        return 1 - alpha, alpha
    length = ((1 - alpha) * a + alpha * b) / sin(angle)
    return length * sin((1 - alpha) * angle) / a, length * sin(alpha * angle) / b


def threshold(update: Blocks, count: int, density: float) -> float:
    """The magnitude that the largest `density` of the entries of `update` reach, exactly.

    No sort: a sample brackets the magnitude, one pass counts what lies above the bracket and
    keeps what lies inside, and that is selected from. Should the sample mislead, the bracket is
    everything.

    Args:
        update: Float32; the blocks are changed.
        count: Its entries.
        density: Share, 0 … 1.
    """
    import numpy as np

    keep = round(density * count)
    if keep == 0:
        return inf
    for low, high in (_bracket(update, count, keep / count), (0.0, inf)):
        above, inside = 0, []
        for block in update():
            size = block.abs_().numpy()
            above += int(np.count_nonzero(size > high))
            inside.append(size[np.flatnonzero((size >= low) & (size <= high))])
        middle = np.concatenate(inside)
        if above < keep <= above + len(middle):
            place = len(middle) - (keep - above)
            return float(np.partition(middle, place)[place])
    raise AssertionError("no entry is smaller than 0 or larger than infinity")


def _bracket(update: Blocks, count: int, share: float) -> tuple[float, float]:
    """Two magnitudes between which the one that `share` of the entries reach probably lies."""
    import numpy as np

    chunks = max(1, count // CHUNK // 16)
    # An odd step meets every column of a matrix whose rows are a power of two.
    every = count // chunks // SAMPLE | 1
    sample = np.sort(np.concatenate([block[::every].abs().numpy() for block in update(chunks)]))
    place = (1 - share) * len(sample)
    # Eight standard errors of a quantile of independent draws, which neighbours are not.
    slack = 1 + 4 * len(sample) ** 0.5
    low = sample[int(place - slack)] if place > slack else 0.0
    high = sample[int(place + slack)] if place + slack < len(sample) else inf
    return float(low), float(high)


def trim(update: "torch.Tensor", least: float) -> "torch.Tensor":
    """`update`, in place, with the entries that are smaller than `least` set to 0."""
    import numpy as np
    import torch

    # It keeps what is larger than its bound, so the bound is the next smaller number.
    bound = float(np.nextafter(np.float32(least), np.float32(0)))
    return torch.hardshrink(update, bound, out=update)


def elect(ours: "torch.Tensor", theirs: "torch.Tensor", alpha: float) -> "torch.Tensor":
    """(1 − α)·ours + α·theirs, without the one that is against the sign of that sum; in place.

    Sign election of TIES (Yadav et al., NeurIPS 2023, arXiv 2306.01708, section 4.2). The sum is
    not divided by the shares that remain: with two models that would let the reasoner's entries
    in at full strength wherever the VLM's were trimmed, whatever α.
    """
    import torch

    total = ours.mul_(1 - alpha) + theirs.mul_(alpha)
    sign = total.sign()
    # Turned so that the sum is positive, what remains is the largest of the two and the sum.
    # Comparisons would take ten times as long.
    torch.maximum(ours.mul_(sign), theirs.mul_(sign), out=ours)
    return torch.maximum(ours, total.mul_(sign), out=ours).mul_(sign)


def drop(update: "torch.Tensor", density: float, stream: "torch.Generator") -> "torch.Tensor":
    """Keep each entry with probability `density`, divided by it, so that the mean stays.

    Source: DARE, Yu et al., ICML 2024, arXiv 2311.03099, equation 1.
    """
    import torch

    # 1 where the draw is below the density, else 0.
    kept = (density - torch.rand(update.shape, generator=stream)).sign_().clamp_(min=0)
    return kept.mul_(update).div_(density)


def touched(weight: Weight, recipe: Recipe) -> bool:
    """Whether the recipe changes this tensor; if not, the VLM's bytes stay."""
    if recipe.alpha == 0 or weight.role not in recipe.modules:
        return False
    return recipe.method != "layer_swap" or weight.layer in recipe.swap_layers


def merged(
    weight: Weight, recipe: Recipe, vlm: Blocks, llm: Blocks, base: Blocks | None
) -> "Iterator[torch.Tensor]":
    """The merged tensor, flat, block by block; the arithmetic is float32.

    Args:
        weight: Which tensor; its name picks the random streams.
        recipe: How.
        vlm: As it lies in the VLM.
        llm: Its partner.
        base: The same of the common base, for the methods in `NEEDS_BASE`.
    """
    import torch

    combine = _combine(weight, recipe, vlm, llm, base)
    chance = stream(f"rounding {weight.name}", recipe.seed)
    sources = [one() for one in (vlm, llm, base) if one is not None]
    for blocks in zip(*sources, strict=True):
        block = combine(*blocks)
        if recipe.rounding == "stochastic" and blocks[0].dtype == torch.bfloat16:
            block = round_by_chance(block, chance)
        yield block


def round_by_chance(block: "torch.Tensor", chance: "torch.Generator") -> "torch.Tensor":
    """Float32 `block` as bfloat16, up or down with the odds that keep the mean."""
    import torch

    # bfloat16 is the upper half of a float32: what is added carries with those odds.
    noise = torch.randint(1 << 16, block.shape, dtype=torch.int32, generator=chance)
    up = block.view(torch.int32).add(noise).bitwise_and_(-(1 << 16))
    return up.view(torch.float32).bfloat16()


def _combine(
    weight: Weight, recipe: Recipe, vlm: Blocks, llm: Blocks, base: Blocks | None
) -> "Callable[..., torch.Tensor]":
    """What to do with the blocks of one tensor; reads it beforehand where a method has to."""
    alpha, density, name = recipe.alpha, recipe.density, weight.name
    if recipe.method in ("linear", "layer_swap"):
        return lambda v, r: linear(*wide(v, r), alpha)
    if recipe.method == "slerp":
        ours, theirs = slerp_shares(*_products(vlm, llm), alpha)
        return lambda v, r: ours * v.float() + theirs * r.float()
    assert base is not None
    if recipe.method == "task_arithmetic":
        return lambda v, r, b: task_arithmetic(v.float(), r.float(), b.float(), alpha)
    if recipe.method == "ties":
        count = prod(weight.shape)
        least = [threshold(_updates(one, base), count, density) for one in (vlm, llm)]
        return _on_updates(
            lambda ours, theirs: elect(trim(ours, least[0]), trim(theirs, least[1]), alpha)
        )
    streams = [stream(f"{who} {name}", recipe.seed) for who in ("vlm", "llm")]
    join = elect if recipe.method == "dare_ties" else linear
    return _on_updates(
        lambda ours, theirs: join(
            drop(ours, density, streams[0]), drop(theirs, density, streams[1]), alpha
        )
    )


def _on_updates(
    join: "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]",
) -> "Callable[..., torch.Tensor]":
    """Base + `join` of what the two models added to it."""

    def combine(v: "torch.Tensor", r: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
        there = b.float()
        return join(_less(v, there), _less(r, there)).add_(there)

    return combine


def _less(after: "torch.Tensor", before: "torch.Tensor") -> "torch.Tensor":
    """What was added to the float32 `before`, in memory of its own."""
    import torch

    return after.to(torch.float32, copy=True).sub_(before)


def _updates(model: Blocks, base: Blocks) -> Blocks:
    def blocks(step: int = 1) -> "Iterator[torch.Tensor]":
        for after, before in zip(model(step), base(step), strict=True):
            yield _less(after, before.float())

    return blocks


def _products(vlm: Blocks, llm: Blocks) -> tuple[float, float, float]:
    """⟨vlm, vlm⟩, ⟨vlm, llm⟩ and ⟨llm, llm⟩."""
    import torch

    sums = [0.0, 0.0, 0.0]
    for blocks in zip(vlm(), llm(), strict=True):
        # In float64, so that how many cores share in a sum changes no bit of the merge.
        v, r = (block.double() for block in blocks)
        for i, (one, other) in enumerate(((v, v), (v, r), (r, r))):
            sums[i] += float(torch.dot(one, other))
    return sums[0], sums[1], sums[2]


def check(recipe: Recipe, base: Path | str | None) -> None:
    """Stop at a recipe that cannot be meant.

    Raises:
        UserError: unknown method, a number out of range, or a base too many or too few.
    """
    if recipe.method not in METHODS:
        raise UserError(f"no merge is called {recipe.method!r}; choose {', '.join(METHODS)}")
    if not 0 <= recipe.alpha <= (1 if recipe.rho is None else FURTHEST):
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


@dataclass(frozen=True)
class Models:
    """What is merged, opened and paired."""

    weights: tuple[Weight, ...]
    vlm: Checkpoint
    llm: Checkpoint
    base: Callable[[Weight], Blocks] | None
    """Weight → its tensor in the common base, for the methods in `NEEDS_BASE`."""


def open_models(
    vlm: Path | str, llm: Path | str, recipes: Sequence[Recipe], base: Path | str | None = None
) -> Models:
    """Open and pair what some merges need; arguments as in `merge`.

    Raises:
        UserError: a recipe is off, the decoders do not pair, or a file is unsound.
    """
    for recipe in recipes:
        check(recipe, base)
    pairing = pair(vlm, llm)
    for recipe in recipes:
        refuse_unpaired(pairing, recipe.modules)
    weights = pairing.weights
    layers = {weight.layer for weight in weights}
    absent = {layer for recipe in recipes for layer in recipe.swap_layers} - layers
    if absent:
        raise UserError(f"the decoder has no layers {', '.join(map(str, absent))}")
    from_base = None if base is None else _open_base(base, vlm, weights)
    return Models(weights, Checkpoint(vlm), Checkpoint(llm), from_base)


def tensors(models: Models, recipe: Recipe) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield every tensor of a merge, whole, with its name: what `merge` would write."""
    import torch

    for key, entry in models.vlm.entries.items():
        blocks = _merged_at(key, models, recipe)
        if blocks is None:
            yield key, read_tensor(models.vlm.folder / entry.file, entry)
        else:
            kind = getattr(torch, entry.dtype)
            yield key, torch.cat([block.to(kind, copy=True) for block in blocks]).view(entry.shape)


def _merged_at(key: str, models: Models, recipe: Recipe) -> "Iterator[torch.Tensor] | None":
    """The tensor at `key` in the VLM, merged; None where the VLM's bytes stay."""
    weight = next((weight for weight in models.weights if weight.vlm_key == key), None)
    if weight is None or not touched(weight, recipe):
        return None
    ours, theirs = partial(models.vlm.blocks, key), partial(models.llm.blocks, weight.llm_key)
    there = models.base(weight) if models.base is not None else None
    return merged(weight, recipe, ours, theirs, there)


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
        base: Folder of the model that both came from, text-only or a VLM of the same family, for
            the methods that need it.
        overwrite: Whether folders may be replaced.

    Yields:
        Each folder, when it is complete, and its `made.json`.

    Raises:
        UserError: a recipe is off, the decoders do not pair, or a file is unsound.
    """
    for out in jobs:
        refuse_existing(out, overwrite)
    models = open_models(vlm, llm, list(jobs.values()), base)
    parents = [parent("vlm", vlm), parent("reasoner", llm)]
    if base is not None:
        parents.append(parent("base", base))
    for out, recipe in jobs.items():
        with written_aside(out, overwrite) as aside:
            started = time.perf_counter()
            _write(models, recipe, aside)
            cost = {"seconds": time.perf_counter() - started, "device": "cpu"}
            coverage = _coverage(models.weights, recipe)
            made = Made(
                method="merge",
                name=out.name,
                parents=tuple(parents),
                settings=asdict(recipe),
                coverage=coverage,
                cost=cost,
            )
            write_made(aside, made)
        yield out, made


def _open_base(
    base: Path | str, vlm: Path | str, weights: tuple[Weight, ...]
) -> Callable[[Weight], Blocks]:
    """Weight → the tensor of the base, which is text-only or a VLM of the same family."""
    if read_config(base).get("model_type") != family_of(vlm).model_type:
        text = open_base(base, weights)
        return lambda weight: partial(text.blocks, weight.llm_key)
    keys, whole = same_decoder(vlm, base, weights), Checkpoint(base)
    return lambda weight: partial(whole.blocks, keys[weight.name])


def _write(models: Models, recipe: Recipe, aside: Path) -> None:
    """Write one merge into `aside`."""
    source = models.vlm.folder
    copy_papers(source, aside)
    for file in sorted({entry.file for entry in models.vlm.entries.values()}):
        rewrite(source / file, aside / file, lambda key: _merged_at(key, models, recipe))
    if (source / INDEX).is_file():
        shutil.copyfile(source / INDEX, aside / INDEX)


def _coverage(weights: tuple[Weight, ...], recipe: Recipe) -> dict[str, Any]:
    done = [weight for weight in weights if touched(weight, recipe)]
    inside = [weight for weight in done if weight.role in DECODER_ROLES]
    whole = sum(prod(weight.shape) for weight in weights if weight.role in DECODER_ROLES)
    return {
        "tensors": len(done),
        "parameters": sum(prod(weight.shape) for weight in done),
        "decoder_share": sum(prod(weight.shape) for weight in inside) / whole,
        "by_role": dict(Counter(weight.role for weight in done)),
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
