"""How two decoders are merged: functions of float32 tensors, a block at a time.

α is the share of the reasoner: 0 is the VLM, 1 is the reasoner's decoder. At α → 0 TIES and DARE do
not lead to the VLM, whose own update they thin as well; at α = 0 itself nothing is touched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import acos, prod, sin
from typing import TYPE_CHECKING, Literal, get_args

from common.errors import UserError
from drift import spectral
from drift.checkpoints import Blocks, one_core, wide
from drift.delta import stream
from drift.families import DECODER_ROLES, Role
from drift.pairing import Weight
from drift.rounding import Rounding
from drift.thinning import drop, elect, trimmer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

Method = Literal[
    "linear",
    "task_arithmetic",
    "slerp",
    "ties",
    "dare_linear",
    "dare_ties",
    "layer_swap",
    "rank1",
    "ip",
    "ip_coded",
]
METHODS: tuple[Method, ...] = get_args(Method)
OF_UPDATES: tuple[Method, ...] = ("task_arithmetic", "ties", "dare_linear", "dare_ties")
"""Methods that give each of the two updates a factor."""
GATED: tuple[Method, ...] = ("ip", "ip_coded")
"""Methods that leave matrices alone which have too little in common."""
OF_MATRICES: tuple[Method, ...] = ("rank1", *GATED)
"""Methods that add something to the VLM's matrices, and leave its vectors alone."""
NEEDS_BASE = (*OF_UPDATES, *OF_MATRICES)
ALONG_PRIOR: tuple[Method, ...] = ("linear", "layer_swap", "rank1")
"""Methods that take a prior in the reasoner's place."""
THINNING = ("ties", "dare_linear", "dare_ties")
"""Methods that thin the VLM's own update too."""
FURTHEST = 2.0
"""Largest alpha that reaches a displacement: DRIFT at a large step size passes the reasoner."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How two models are merged."""

    method: Method = "linear"
    alpha: float = 0.1
    """Share of the reasoner, 0 … 1; of what is added by `rank1` and `ip`, whose authors take 0.05
    and 1; with `by_layer`, their mean."""
    weights: tuple[float, float] | None = None
    """Factors of the VLM's and of the reasoner's update in place of 1 − α and α, for the methods in
    `OF_UPDATES`: they need not add up to 1."""
    by_layer: tuple[float, ...] = ()
    """A share for each layer in place of α. What comes before the layers has the first, what comes
    behind them the last."""
    density: float = 0.5
    """Share of each task vector's entries that is kept: `ties`, `dare_*`."""
    swap_layers: tuple[int, ...] = ()
    """Layers that get the reasoner's share: `layer_swap`. All others stay the VLM's."""
    seed: int = 0
    """Of the masks of `dare_*`, the search of `rank1`, the signs of `ip_coded`, and of rounding;
    each tensor has its own stream, named after it."""
    modules: tuple[Role, ...] = DECODER_ROLES
    """Roles that are merged."""
    rho: float | None = None
    """Displacement that alpha was chosen for: see `drift.as_far`."""
    rounding: Rounding = "nearest"
    """Of the result: see `drift.rounding`."""


def check(recipe: Recipe, with_base: bool, along_prior: bool = False) -> None:
    """Stop at a recipe that cannot be meant.

    Args:
        recipe: How to merge.
        with_base: Whether there is a base model.
        along_prior: Whether a prior takes the reasoner's place.

    Raises:
        UserError: Unknown method, a number out of range, or settings that do not go together.
    """
    method = recipe.method
    if method not in METHODS:
        raise UserError(f"no merge is called {method!r}; choose {', '.join(METHODS)}")
    for share in () if recipe.weights else (recipe.alpha, *recipe.by_layer):
        if not 0 <= share <= (1 if recipe.rho is None else FURTHEST):
            raise UserError(f"alpha is {share}; it is the reasoner's share, between 0 and 1")
    if not 0 < recipe.density <= 1:
        raise UserError(f"density is {recipe.density}; give a share above 0, at most 1")
    if along_prior and (method not in ALONG_PRIOR or with_base):
        raise UserError(
            f"a prior goes with {', '.join(ALONG_PRIOR)}, without a base; the method here is "
            f"{method}"
        )
    if with_base != (method in NEEDS_BASE) and not along_prior:
        raise UserError(
            f"a base model goes with {', '.join(NEEDS_BASE)}, and only with these; the method "
            f"here is {method}"
        )
    if recipe.weights and (method not in OF_UPDATES or recipe.by_layer):
        raise UserError(
            f"weights of the two updates go with {', '.join(OF_UPDATES)}, without shares by layer"
        )
    if bool(recipe.swap_layers) != (method == "layer_swap"):
        raise UserError("layers to swap go with layer_swap, and only with it")
    if recipe.by_layer and method == "layer_swap":
        raise UserError("layer_swap takes one alpha; shares by layer go with the other methods")


def density_for(method: str, given: float | None) -> float:
    """The share of entries that a method keeps.

    Args:
        method: Of the merge.
        given: What was asked for; None: nothing.

    Raises:
        UserError: The method keeps all of them.
    """
    if given is None:
        return Recipe.density
    if method not in THINNING:
        raise UserError(f"--density is of {', '.join(THINNING)}; leave it out with {method}")
    return given


def share_of(weight: Weight, recipe: Recipe) -> float:
    """The reasoner's share in one tensor."""
    if weight.role not in recipe.modules:
        return 0.0
    if recipe.method == "layer_swap" and weight.layer not in recipe.swap_layers:
        return 0.0
    if recipe.method in OF_MATRICES and len(weight.shape) != 2:
        return 0.0
    if recipe.by_layer:
        outside = 0 if weight.role in ("embedding", "projector", "tower") else -1
        return recipe.by_layer[outside if weight.layer is None else weight.layer]
    return recipe.alpha


def touched(weight: Weight, recipe: Recipe) -> bool:
    """Whether the recipe changes this tensor; if not, the VLM's bytes stay."""
    share = share_of(weight, recipe)
    return share != 0 or (recipe.weights is not None and weight.role in recipe.modules)


def combiner(
    weight: Weight, recipe: Recipe, sources: Sequence[Blocks], along_prior: bool
) -> "Callable[..., torch.Tensor]":
    """What to do with the blocks of one tensor; reads it beforehand where a method has to.

    Args:
        weight: Which tensor; its name picks the random streams.
        recipe: How.
        sources: The tensor in the VLM, in the reasoner, and, for the methods in `NEEDS_BASE`, in
            the common base.
        along_prior: Whether a prior takes the reasoner's place.
    """
    alpha = share_of(weight, recipe)
    if recipe.method in OF_MATRICES:
        return _adder(_of_matrix(weight, recipe, sources, along_prior), alpha)
    if along_prior:
        return lambda v, delta: v.float() + alpha * delta.float()
    if recipe.method in ("linear", "layer_swap"):
        if recipe.rounding == "stochastic":
            return lambda v, r: linear(v.float(), r.float(), alpha)
        return lambda v, r: linear(*wide(v, r), alpha)
    if recipe.method == "slerp":
        ours, theirs = slerp_shares(*_products(*sources), alpha)
        return lambda v, r: ours * v.float() + theirs * r.float()
    vlm, llm, base = sources
    shares = recipe.weights or (1 - alpha, alpha)
    if recipe.method == "task_arithmetic":
        if recipe.weights:
            return _on_updates(lambda ours, theirs: ours.mul_(shares[0]) + theirs.mul_(shares[1]))
        return lambda v, r, b: task_arithmetic(v.float(), r.float(), b.float(), alpha)
    if recipe.method == "ties":
        count = prod(weight.shape)
        trim = [trimmer(_updates(one, base), count, recipe.density) for one in (vlm, llm)]
        return _on_updates(lambda ours, theirs: elect(trim[0](ours), trim[1](theirs), shares))
    streams = [stream(f"{who} {weight.name}", recipe.seed) for who in ("vlm", "llm")]

    def dare(ours: "torch.Tensor", theirs: "torch.Tensor") -> "torch.Tensor":
        ours, theirs = (
            drop(one, recipe.density, chance)
            for one, chance in zip((ours, theirs), streams, strict=True)
        )
        if recipe.method == "dare_ties":
            return elect(ours, theirs, shares)
        if recipe.weights:
            return ours.mul_(shares[0]) + theirs.mul_(shares[1])
        return linear(ours, theirs, alpha)

    return _on_updates(dare)


def _of_matrix(
    weight: Weight, recipe: Recipe, sources: Sequence[Blocks], along_prior: bool
) -> "torch.Tensor | None":
    """What a method of `OF_MATRICES` adds at α = 1; None where it leaves the matrix alone."""
    import torch

    def whole(update: Blocks) -> "torch.Tensor":
        return torch.cat([block.float().clone() for block in update()]).view(weight.shape)

    numbers = stream(f"{recipe.method} {weight.name}", recipe.seed)
    theirs = whole(sources[1] if along_prior else _updates(sources[1], sources[2]))
    with one_core():
        if recipe.method == "rank1":
            return spectral.rank_one(theirs, numbers)
        ours = whole(_updates(sources[0], sources[2]))
        if recipe.method == "ip":
            return spectral.projected(ours, theirs)
        return spectral.projected_as_coded(ours, theirs, numbers)


def _adder(step: "torch.Tensor | None", alpha: float) -> "Callable[..., torch.Tensor]":
    """VLM + α·`step`, from one block to the next."""
    done = 0

    def add(vlm: "torch.Tensor", *_: "torch.Tensor") -> "torch.Tensor":
        nonlocal done
        if step is None:
            return vlm
        done += len(vlm)
        return vlm.float() + alpha * step.view(-1)[done - len(vlm) : done]

    return add


def linear(vlm: "torch.Tensor", llm: "torch.Tensor", alpha: float) -> "torch.Tensor":
    """(1 − α)·vlm + α·llm (Chen et al., ICML 2025, arXiv 2505.05464, with their λ = 1 − α).

    Of two VLMs it is WiSE-FT (Wortsman et al., CVPR 2022, arXiv 2109.01903, section 4).
    """
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
