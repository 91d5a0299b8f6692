"""How many floating-point operations a training run takes.

Per matrix entry and position that it is applied to: 2 forward, 2 for its own gradient if it is
trained, 2 to hand the gradient on if anything before it is trained, 2 for the second forward of
gradient checkpointing (arXiv 2001.08361, section 2.1, with its factor of 6 taken apart, since
most of a VLM may be frozen). Positions are tokens in the decoder and head, patches in the tower,
image tokens in the projector. To these come the products of queries, keys and values:
4·heads·head size per layer and pair of tokens forward, twice that backward (arXiv 2204.02311,
appendix B; as there, a causal mask is not taken off). Left out are norms, lookups, the tower's own
attention products (2 % of a 512 × 512 picture in Qwen2.5-VL), padding, and the optimizer's step.
"""

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from drift.experts import FUSED
from drift.families import decoder, shape_of
from drift.training.trainable import parts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rates:
    """Operations per unit of what a batch is made of."""

    token: float = 0.0
    pair: float = 0.0
    """Per pair of tokens of one row, in either order."""
    patch: float = 0.0
    image_token: float = 0.0

    def of(self, tokens: float, pairs: float, patches: float, image_tokens: float) -> int:
        """Operations of so much."""
        counts = (tokens, pairs, patches, image_tokens)
        return round(sum(a * b for a, b in zip(astuple(self), counts, strict=True)))


def rates(model: "torch.nn.Module", checkpointing: bool = False, backward: bool = True) -> Rates:
    """What training `model` takes, with the parameters frozen that are frozen now.

    Args:
        model: A VLM or text-only model, not wrapped.
        checkpointing: Whether the forward of each layer is repeated in the backward.
        backward: False: what its forward alone takes.
    """
    from torch.nn import Embedding
    from transformers.modeling_layers import GradientCheckpointingLayer

    bare: Any = model
    stack, names = decoder(model)
    layers = {id(param) for param in stack.layers.parameters()}  # type: ignore[union-attr]
    head = bare.get_output_embeddings()
    tied = {id(head.weight)} if head is not None else set()
    lookups = {
        id(module.weight) for module in model.modules() if isinstance(module, Embedding)
    } - tied
    repeated = {
        id(param)
        for module in model.modules()
        if checkpointing and isinstance(module, GradientCheckpointingLayer)
        for param in module.parameters()
    }
    text: Any = bare.config.get_text_config()
    experts = getattr(text, "num_experts", None) or getattr(text, "n_routed_experts", None) or 1
    share = getattr(text, "num_experts_per_tok", experts) / experts  # that see a token
    units = {"projector": "image_token", "tower": "patch"}
    found = dict.fromkeys(("token", "patch", "image_token"), 0.0)
    handed_on, reached = False, None
    for name, part, param in parts(model):
        trained = backward and param.requires_grad
        if id(param) in layers and reached is None and (handed_on or trained):
            reached = int(next(word for word in name.split(".") if word.isdigit()))
        # A tied head comes last, whatever its place among the parameters.
        below = backward and any(p.requires_grad for p in names.values())
        before = handed_on or (id(param) in tied and below)
        if param.ndim > 1 and id(param) not in lookups:
            passes = 1 + trained + before
            passes += passes > 1 and id(param) in repeated
            chosen = share if FUSED.fullmatch(name) else 1
            found[units.get(part, "token")] += 2 * math.prod(shape_of(param)) * passes * chosen
        handed_on = handed_on or trained
    heads, layers_in_all = text.num_attention_heads, text.num_hidden_layers
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    behind = 0 if reached is None else layers_in_all - reached
    pair = 4 * heads * size * (layers_in_all + (2 + checkpointing) * behind)
    return Rates(found["token"], pair, found["patch"], found["image_token"])


def patches(model: "torch.nn.Module", pixels: "torch.Tensor | None") -> float:
    """How many patches a tower sees in `pixels`, whatever the layout of the family."""
    if pixels is None:
        return 0.0
    bare: Any = model
    vision = bare.config.vision_config
    side: Any = vision.patch_size
    area = math.prod(side) if isinstance(side, (list, tuple)) else side * side
    channels: Any = getattr(vision, "num_channels", None) or getattr(vision, "in_channels", 3)
    return pixels.numel() / (channels * area * getattr(vision, "temporal_patch_size", 1))
