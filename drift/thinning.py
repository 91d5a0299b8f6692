"""What TIES and DARE leave of an update: the largest entries, some at random, those that agree."""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from drift.checkpoints import CHUNK, Blocks

if TYPE_CHECKING:
    import torch

SAMPLE = 1 << 16
"""Entries that a threshold is first guessed from."""


def trimmer(update: Blocks, count: int, density: float) -> "Callable[[torch.Tensor], torch.Tensor]":
    """What sets, in place, all but the largest entries of the blocks of `update` to 0.

    Exactly `density` of them stay: of equal magnitudes at the border, those that come first. In
    bfloat16 a fifth of a tensor may be such.

    Args:
        update: Float32; the blocks are changed.
        count: Its entries.
        density: Share that stays, 0 … 1.
    """
    import numpy as np
    import torch

    least, left, equal = threshold(update, count, density)
    # Hardshrink keeps what is larger than its bound, so the bound is the next smaller number.
    bound = float(np.nextafter(np.float32(least), np.float32(0)))
    tied = equal > left and 0 < least < inf

    def trim(block: "torch.Tensor") -> "torch.Tensor":
        nonlocal left
        torch.hardshrink(block, bound, out=block)
        if tied:
            flat = block.view(-1).numpy()  # numpy compares in a fifth of torch's time
            border = np.flatnonzero(np.abs(flat) == least)
            flat[border[left:]] = 0
            left = max(0, left - len(border))
        return block

    return trim


def threshold(update: Blocks, count: int, density: float) -> tuple[float, int, int]:
    """The magnitude that the largest `density` of the entries of `update` reach, exactly.

    No sort: a sample brackets the magnitude, one pass counts what lies above the bracket and
    keeps what lies inside, and that is selected from. Should the sample mislead, the bracket is
    everything.

    Args:
        update: Float32; the blocks are changed.
        count: Its entries.
        density: Share, 0 … 1.

    Returns:
        The magnitude, how many entries of just this magnitude are among the largest, and how many
        there are.
    """
    import numpy as np

    keep = round(density * count)
    if keep == 0:
        return inf, 0, 0
    for low, high in (_bracket(update, count, keep / count), (0.0, inf)):
        above, inside = 0, []
        for block in update():
            size = block.abs_().numpy()
            above += int(np.count_nonzero(size > high))
            inside.append(size[np.flatnonzero((size >= low) & (size <= high))])
        # Sorted, as many of them are equal, which a partition takes ten times as long over.
        middle = np.sort(np.concatenate(inside))
        if above < keep <= above + len(middle):
            found = middle[len(middle) - (keep - above)]
            first, last = (int(np.searchsorted(middle, found, side)) for side in ("left", "right"))
            larger = above + len(middle) - last
            return float(found), keep - larger, last - first
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


def elect(
    ours: "torch.Tensor", theirs: "torch.Tensor", shares: tuple[float, float]
) -> "torch.Tensor":
    """The weighted sum of two updates, without the one that is against the sum's sign; in place.

    Sign election of TIES (Yadav et al., NeurIPS 2023, arXiv 2306.01708, section 4.2). The sum is
    not divided by the shares that remain: with two models that would let the reasoner's entries
    in at full strength wherever the VLM's were trimmed, whatever α.
    """
    import torch

    total = ours.mul_(shares[0]) + theirs.mul_(shares[1])
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
