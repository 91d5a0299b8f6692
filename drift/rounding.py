"""Float32 numbers in fewer bits: to the nearest, or up or down by chance.

A step of less than half of what a format resolves is lost when it is rounded to the nearest; by
chance, it is kept on the average. A step of training on weights that are themselves in bfloat16 is
refused where most of it would be lost.
"""

from typing import TYPE_CHECKING, Literal

from common.errors import UserError
from drift.joined import local_part

if TYPE_CHECKING:
    import torch

Rounding = Literal["nearest", "stochastic"]


def rounded(
    block: "torch.Tensor", kind: "torch.dtype", chance: "torch.Generator | None"
) -> "torch.Tensor":
    """`block` as `kind`.

    Args:
        block: Any floating dtype.
        kind: Any floating dtype.
        chance: Where the draws come from: up or down with the odds that keep the mean. None: to
            the nearest.
    """
    import torch

    if chance is None or kind not in (torch.bfloat16, torch.float16):
        return block.to(kind)
    block = block.float()
    if kind == torch.bfloat16:
        return bfloat16_by_chance(block, chance)
    # Of float16 the numbers below 2⁻¹⁴ lie as far apart as those above.
    exponent = torch.frexp(block).exponent.sub(1).clamp(min=-14)
    step = torch.ldexp(torch.ones_like(block), exponent - 10)
    # Of so many bits that no sum is rounded itself.
    draws = torch.randint(1 << 13, block.shape, generator=chance).mul(2.0**-13)
    return (block / step).add_(draws).floor_().mul_(step).half()


def bfloat16_by_chance(
    block: "torch.Tensor", chance: "torch.Generator | None" = None
) -> "torch.Tensor":
    """The float32 `block` in bfloat16, up or down, by draws of `chance` or of torch's own."""
    import torch

    # bfloat16 is the upper half of a float32: what is added carries with those odds.
    noise = torch.randint(
        1 << 16, block.shape, dtype=torch.int32, device=block.device, generator=chance
    )
    up = block.view(torch.int32).add(noise).bitwise_and_(-(1 << 16))
    return up.view(torch.float32).bfloat16()


def refuse_lost_steps(
    params: "list[torch.nn.Parameter]", lr: float, by_chance: bool = False
) -> None:
    """Stop when bfloat16 weights would swallow their updates.

    An Adam step is about `lr` per weight. bfloat16 keeps 8 bits, so a step below 2⁻⁹ of a weight
    rounds away, unless the optimizer rounds `by_chance`.

    Raises:
        UserError: more than half of the first bfloat16 tensor cannot move.
    """
    import torch

    for param in params:
        if param.dtype == torch.bfloat16 and not by_chance:
            typical = float(local_part(param).detach().float().abs().median())
            if lr < typical * 2**-9:
                raise UserError(
                    f"a step of {lr:g} is lost on bfloat16 weights of {typical:.2g} (their "
                    f"resolution is {typical * 2**-8:.1g}); keep float32 master weights, or take "
                    "an optimizer that rounds by chance (memory: low in a recipe)"
                )
            return
