"""`memory: low`: bfloat16 weights that lose no step on the average, and 8-bit moments.

The optimizer is torchao's AdamW with moments in blocks of 256 (arXiv 2110.02861) and weights that
are rounded up or down by chance (arXiv 2010.06192): a step of 1e-6 on a weight of 0.02 changes
one weight in a hundred by a whole unit of bfloat16, and all of them by 1e-6 on the average.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments

BLOCK = 256
"""Moments that share a scale."""


@cache
def adamw() -> "type[torch.optim.Optimizer]":
    """The optimizer.

    Raises:
        UserError: torchao is not installed.
    """
    import torch

    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            "memory: low needs torchao for its optimizer: pip install 'driftbench[low]'"
        ) from error

    class LowMemoryAdamW(AdamW8bit):
        def _new_buffer(self, p: Any, signed: bool) -> Any:
            room = super()._new_buffer(p, signed)
            # In the dtype of the weights a second moment stands still: bfloat16 has no room for
            # the thousandth by which it changes.
            return room.float() if type(room) is torch.Tensor else room

        def load_state_dict(self, state_dict: Any) -> None:
            super().load_state_dict(state_dict)
            # torch gives moments the dtype of the weights.
            numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
            params = [param for group in self.param_groups for param in group["params"]]
            for number, param in zip(numbers, params, strict=True):
                for name, value in state_dict["state"].get(number, {}).items():
                    if type(value) is torch.Tensor and name != "step":
                        self.state[param][name] = value.to(param.device, copy=True)

        def step(self, closure: Any = None) -> Any:
            # Compiling pays on a GPU, where a whole tensor in float32 would be room.
            on_cpu = all(p.device.type == "cpu" for g in self.param_groups for p in g["params"])
            with torch.compiler.set_stance("force_eager" if on_cpu else "default"):
                return super().step(closure)

    return LowMemoryAdamW


def optimizer(arguments: "TrainingArguments") -> "tuple[type[torch.optim.Optimizer], dict]":
    """Class and settings, as transformers' Trainer takes them."""
    return adamw(), {
        "lr": arguments.learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
        "block_size": BLOCK,
        "bf16_stochastic_round": True,
    }


def rounds_by_chance(optimizer: Any) -> bool:
    """Whether steps on bfloat16 weights are kept on the average."""
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    return bool(getattr(inner, "bf16_stochastic_round", False))
