"""How a step's training is sharded, and what it takes of a GPU, by the trainer's own estimate."""

from dataclasses import replace
from typing import Any

from common.errors import UserError
from common.text import gib
from drift.training.config import TrainConfig

TOKENS = 4096
"""Of a long row of training data."""


def look(live: Any, config: TrainConfig, ranks: int, room: int) -> str:
    """Tell what training takes of each GPU, with DDP where that fits, else with FSDP2.

    Args:
        live: The VLM, on the meta device.
        config: Of the run.
        ranks: Processes, each with a GPU.
        room: Bytes of a GPU.

    Raises:
        UserError: It does not fit.
    """
    from drift.families import decoder
    from drift.training import memory, sharding
    from drift.training.trainable import freeze

    freeze(live, config.train)
    sizes = memory.sizes(live, config, TOKENS)
    float32 = replace(config, memory="float32")
    whole, shared = (memory.estimate(sizes, float32, ranks, way).total for way in (False, True))
    limit = room * sharding.ROOM
    if whole <= limit and config.memory != "low":
        return f"{'DDP, ' if ranks > 1 else ''}{gib(whole)} a GPU"
    if ranks > 1 and shared <= limit and sharding.shareable(config):
        kind = type(decoder(live)[0].layers[0]).__name__  # type: ignore[index]
        return f"FSDP2, a unit a {kind}, {gib(shared)} a GPU (DDP: {gib(whole)})"
    low = memory.estimate(sizes, replace(config, memory="low"), 1, False).total
    if ranks == 1 and config.memory != "float32" and low <= limit:
        return f"memory: low, {gib(low)} (float32: {gib(whole)})"
    raise UserError(
        f"training takes {gib(shared if ranks > 1 else whole)} a GPU on {ranks} of them, and one "
        f"has {gib(room)}: give more --gpus, or larger ones"
    )
