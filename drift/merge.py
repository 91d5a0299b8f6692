"""Merge a reasoning model, another VLM or a prior into a VLM, streamed.

The walk over a checkpoint opens the VLM's shards one after the other, exchanges what the recipe
changes and copies every other byte. How far the weights as written went is measured on the way, of
large tensors on a sample: in bfloat16 a small step is lost in part.

    driftbench merge VLM LLM --method linear --alpha 0.3 --out DIR
    driftbench merge VLM SFT --alphas 0.25,0.5,0.75 --out-dir DIR
    driftbench merge VLM PRIOR --alpha 0.3 --out DIR

Written into a folder by `merge`, or handed to a running engine by `tensors`: the same bytes.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import refuse_existing, written_aside
from common.processes import processor_seconds
from common.provenance import Made, lineage, write_made
from drift import compatibility, experts
from drift.checkpoints import BLOCK, Blocks, Checkpoint, read_tensor, rewrite
from drift.delta import FILE as PRIOR
from drift.delta import load, open_base, stream
from drift.families import DECODER_ROLES, ROLES, Role, decoder_keys, family_of, vlm_keys
from drift.fingerprints import parent
from drift.headers import INDEX, shapes
from drift.merge_methods import (
    GATED,
    OF_MATRICES,
    Recipe,
    check,
    combiner,
    share_of,
    touched,
)
from drift.pairing import (
    Pairing,
    Weight,
    is_same_family,
    pair,
    pair_vlms,
    placed,
    refuse_unpaired,
    same_tensors,
)
from drift.papers import copy_papers
from drift.rounding import rounded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Models:
    """What is merged, opened and paired."""

    weights: dict[str, Weight]
    """By their names in the VLM."""
    vlm: Checkpoint
    other: Callable[[Weight], Blocks]
    """Weight → its partner, or of a prior its Δ."""
    base: Callable[[Weight], Blocks] | None
    """Weight → its tensor in the common base, for the methods in `NEEDS_BASE`."""
    along_prior: bool
    parents: tuple[tuple[str, Path], ...]
    """Role and folder of each model."""


SAMPLED = 8
"""Of a tensor of more than twice as many blocks every eighth one is measured: measuring all would
take as long as a linear merge itself."""


@dataclass(frozen=True)
class Reached:
    """How far the weights went, as they are rounded: sums over the blocks of each tensor."""

    sums: dict[str, list[float]] = field(default_factory=dict)
    """Canonical name → ⟨w − w₀, Δ⟩, ‖Δ‖², ⟨w − vlm, step⟩, ‖step‖²: w₀ is the VLM, or the base of a
    recipe with `rho`, Δ leads from there to the reasoner, step is what the recipe asks for."""
    entries: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Canonical name → entries that were measured, and all that there are."""

    def record(self) -> dict[str, float]:
        """Return what `made.json` tells.

        `rho`, the displacement; `kept`, the share of the step that outlived rounding; `measured`,
        the share of the entries that both were measured on, if it is not all.
        """
        totals = [0.0] * 4
        for name, sums in self.sums.items():
            some, every = self.entries[name]
            totals = [a + b * every / some for a, b in zip(totals, sums, strict=True)]
        along, whole, kept, step = totals
        found = {"rho": along / whole if whole else 0.0, "kept": kept / step if step else 1.0}
        some, every = (sum(part) for part in zip((0, 0), *self.entries.values(), strict=True))
        return found if some == every else found | {"measured": some / every}


def is_prior(folder: Path | str) -> bool:
    """Whether `driftbench prior` wrote it."""
    return (Path(folder) / PRIOR).is_file()


def usual_modules(vlm: Path | str, other: Path | str) -> tuple[Role, ...]:
    """What is merged if nobody says: the decoder; of two VLMs all that they share; all of a prior.

    Raises:
        UserError: see `pair`.
    """
    if is_prior(other) or is_same_family(vlm, other):
        there = {weight.role for weight in _paired(vlm, other).weights}
        return tuple(role for role in ROLES if role in there and role != "decay")
    return DECODER_ROLES


def warnings(vlm: Path | str, other: Path | str) -> tuple[str, ...]:
    """What makes the two ill-matched, or is left out of a merge, a sentence each."""
    if is_prior(other):
        prior, ours = load(other), parent("vlm", vlm).fingerprint
        of = [one.fingerprint for one in prior.parents if one.role == "vlm"]
        strange = prior.variant != "reasoner-base" and ours not in of
        return (
            *prior.warnings,
            *([f"the prior {other} was made from another VLM than {vlm}"] if strange else []),
        )
    if is_same_family(vlm, other):
        return pair_vlms(vlm, other).notes
    return tuple(compatibility.warnings(vlm, other))


def layer_count(vlm: Path | str) -> int:
    """How many layers the language model inside a VLM has."""
    layers = [(placed(name)[0] or 0) for name in decoder_keys(vlm, shapes(vlm))]
    return 1 + max(layers)


def _paired(vlm: Path | str, other: Path | str) -> Pairing:
    if is_prior(other):
        return _pair_with_prior(vlm, other)
    return pair_vlms(vlm, other) if is_same_family(vlm, other) else pair(vlm, other)


def _pair_with_prior(vlm: Path | str, folder: Path | str) -> Pairing:
    prior, there = load(folder), shapes(vlm)
    keys = vlm_keys(vlm, there)
    wrong = [name for name, shape in prior.shapes.items() if there.get(keys.get(name, "")) != shape]
    if wrong:
        raise UserError(
            f"{vlm} lacks {len(wrong)} tensors of the prior {folder}, or has them in another shape "
            f"({', '.join(wrong[:5])}); build it from this VLM"
        )
    weights = []
    for name, shape in prior.shapes.items():
        layer, role = placed(name)
        key = keys[name]
        weights.append(
            Weight(name=name, layer=layer, role=role, vlm_key=key, llm_key=name, shape=shape)
        )
    return Pairing(family_of(vlm), tuple(weights), ())


def open_models(
    vlm: Path | str, other: Path | str, recipes: Sequence[Recipe], base: Path | str | None = None
) -> Models:
    """Open and pair what some merges need; arguments as in `merge`.

    What was opened is not searched for values that are not finite: fingerprinting a model does.

    Raises:
        UserError: a recipe is off, the models do not pair, or a file is unsound.
    """
    along_prior = is_prior(other)
    for recipe in recipes:
        check(recipe, base is not None, along_prior)
    pairing = _paired(vlm, other)
    for recipe in recipes:
        refuse_unpaired(pairing, recipe.modules)
        _check_layers(recipe, pairing.weights)
    moved = [one for one in pairing.weights if any(one.role in how.modules for how in recipes)]
    kind = "prior" if along_prior else "other" if is_same_family(vlm, other) else "reasoner"
    parents = [("vlm", Path(vlm)), (kind, Path(other))]
    if base is not None:
        parents.append(("base", Path(base)))
    return Models(
        weights={weight.vlm_key: weight for weight in pairing.weights},
        vlm=Checkpoint(vlm, finite=True),
        other=_of_prior(other) if along_prior else _of_partner(Checkpoint(other, finite=True)),
        base=None if base is None else _of_base(base, vlm, moved),
        along_prior=along_prior,
        parents=tuple(parents),
    )


def _check_layers(recipe: Recipe, weights: Sequence[Weight]) -> None:
    layers = {weight.layer for weight in weights if weight.layer is not None}
    absent = {*recipe.swap_layers} - layers
    if absent:
        raise UserError(f"the decoder has no layers {', '.join(map(str, absent))}")
    if recipe.by_layer and len(recipe.by_layer) != 1 + max(layers):
        raise UserError(
            f"there are {len(recipe.by_layer)} shares for {1 + max(layers)} layers: give one for "
            "each layer"
        )


def _of_partner(other: Checkpoint) -> Callable[[Weight], Blocks]:
    return lambda weight: partial(other.blocks, weight.llm_key)


def _of_prior(folder: Path | str) -> Callable[[Weight], Blocks]:
    prior = load(folder)

    def blocks(weight: Weight, step: int = 1) -> "Sequence[torch.Tensor]":
        return prior.read(weight.name).flatten().split(BLOCK)

    return lambda weight: partial(blocks, weight)


def _of_base(
    base: Path | str, vlm: Path | str, weights: Sequence[Weight]
) -> Callable[[Weight], Blocks]:
    """Weight → the tensor of the base, which is text-only or a VLM of the same family."""
    if not is_same_family(vlm, base):
        return _of_partner(open_base(base, weights, finite=True))
    keys, whole = same_tensors(vlm, base, weights), Checkpoint(base, finite=True)
    return lambda weight: partial(whole.blocks, keys[weight.name])


def tensors(
    models: Models, recipe: Recipe, reached: Reached
) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield every tensor of a merge, whole, with its name: what `merge` would write."""
    import torch

    for key, entry in models.vlm.stored.items():
        blocks = _merged_at(key, models, recipe, reached)
        if blocks is None:
            yield key, read_tensor(models.vlm.folder / entry.file, entry)
        else:
            # What needs no rounding may be a buffer that the next block overwrites.
            yield key, torch.cat([block.clone() for block in blocks]).view(entry.shape)


def _merged_at(
    key: str, models: Models, recipe: Recipe, reached: Reached
) -> "Iterator[torch.Tensor] | None":
    """The tensor at `key` in the VLM, merged; None where nothing of the recipe concerns it."""
    if fused := experts.parts(key, models.vlm.stored):
        return _fused_at(key, fused, models, recipe, reached)
    weight = models.weights.get(key)
    if weight is None or weight.role not in recipe.modules or not _moves(recipe):
        return None
    sources = [partial(models.vlm.blocks, key), models.other(weight)]
    if models.base is not None:
        sources.append(models.base(weight))
    return merged(weight, recipe, sources, reached, models.along_prior)


def _fused_at(
    key: str, parts: list[list[str]], models: Models, recipe: Recipe, reached: Reached
) -> "Iterator[torch.Tensor] | None":
    """As `_merged_at`, of experts that lie in one tensor."""
    found = {part: _merged_at(part, models, recipe, reached) for row in parts for part in row}
    if all(one is None for one in found.values()):
        return None
    return experts.together(
        key, models.vlm.stored, lambda part: found[part] or models.vlm.blocks(part)
    )


def _moves(recipe: Recipe) -> bool:
    return any((recipe.weights, *recipe.by_layer)) or (not recipe.by_layer and recipe.alpha != 0)


def merged(
    weight: Weight,
    recipe: Recipe,
    sources: Sequence[Blocks],
    reached: Reached,
    along_prior: bool = False,
) -> "Iterator[torch.Tensor]":
    """The merged tensor, flat, block by block, in the VLM's dtype; the arithmetic is float32.

    A tensor that the recipe leaves alone comes as it is.

    Args:
        weight: Which tensor; its name picks the random streams.
        recipe: How.
        sources: The tensor in the VLM, in its partner, and, for the methods in `NEEDS_BASE`, in
            the common base.
        reached: Gets how far the tensor went.
        along_prior: Whether the partner is a Δ.
    """
    changes = touched(weight, recipe)
    combine = combiner(weight, recipe, sources, along_prior) if changes else None
    by_chance = changes and recipe.rounding == "stochastic"
    chance = stream(f"rounding {weight.name}", recipe.seed) if by_chance else None
    share = share_of(weight, recipe)
    exactly = recipe.rho is not None or recipe.method in OF_MATRICES
    every = 1 if exactly or prod(weight.shape) <= 2 * SAMPLED * BLOCK else SAMPLED
    sums, seen, count = [0.0] * 4, 0, 0
    for number, blocks in enumerate(zip(*(one() for one in sources), strict=True)):
        exact = blocks[0] if combine is None else combine(*blocks)
        block = rounded(exact, blocks[0].dtype, chance)
        count += len(block)
        if number % every == 0:
            seen += len(block)
            went = _gone(recipe, share, blocks, exact=exact, rounded=block, along_prior=along_prior)
            sums = [a + b for a, b in zip(sums, went, strict=True)]
        yield block
    reached.sums[weight.name], reached.entries[weight.name] = sums, (seen, count)


def _gone(
    recipe: Recipe,
    share: float,
    blocks: "Sequence[torch.Tensor]",
    *,
    exact: "torch.Tensor",
    rounded: "torch.Tensor",
    along_prior: bool,
) -> tuple[float, ...]:
    """How far one block went: see `Reached.sums`."""
    vlm, other, written = blocks[0].float(), blocks[1].float(), rounded.float()
    start = vlm if recipe.rho is None else blocks[2].float()
    delta = other if along_prior else other - start
    went = written - vlm
    along = went if start is vlm else written - start
    moved, whole = float(along.dot(delta)), float(delta.dot(delta))
    if recipe.method in ("linear", "layer_swap"):
        # The step is a share of Δ; of bfloat16 it is rounded as it is computed.
        return moved, whole, share * moved, share * share * whole
    step = exact.float() - vlm
    return moved, whole, float(went.dot(step)), float(step.dot(step))


def merge(
    vlm: Path | str,
    other: Path | str,
    jobs: Mapping[Path, Recipe],
    base: Path | str | None = None,
    overwrite: bool = False,
) -> Iterator[tuple[Path, Made]]:
    """Write merges of `vlm` and `other`, one after the other.

    Sharding, names, dtypes and the files beside the weights are those of the VLM.

    Args:
        vlm: Folder of the VLM.
        other: Folder of the text-only reasoner, of another VLM of the family, or of a prior.
        jobs: New folder → how.
        base: Folder of the model that both came from, text-only or a VLM of the same family, for
            the methods that need it.
        overwrite: Whether folders may be replaced.

    Yields:
        Each folder, when it is complete, and its `made.json`.

    Raises:
        UserError: a recipe is off, the models do not pair, or a file is unsound.
    """
    for out in jobs:
        refuse_existing(out, overwrite)
    models = open_models(vlm, other, list(jobs.values()), base)
    parents = tuple(parent(role, folder) for role, folder in models.parents)
    before = [asdict(one) for one in lineage(parents)]
    for out, recipe in jobs.items():
        with written_aside(out, overwrite) as aside:
            started, began, reached = time.perf_counter(), processor_seconds(), Reached()
            _write(models, recipe, aside, reached)
            made = Made(
                method="merge",
                name=out.name,
                parents=parents,
                settings=asdict(recipe),
                coverage=_coverage(models.weights.values(), recipe, reached),
                reached=reached.record(),
                cost={
                    "seconds": time.perf_counter() - started,
                    "processor_seconds": processor_seconds() - began,
                    "flops": 0,
                    "before": before,
                    "device": "cpu",
                },
            )
            made = write_made(aside, made)
        yield out, made


def _write(models: Models, recipe: Recipe, aside: Path, reached: Reached) -> None:
    """Write one merge into `aside`."""
    source = models.vlm.folder
    copy_papers(source, aside)
    for file in sorted({entry.file for entry in models.vlm.stored.values()}):
        rewrite(source / file, aside / file, lambda key: _merged_at(key, models, recipe, reached))
    if (source / INDEX).is_file():
        shutil.copyfile(source / INDEX, aside / INDEX)


def _coverage(weights: Collection[Weight], recipe: Recipe, reached: Reached) -> dict[str, Any]:
    done = [weight for weight in weights if touched(weight, recipe)]
    left_alone = {
        weight.name
        for weight in done
        if recipe.method in GATED and not reached.sums[weight.name][3]
    }
    done = [weight for weight in done if weight.name not in left_alone]
    inside = [weight for weight in done if weight.role in DECODER_ROLES]
    whole = sum(prod(weight.shape) for weight in weights if weight.role in DECODER_ROLES)
    return {
        "tensors": len(done),
        "parameters": sum(prod(weight.shape) for weight in done),
        "decoder_share": sum(prod(weight.shape) for weight in inside) / whole,
        "by_role": dict(Counter(weight.role for weight in done)),
        **({"left_alone": len(left_alone)} if recipe.method in GATED else {}),
    }
