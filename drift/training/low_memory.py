"""`memory: low`: bfloat16 weights that lose no step on the average, and 8-bit moments.

AdamW with moments in blocks of 256 that share a scale (arXiv 2110.02861) and weights that are
rounded up or down by chance (arXiv 2010.06192): a step of 1e-6 on a weight of 0.02 changes one
weight in a hundred by a whole unit of bfloat16, and all of them by 1e-6 on the average. A tensor is
worked on in stretches, so that what is in float32 for a while is small beside what is held.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from drift.rounding import bfloat16_by_chance

if TYPE_CHECKING:
    from transformers import TrainingArguments

BLOCK = 256
"""Moments that share a scale."""
SMALLEST = 4096
"""Entries of a tensor below which its moments stay in float32 (arXiv 2110.02861, section 3)."""
STRETCH = 1 << 16
"""Entries worked on at a time on a CPU, where they stay in the cache."""
STRETCH_ON_DEVICE = 1 << 22
UNREAD = 12
"""Last bits of a share that its code does not depend on."""
PLACES = 1 << 32 - UNREAD
"""What the other bits can be."""
TINY = 1e-30
"""Keeps a block of zeros from dividing."""


class LowMemoryAdamW(torch.optim.Optimizer):
    """AdamW (arXiv 1711.05101) with 8-bit moments; a step keeps float32 only as it goes by."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """As `torch.optim.AdamW`."""
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; bfloat16 weights are rounded by chance, from torch's own generator."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, group)
        return loss

    def _update(self, param: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)
            for name in ("exp_avg", "exp_avg_sq"):
                _begin(state, name, param)
        state["step"] += 1
        (beta1, beta2), count = group["betas"], int(state["step"])
        rate = group["lr"] / (1 - beta1**count)
        unbias = (1 - beta2**count) ** 0.5
        flat, grads = param.view(-1), param.grad.reshape(-1)  # type: ignore[union-attr]
        length = STRETCH if param.device.type == "cpu" else STRETCH_ON_DEVICE
        for start in range(0, param.numel(), length):
            part = slice(start, min(start + length, param.numel()))
            grad, weight = grads[part].float(), flat[part].float()
            mean = _read(state, "exp_avg", part, signed=True).lerp_(grad, 1 - beta1)
            square = _read(state, "exp_avg_sq", part, signed=False)
            square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            _keep(state, "exp_avg", part, mean, signed=True)
            _keep(state, "exp_avg_sq", part, square, signed=False)
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.addcdiv_(mean, square.sqrt().div_(unbias).add_(group["eps"]), value=-rate)
            flat[part] = bfloat16_by_chance(weight) if param.dtype == torch.bfloat16 else weight

    def load_state_dict(self, state_dict: Any) -> None:
        """Take up moments as they were kept, where torch would give them the weights' dtype."""
        super().load_state_dict(state_dict)
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        params = [param for group in self.param_groups for param in group["params"]]
        for number, param in zip(numbers, params, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                if name != "step":
                    self.state[param][name] = value.to(param.device, copy=True)


def _begin(state: dict[str, torch.Tensor], name: str, param: torch.Tensor) -> None:
    """Moments of zero: float32, or codes in 8 bits and the scales of their blocks."""
    count = param.numel()
    if count < SMALLEST or count % BLOCK:
        state[name] = torch.zeros(count, device=param.device)
        return
    state[name] = torch.zeros(count, dtype=torch.uint8, device=param.device)
    state[f"{name}_scale"] = torch.zeros(count // BLOCK, device=param.device)


def _read(state: dict[str, torch.Tensor], name: str, part: slice, signed: bool) -> torch.Tensor:
    """A stretch of moments in float32; a view of them where they are kept so."""
    held = state[name][part]
    if held.dtype == torch.float32:
        return held
    book = _book(signed, held.device)[0]
    scales = state[f"{name}_scale"][part.start // BLOCK : part.stop // BLOCK]
    values = book.index_select(0, held.int())  # four times as fast as an index in brackets
    return values.view(-1, BLOCK).mul_(scales[:, None]).view(-1)


def _keep(
    state: dict[str, torch.Tensor], name: str, part: slice, value: torch.Tensor, signed: bool
) -> None:
    """Put a stretch of moments back: to the nearest code, as a share of the block's largest."""
    held = state[name][part]
    if held.dtype == torch.float32:
        return
    blocks = value.view(-1, BLOCK)
    scales = blocks.abs().amax(-1)
    shares = (blocks / scales.clamp(min=TINY)[:, None]).view(-1)
    first_bits = shares.view(torch.int32).bitwise_right_shift_(UNREAD).bitwise_and_(PLACES - 1)
    held.copy_(_book(signed, held.device)[1].index_select(0, first_bits))
    state[f"{name}_scale"][part.start // BLOCK : part.stop // BLOCK] = scales


@cache
def _book(signed: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The 256 numbers that 8 bits stand for, ascending, and the code of each share.

    Seven decades below 1, each with twice as many numbers as the one below it, evenly spaced: the
    dynamic data type of arXiv 2110.02861, section 2.2, as bitsandbytes@0.50.2 fills it
    (bitsandbytes/functional.py, `create_dynamic_map`).

    Returns:
        Shape (256,), float32; and shape (2²⁰,), the code of the number nearest to all that begin
        with these 20 bits of a float32.
    """
    numbers = [0.0, 1.0]
    for decade in range(7):
        count = 2**decade if signed else 2 ** (decade + 1)
        for i in range(count):
            number = (0.1 + 0.9 * (i + 0.5) / count) * 10.0 ** (decade - 6)
            numbers += [number, -number] if signed else [number]
    book = torch.tensor(sorted(numbers))
    bits = torch.arange(1 << 20, dtype=torch.int32) << UNREAD | 1 << UNREAD - 1
    codes = torch.bucketize(bits.view(torch.float32), (book[1:] + book[:-1]) / 2)
    return book.to(device), codes.to(device, torch.uint8)


def optimizer(arguments: "TrainingArguments") -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Class and settings, as transformers' Trainer takes them."""
    return LowMemoryAdamW, {
        "lr": arguments.learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
    }


def rounds_by_chance(optimizer: Any) -> bool:
    """Whether steps on bfloat16 weights are kept on the average."""
    # accelerate wraps it
    return isinstance(getattr(optimizer, "optimizer", optimizer), LowMemoryAdamW)
