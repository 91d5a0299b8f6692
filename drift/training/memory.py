"""How much memory training takes on each device, estimated before any weight is loaded.

Weights, gradients and Adam's moments are float32, 16 bytes for each trained parameter. DDP keeps
gradients a second time in its buckets. FSDP2 shares all of these and Δ among the devices, and
gathers a decoder layer at a time. Exact but for the activations: those are what transformers'
decoder layers keep for the backward, per token of the longest micro-batch (norms in and out,
queries, keys and values, the MLP's four products), and logits.
"""

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

from drift.families import decoder
from drift.training.config import TrainConfig
from drift.training.trainable import parts

if TYPE_CHECKING:
    import torch

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What of a model and its data the memory depends on."""

    parameters: int
    trained: int
    pulled: int
    """Parameters that have a Δ; 0 for plain fine-tuning."""
    layer: int
    """Parameters of a decoder layer."""
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
    pulled = 0 if config.prior is None else sum(
        param.numel() for _, part, param in parts(model) if part in config.modules
    )  # fmt: skip
    params = list(model.parameters())
    return Sizes(
        parameters=sum(param.numel() for param in params),
        trained=sum(param.numel() for param in params if param.requires_grad),
        pulled=pulled,
        layer=sum(param.numel() for param in layers[0].parameters()),  # type: ignore[index, union-attr]
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
    outside = sizes.parameters - sizes.layer * sizes.layers
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
    copies = 2 * sizes.trained if number == 2 and not sharded else 0  # autocast's, for a forward
    return Memory(
        weights=4 * sizes.parameters // share,
        gradients=4 * sizes.trained // share,
        buckets=buckets,
        moments=8 * sizes.trained // share,
        delta=0 if config.offload else _item(config) * sizes.pulled // share,
        activations=within + tokens * sizes.words * (2 * number + 8) + copies,
    )


def _item(config: TrainConfig) -> int:
    return 2 if config.prior_dtype == "bfloat16" else 4
