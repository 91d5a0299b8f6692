"""How a step's training is sharded, and what it takes of a GPU."""

from typing import Any

from common.errors import UserError
from common.text import gib
from drift.training.config import TrainConfig

TOKENS = 4096
"""Of a long row of training data."""


def look(live: Any, config: TrainConfig, pulled: int, ranks: int, memory: int) -> str:
    """Tell what training takes of each GPU, with DDP where that fits, else with FSDP2.

    Args:
        live: The VLM, on the meta device.
        config: Of the run.
        pulled: Numbers of Δ.
        ranks: Processes, each with a GPU.
        memory: Bytes of a GPU.

    Raises:
        UserError: It does not fit.
    """
    from drift.families import decoder
    from drift.training.trainable import parts

    layers: Any = decoder(live)[0].layers
    counts = [(param.numel(), part in config.train) for _, part, param in parts(live)]
    held, trained = sum(n for n, _ in counts), sum(n for n, is_trained in counts if is_trained)
    unit = sum(param.numel() for param in layers[0].parameters())
    delta = 0 if config.offload else pulled * (2 if config.prior_dtype == "bfloat16" else 4)
    language = live.config.get_text_config()
    # Of each token what layers hand on, or all that they hold, and the logits three times.
    of_layer = 2 * language.hidden_size * (1 if config.gradient_checkpointing else 17)
    of_token = language.num_hidden_layers * of_layer + 10 * language.vocab_size
    passing = TOKENS * config.batch * of_token
    # float32: weights, gradients, two moments; DDP's buckets are gradients again.
    whole = 4 * held + 12 * trained + delta
    alone = whole + passing + (4 * trained if ranks > 1 else 0)
    if alone <= memory:
        return f"{'DDP, ' if ranks > 1 else ''}{gib(alone)} a GPU"
    # What is gathered of a layer, and of all that is in none, with its gradient.
    sharded = whole // ranks + passing + 8 * (held - (len(layers) - 1) * unit)
    taken = sharded if ranks > 1 else alone
    if taken > memory:
        raise UserError(
            f"training takes {gib(taken)} a GPU on {ranks} of them, and one has {gib(memory)}: "
            "give more --gpus, or larger ones"
        )
    kind = type(layers[0]).__name__
    return f"FSDP2, a unit a {kind}, {gib(sharded)} a GPU (DDP: {gib(alone)})"
