"""What of a live VLM is trained: its parameters by part, and which of them are frozen."""

import re
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from drift.families import BRIDGE, Role, decoder, layer_and_role

if TYPE_CHECKING:
    import torch

PEFT = re.compile(r"\.(base_layer|lora_[AB]\.[^.]+)(?=\.)")
"""What peft puts into the names of an adapted module's parameters."""


def parts(model: "torch.nn.Module") -> "list[tuple[str, Role, torch.nn.Parameter]]":
    """Name, part and tensor of each parameter, in the order in which they were registered.

    A tied head is the embedding; the factors of a LoRA adapter are of the part that they adapt.
    """
    names = {id(param): PEFT.sub("", name) for name, param in decoder(model)[1].items()}

    def part(name: str, param: Any) -> Role:
        placed = layer_and_role(names[id(param)]) if id(param) in names else None
        if placed is not None:
            return placed[1]
        return "projector" if BRIDGE.search(name) else "tower"

    return [(name, part(name, param), param) for name, param in model.named_parameters()]


def freeze(model: "torch.nn.Module", trained: tuple[Role, ...]) -> int:
    """Freeze all but the parts `trained`.

    Returns:
        The number of parameters that are trained.

    Raises:
        UserError: a part has no parameters in this model.
    """
    counts = dict.fromkeys(trained, 0)
    for _, part, param in parts(model):
        param.requires_grad_(part in trained)
        if part in trained:
            counts[part] += param.numel()
    empty = [part for part, count in counts.items() if not count]
    if empty:
        raise UserError(
            f"{type(model).__name__} has no parameters of {', '.join(empty)} to train "
            "(a tied head is trained with the embedding)"
        )
    return sum(counts.values())
