"""Processes that train together on this machine, over gloo: see test_parallel.py."""

import dataclasses
import multiprocessing
import os
import socket
from pathlib import Path

import torch
from accelerate import DistributedType, PartialState
from accelerate.state import AcceleratorState
from tiny_models import read

from drift.families import decoder
from drift.training import trainer as training
from drift.training.config import TrainConfig


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def main(
    config: TrainConfig, out: Path, sharded: bool, place: dict[str, str], stop: int | None
) -> None:
    """Train; the gradients of the first step, as the optimizer gets them, go to `grads.pt`.

    With `stop` all is left as it is after so many steps.
    """
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
    record = training.DriftMixin.record

    def stopped(self):
        record(self)
        if self.state.global_step == stop:
            raise SystemExit(0)

    training.DriftMixin.record = stopped
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


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def together(
    config: TrainConfig, out: Path, sharded: bool, processes: int, stop: int | None = None
) -> None:
    """Run `main` in fresh processes, which share one import of torch and transformers."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drift.training.trainer"])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    places: list[dict[str, str]] = [{}]
    if processes > 1:
        ranks = [str(rank) for rank in range(processes)]
        world = shared | {"WORLD_SIZE": str(processes)}
        places = [world | {"RANK": rank, "LOCAL_RANK": rank} for rank in ranks]
    started = [
        context.Process(target=main, args=(config, out, sharded, place, stop)) for place in places
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0] * processes


def check_shared(config: TrainConfig, out: Path) -> None:
    """A model that two processes share is trained as by one, also if it was cut off.

    Their rows have pictures and none, at times one in each.
    """
    config = dataclasses.replace(config, steps=4)
    together(dataclasses.replace(config, batch=4), out / "one", False, 1)
    config = dataclasses.replace(config, batch=1, accumulate=2, save_every=2)
    together(config, out / "shared", True, 2)
    together(config, out / "cut", True, 2, stop=3)
    assert not (out / "cut").exists()
    together(config, out / "cut", True, 2)
    one, shared, cut = (read(out / name) for name in ("one", "shared", "cut"))
    assert one.keys() == shared.keys() == cut.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
        assert torch.equal(cut[name], shared[name]), name
