"""How much memory training takes on each device, estimated before any weight is loaded.

Weights, gradients and Adam's moments are float32, 16 bytes for each trained parameter, or 6 with
`memory: low` (bfloat16, and moments of 8 bits with a float32 scale per block); under adapters the
VLM is held in the dtype of the arithmetic, or in nf4's 4 bits and a scale. DDP keeps
gradients a second time in its buckets. FSDP2 shares all of these and Δ among the devices, and
gathers a decoder layer at a time. Exact but for the activations: those are what transformers'
decoder layers keep for the backward, per token of the longest micro-batch (norms in and out,
queries, keys and values, the MLP's four products), and logits.
"""

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

from drift.families import decoder
from drift.training.config import TrainConfig
from drift.training.low_memory import BLOCK
from drift.training.trainable import parts

if TYPE_CHECKING:
    import torch

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What of a model and its data the memory depends on."""

    parameters: int
    trained: int
    """Of the model, or of the adapters on it."""
    matrices: int
    """Parameters of the decoder's attention and MLP matrices, which nf4 makes smaller."""
    pulled: int
    """Parameters that have a Δ; 0 for plain fine-tuning."""
    layer: int
    """Parameters of the largest decoder layer: of experts, the first may be dense and small."""
    stack: int
    """Parameters of all decoder layers."""
    layers: int
    hidden: int
    intermediate: int
    words: int
    """Rows of the head."""
    tokens: int
    """Of the longest sample."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device."""

    weights: int
    gradients: int
    buckets: int
    """Gradients once more, as DDP sends them; of FSDP2 the layers that are gathered."""
    moments: int
    delta: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))

    @property
    def fixed(self) -> int:
        """What is held whatever the samples."""
        return self.total - self.activations

    def line(self) -> str:
        """For people: `156.4 GiB (weights 30.9, …)`."""
        size, unit = (GIB, "GiB") if self.total >= GIB else (1 << 20, "MiB")
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        shares = ", ".join(f"{name} {value / size:.1f}" for name, value in named)
        return f"{self.total / size:.1f} {unit} ({shares})"


def sizes(model: "torch.nn.Module", config: TrainConfig, tokens: int) -> Sizes:
    """Count in a live model, which may lie on the meta device.

    Args:
        model: The VLM; what is frozen is frozen already.
        config: Of the run.
        tokens: Of the longest sample.
    """
    text = model.config.get_text_config()  # type: ignore[operator, union-attr]
    layers = decoder(model)[0].layers
    held = [list(layer.parameters()) for layer in layers]  # type: ignore[union-attr]
    of_layers = [sum(param.numel() for param in params) for params in held]
    chosen = None if config.layers is None else {
        id(param) for place, params in enumerate(held) if place in config.layers for param in params
    }  # fmt: skip
    pulled = 0 if config.prior is None else sum(
        param.numel()
        for _, part, param in parts(model)
        if part in config.modules and (chosen is None or id(param) in chosen)
    )  # fmt: skip
    placed = [(part, param) for _, part, param in parts(model) if param.ndim == 2]
    if config.adapter_rank is None:
        trained = sum(param.numel() for param in model.parameters() if param.requires_grad)
    else:
        trained = config.adapter_rank * sum(
            sum(param.shape) for part, param in placed if part in config.train
        )
    return Sizes(
        parameters=sum(param.numel() for param in model.parameters()),
        trained=trained,
        matrices=sum(param.numel() for part, param in placed if part in ("attention", "mlp")),
        pulled=pulled,
        layer=max(of_layers),
        stack=sum(of_layers),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        words=text.vocab_size,
        tokens=tokens,
    )


def estimate(sizes: Sizes, config: TrainConfig, devices: int, sharded: bool) -> Memory:
    """What each of `devices` holds, under FSDP2 if `sharded`, else with a whole copy."""
    share = devices if sharded else 1
    number = 2 if config.dtype == "bfloat16" else 4
    low = config.memory == "low"
    held = 2 if low else 4
    outside = sizes.parameters - sizes.stack
    if sharded:
        # Two layers and all else as it is computed with, and gradients of two layers.
        buckets = number * (2 * sizes.layer + outside) + 2 * 4 * sizes.layer
    else:
        buckets = 4 * sizes.trained if devices > 1 else 0
    tokens = sizes.tokens * config.batch
    kept = tokens * (4 * 2 + number * 8) * sizes.hidden + tokens * number * 4 * sizes.intermediate
    within = kept + 4 * tokens * sizes.hidden * sizes.layers
    if not config.gradient_checkpointing:
        within = kept * sizes.layers
    copied = number == 2 and not sharded and not low  # by autocast, for a forward
    return Memory(
        weights=(_weights(sizes, config) + _beside(sizes, config)) // share,
        gradients=held * sizes.trained // share,
        buckets=buckets,
        moments=(2 * sizes.trained + 8 * sizes.trained // BLOCK if low else 8 * sizes.trained)
        // share,
        delta=_per_pulled(config) * sizes.pulled // share,
        activations=within + tokens * sizes.words * (2 * number + 8) + 2 * sizes.trained * copied,
    )


def _weights(sizes: Sizes, config: TrainConfig) -> int:
    if config.adapter_rank is None:
        return (2 if config.memory == "low" else 4) * sizes.parameters
    packed = sizes.matrices if config.adapter_base == "nf4" else 0
    number = 2 if config.dtype == "bfloat16" else 4
    # 4 bits and, for every 64, a float32 scale (arXiv 2305.14314, section 3).
    return number * (sizes.parameters - packed) + packed * 9 // 16 + 4 * sizes.trained


def _beside(sizes: Sizes, config: TrainConfig) -> int:
    """Bytes of what GRPO holds beside: the model at the start, and a vLLM's own, in bfloat16.

    Left out is the cache that sampling needs, which is gone when gradients come.
    """
    if config.reward is None:
        return 0
    whole = config.adapter_rank is None and config.memory != "low"
    first = (4 if whole or config.dtype == "float32" else 2) if config.beta else 0
    return (first + 2 * (config.engine == "vllm")) * sizes.parameters


def _per_pulled(config: TrainConfig) -> int:
    """Bytes of Δ, of the anchor, and of the Δ of the step before, for each pulled parameter."""
    item = 2 if config.prior_dtype == "bfloat16" else 4
    weight = 2 if config.memory == "low" else 4
    if config.adapter_rank is not None:  # whose live Δ is not written out
        weight = 0
    anchor = weight if config.live or config.anchor is not None else 0
    last = weight if config.live and config.mode == "project_learnt" else 0
    return last + (0 if config.offload else item + anchor)
