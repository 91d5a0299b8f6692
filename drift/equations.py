"""DRIFT's equations on the numbers of one tensor, and its sums over tensors, block by block.

A tensor may be larger than what a cache or the free memory of a device holds in float32, so it is
read in stretches, each once for all sums over it. On a GPU, where each call costs more than what it
does to a stretch, all sums over a tensor are one kernel that torch compiles.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from drift.anchor import projection

if TYPE_CHECKING:
    import torch

Mode = Literal[
    "absolute", "grad_norm", "adaptive", "adaptive_opposite", "project", "project_learnt"
]
MODES: tuple[Mode, ...] = get_args(Mode)

TINY = 1e-30
"""Keeps a zero norm from dividing; far below any norm that float32 can resolve."""
BLOCK = 1 << 18
"""Entries worked on at a time, so that what is read once is still in the cache when it is used."""
BLOCK_ON_DEVICE = 1 << 24
ROW = 1024
"""Products that are summed in float32; their sums are summed in float64."""
SMALL = 1 << 18
"""Products that are summed all at once, as calls would cost more than what they do."""


def strength(alpha: float, mode: Mode, gg: float, gd: float, dd: float) -> float:
    """The multiple of Δ that is subtracted from a gradient.

    Args:
        alpha: Strength α ≥ 0.
        mode: `absolute`: α; `grad_norm`: α‖g‖/‖Δ‖; `adaptive`: that times (1 + cos(g, Δ))/2, the
            published rule, which cancels a task step that leads away from the reasoner and adds
            nothing to one that leads toward it; `adaptive_opposite`: times (1 − cos(g, Δ))/2;
            `project`: α of the part of the gradient that leads away, all of it with α = 1, and
            nothing where none does; `project_learnt`: the same, the caller having multiplied α by
            the tensor's `drift.anchor.LearntStrength`.
        gg: ‖g‖².
        gd: ⟨g, Δ⟩.
        dd: ‖Δ‖².

    Source: arXiv 2510.15050v2, section 3.3, equation 3 and the three variants below it; of
    `project` and `project_learnt` arXiv 2502.15895 (DiGraP).
    """
    if mode == "absolute":
        return alpha
    if mode in ("project", "project_learnt"):
        return alpha * projection(gd, dd)
    norms = max((gg * dd) ** 0.5, TINY)
    scale = alpha * gg**0.5 / max(dd**0.5, TINY)
    if mode == "grad_norm":
        return scale
    sign = 1 if mode == "adaptive" else -1
    cosine = min(1.0, max(-1.0, gd / norms))
    return scale * (1 + sign * cosine) / 2


def biased(grad: "torch.Tensor", delta: "torch.Tensor", alpha: float, mode: Mode) -> "torch.Tensor":
    """The gradient with the pull toward the reasoner added; `grad` itself is left alone.

    Args:
        grad: Gradient of one tensor, any floating dtype.
        delta: Δ of the same shape, any floating dtype.
        alpha: Strength α ≥ 0.
        mode: See `strength`.

    Returns:
        `grad − strength · delta`, in the dtype and shape of `grad`; norms and cosine are taken in
        float32.
    """
    scale = strength(alpha, mode, dot(grad, grad), dot(grad, delta), dot(delta, delta))
    return (grad.float() - scale * delta.float()).to(grad.dtype)


def dot(a: "torch.Tensor", b: "torch.Tensor") -> float:
    """⟨a, b⟩, products in float32, sums in float64."""
    return float(dots([a, b], [(0, 1)], Buffers())[0])


class Buffers:
    """Float32 room for one block each, by number; kept, as asking anew costs more than the sums."""

    def __init__(self) -> None:
        self.held: dict[int, torch.Tensor] = {}

    def get(self, number: int, size: int, device: "torch.device") -> "torch.Tensor":
        """The first `size` entries of the room of this number."""
        import torch

        if number not in self.held or self.held[number].device != device:
            self.held[number] = torch.empty(_block(device), device=device)
        return self.held[number][:size]


def dots(
    tensors: "list[torch.Tensor]", pairs: list[tuple[int, int]], buffers: Buffers
) -> "torch.Tensor":
    """Inner products of `pairs` of tensors of one size, each read once.

    A step at a rate of 1e-6 changes ⟨w, Δ⟩ in the sixth digit or beyond, and a sum of millions of
    products in float32 has no more than that.

    Returns:
        Shape (pairs,), float64.
    """
    import torch

    device, size = tensors[0].device, tensors[0].numel()
    exact = exact_dtype(device)
    whole = -(-size // ROW) * ROW
    if size and len(pairs) * whole <= min(SMALL, _block(device)):
        table = buffers.get(-1, len(pairs) * whole, device).view(len(pairs), whole)
        table[:, size:] = 0
        (parts,) = _blocks(tensors, buffers)
        for (a, b), out in zip(pairs, table, strict=True):
            torch.mul(parts[a], parts[b], out=out[:size])
        return table.view(len(pairs), -1, ROW).sum(-1).sum(-1, dtype=exact)
    if size and device.type == "cuda" and _compiles():
        return in_one_pass(tensors, pairs, _compiled(tuple(pairs)))
    sums = torch.empty(len(pairs), whole // ROW, device=device)
    room = buffers.get(-1, min(_block(device), whole), device)
    first, product, rows = 0, room, room.view(-1, ROW)
    for parts in _blocks(tensors, buffers):
        if len(parts[0]) < len(product):  # the last ones
            rows = rows[: -(-len(parts[0]) // ROW)]
            rows[-1] = 0
            product = room[: len(parts[0])]
        last = first + len(rows)
        for (a, b), out in zip(pairs, sums[:, first:last], strict=True):
            torch.mul(parts[a], parts[b], out=product)
            torch.sum(rows, -1, out=out)
        first = last
    return sums.sum(-1, dtype=exact)


def in_one_pass(
    tensors: "list[torch.Tensor]",
    pairs: list[tuple[int, int]],
    sums_of: "Callable[[list[torch.Tensor]], torch.Tensor]",
) -> "torch.Tensor":
    """`dots` by `sums_of`, which is `of_rows` of these pairs; what is left of a row is added."""
    import torch

    flat = [one.reshape(-1) for one in tensors]
    whole = flat[0].numel() // ROW * ROW
    # As `data` they are no views, of whose bases a compiled function takes each shape anew.
    sums = sums_of([one[:whole].data for one in flat])
    if whole < flat[0].numel():
        left = [one[whole:].data.float() for one in flat]
        sums = sums + torch.stack([(left[a] * left[b]).sum() for a, b in pairs])
    return sums


def of_rows(pairs: tuple[tuple[int, int], ...], tensors: "list[torch.Tensor]") -> "torch.Tensor":
    """Inner products of pairs of flat tensors of whole rows, in float64."""
    import torch

    rows = [one.view(-1, ROW).float() for one in tensors]
    return torch.stack([(rows[a] * rows[b]).sum(-1) for a, b in pairs]).sum(-1, dtype=torch.float64)


@cache
def _compiled(pairs: tuple[tuple[int, int], ...]) -> "Callable[[list[torch.Tensor]], Any]":
    import torch

    return torch.compile(lambda tensors: of_rows(pairs, tensors), dynamic=True)


@cache
def _compiles() -> bool:
    """Whether torch compiles for the GPU, which takes Triton and a C compiler."""
    import torch

    try:
        torch.compile(lambda tensor: tensor + 1)(torch.zeros(1, device="cuda"))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"torch compiles nothing for this GPU ({reason}): a pull takes several times as long",
            stacklevel=2,
        )
        return False
    return True


def exact_dtype(device: "torch.device") -> "torch.dtype":
    """What to sum in: float64, which Metal does not have."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def subtract(grad: "torch.Tensor", delta: "torch.Tensor", scale: float, buffers: Buffers) -> None:
    """`grad -= scale · delta`, in place, computed in float32."""
    # On a processor torch would round the scale of two bfloat16 tensors to bfloat16.
    if grad.device.type == "cuda" or not grad.is_contiguous():
        grad.sub_(delta, alpha=scale)
        return
    for here, (part,) in zip(
        grad.view(-1).split(_block(grad.device)), _blocks([delta], buffers), strict=False
    ):
        here.sub_(part, alpha=scale)


def _block(device: "torch.device") -> int:
    return BLOCK if device.type == "cpu" else BLOCK_ON_DEVICE


def _blocks(tensors: "list[torch.Tensor]", buffers: Buffers) -> "Iterator[list[torch.Tensor]]":
    """The same stretch of each tensor, flat and in float32, one stretch after the other.

    What is not float32 is converted in a buffer that the next stretch overwrites.
    """
    import torch

    if not tensors[0].numel():
        return
    step = _block(tensors[0].device)
    for parts in zip(*(one.detach().reshape(-1).split(step) for one in tensors), strict=True):
        yield [
            part
            if part.dtype == torch.float32
            else buffers.get(i, len(part), part.device).copy_(part)
            for i, part in enumerate(parts)
        ]
