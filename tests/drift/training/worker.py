"""One of several processes that train together: see test_parallel.py."""

import os
from pathlib import Path

import torch
from accelerate import DistributedType, PartialState
from accelerate.state import AcceleratorState

from drift.families import decoder
from drift.training import trainer as training
from drift.training.config import TrainConfig


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def main(config: TrainConfig, out: Path, sharded: bool, place: dict[str, str]) -> None:
    """Train; the gradients of the first step, as the optimizer gets them, go to `grads.pt`."""
    os.environ |= place
    torch.set_num_threads(1)
    grads: dict[str, torch.Tensor] = {}
    clip = training.DriftMixin._clip_grad_norm

    def caught(self, model):
        self._edit()
        if not grads:
            for name, param in decoder(model)[1].items():
                if param.grad is not None:
                    grads[name] = whole(param.grad).clone()
        return clip(self, model)

    training.DriftMixin._clip_grad_norm = caught
    if sharded:
        # accelerate knows FSDP on devices only, though torch shards on processors as well.
        start = AcceleratorState.__init__

        def started(self, *args, **kwargs):
            shared = PartialState._shared_state
            if shared.get("distributed_type") == DistributedType.MULTI_CPU:
                shared["distributed_type"] = DistributedType.MULTI_GPU
            start(self, *args, **kwargs)

        AcceleratorState.__init__ = started
        os.environ["ACCELERATE_USE_FSDP"] = "true"
    training.train(config, out)
    if place.get("RANK", "0") == "0":
        torch.save(grads, out / "grads.pt")
