"""Merges along singular directions of what the reasoner learnt: rank-1 transfer and IP-Merging.

T_R is the reasoner's update of its base, T_V the VLM's; a matrix has its output features as rows,
so that its right singular vectors lie among its inputs. Whole matrices are worked on, in float32.
"""

from typing import TYPE_CHECKING

from drift.low_rank import leading

if TYPE_CHECKING:
    import torch


GATE = 0.4
"""Cosine below which a matrix is left alone (MergeVLM@1f42c0e: model_merging_methods/
mask_weights_utils.py)."""
SPREAD = 24
"""Inputs for each direction of a leading space. The largest cosine of two random spaces of k out of
n directions is 2·√(x·(1 − x)) for x = k/n (Wachter, Annals of Statistics 1980): at 1/24 it is the
gate, so that matrices that have nothing in common do not pass."""
CODED_RANK, SHARPNESS = 1024, 32.0
"""Singular vectors that are compared, and the factor of their cosines in the softmax, as coded."""
DIRECTIONS, ITERATIONS = 32, 10
"""What the search for the first singular vector carries along, and its passes."""


def rank_one(update: "torch.Tensor", numbers: "torch.Generator") -> "torch.Tensor":
    """‖T‖·u·v': the first singular direction of `update`, as long as all of it.

    "Frobenius-matched", as in "Selective transfer of RL updates" (manuscript, 2026), which adds
    0.05 times that of reasoner − model before RL.

    Args:
        update: Float32, m × n.
        numbers: Where the search starts.
    """
    left, _, right = leading(update, 1, numbers, DIRECTIONS, ITERATIONS)
    return (left * update.norm()) @ right


def projected(ours: "torch.Tensor", theirs: "torch.Tensor") -> "torch.Tensor | None":
    """IP-Merging as it is meant: (‖T_V‖* / ‖T_R‖*)·T_R·V·V', with the nuclear norms.

    V are the leading right singular vectors of T_V, one for every `SPREAD` inputs. The principal
    angles between the space that they span and that of T_R decide whether the matrix carries
    what both have learnt: if the largest cosine is below `GATE`, it does not.
    Source: Hu et al., NeurIPS 2025, arXiv 2510.14387.

    Args:
        ours: T_V, float32, m × n.
        theirs: T_R, the same.

    Returns:
        What is added, in float32; None where the matrix is left alone.
    """
    import torch

    (sizes, space), (their_sizes, their_space) = (_right(one) for one in (ours, theirs))
    kept = max(1, ours.shape[1] // SPREAD)
    space, their_space = space[:, :kept], their_space[:, :kept]
    if not len(space.T) or not len(their_space.T):
        return None
    if float(torch.linalg.matrix_norm(space.T @ their_space, 2)) < GATE:
        return None
    space = space.float()
    return (theirs @ space * float(sizes.sum() / their_sizes.sum())) @ space.T


def projected_as_coded(
    ours: "torch.Tensor", theirs: "torch.Tensor", numbers: "torch.Generator"
) -> "torch.Tensor | None":
    """IP-Merging as its public code has it: (ΣS_V / ΣS_R)·T_R·P, P = Σ pᵢ²·vᵢ·vᵢ'.

    vᵢ are right singular vectors of T_V; p = softmax(32·c), where cᵢ is the cosine of the i-th of
    T_V and the i-th of T_R, up to the 1024th. Singular vectors have no sign of their own, and the
    code does not give them one, so half of all agreements count as their opposite: the signs are
    drawn here. Of the code's randomised factorisation, which has no seed, this is the exact form.
    Source: tambourine666/MergeVLM@1f42c0e: model_merging_methods/mask_weights_utils.py.

    Args:
        ours: T_V, float32, m × n.
        theirs: T_R, the same.
        numbers: Where the signs come from.

    Returns:
        What is added, in float32; None where no cosine reaches `GATE`.
    """
    import torch

    (sizes, space), (their_sizes, their_space) = (_right(one) for one in (ours, theirs))
    count = min(CODED_RANK, len(space.T), len(their_space.T))
    signs = torch.randint(2, (min(CODED_RANK, *ours.shape),), generator=numbers)[:count] * 2 - 1
    cosines = (space[:, :count] * their_space[:, :count]).sum(dim=0).abs() * signs
    if not count or float(cosines.max()) < GATE:
        return None
    weights = torch.softmax(SHARPNESS * cosines, dim=0).square()
    space, their_space = space[:, :count].float(), their_space[:, :CODED_RANK].float()
    scale = float(sizes[:CODED_RANK].sum() / their_sizes[:CODED_RANK].sum())
    if len(their_space.T) == CODED_RANK:
        theirs = (theirs @ their_space) @ their_space.T
    return (theirs @ space * (scale * weights.float())) @ space.T


def _right(matrix: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Singular values, the largest first, and right singular vectors as columns, in float64.

    From the smaller of T'T and TT', in a fraction of the time of a factorisation of T itself. What
    is smaller than rounding leaves of the largest is left out.
    """
    import torch

    tall = matrix.shape[0] >= matrix.shape[1]
    product = torch.zeros(min(matrix.shape), min(matrix.shape), dtype=torch.float64)
    for rows in (matrix if tall else matrix.T).split(1024):
        part = rows.double()
        product.addmm_(part.T, part)
    squares, vectors = torch.linalg.eigh(product)
    squares, vectors = squares.flip(0), vectors.flip(1)
    there = squares > squares[0] * len(squares) * torch.finfo(torch.float64).eps
    sizes, vectors = squares[there].sqrt(), vectors[:, there]
    if not tall:
        vectors = torch.nn.functional.normalize(matrix.T.double() @ vectors, dim=0)
    return sizes, vectors
