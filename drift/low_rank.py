"""A matrix as two thin factors: the nearest one of rank k."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OVERSAMPLING, ITERATIONS = 8, 2
"""More directions than are kept, and passes that sharpen them."""


def factorise(matrix: "torch.Tensor", rank: int, numbers: "torch.Generator") -> "torch.Tensor":
    """The factors of rank k that come nearest to `matrix`, beside each other.

    Args:
        matrix: Float32, m × n.
        rank: k < min(m, n).
        numbers: Where the random start comes from.

    Returns:
        k × (m + n): the transposed left factor, and the right one; `multiply_out` reads it.
    """
    import torch

    left, values, right = leading(matrix, rank, numbers)
    # The singular values are shared out, so that both factors round alike.
    scale = values.sqrt()
    return torch.cat([(left * scale).T, scale[:, None] * right], dim=1)


def leading(
    matrix: "torch.Tensor",
    rank: int,
    numbers: "torch.Generator",
    more: int = OVERSAMPLING,
    iterations: int = ITERATIONS,
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """The k largest singular values of `matrix`, with their vectors: left (m × k), right (k × n).

    Randomised subspace iteration: Halko, Martinsson and Tropp, SIAM Review 2011, arXiv 0909.4061,
    algorithms 4.4 and 5.1.

    Args:
        matrix: Float32, m × n.
        rank: k.
        numbers: Where the random start comes from.
        more: Directions beyond k that are carried along; with k + more ≥ min(m, n) it is exact.
        iterations: Passes that sharpen them.
    """
    import torch

    m, n = matrix.shape
    width = min(rank + more, m, n)
    basis = torch.linalg.qr(matrix @ torch.randn(n, width, generator=numbers)).Q
    for _ in range(iterations):
        basis = torch.linalg.qr(matrix.T @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    left, values, right = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ left[:, :rank], values[:rank], right[:rank]


def multiply_out(factors: "torch.Tensor", shape: tuple[int, ...]) -> "torch.Tensor":
    """The float32 matrix of `shape` whose factors `factorise` stored."""
    left, right = factors.float().split(list(shape), dim=1)
    return left.T @ right
