"""Two processes that train together do as one does, under DDP and under FSDP2."""

import dataclasses
import json
import multiprocessing
import socket

import pytest
import torch
import worker
from test_trainer import config_of, log_of
from tiny_models import read


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def together(config, out, sharded, processes):
    """Run the worker in fresh processes, which share one import of torch and transformers."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drift.training.trainer"])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    places: list[dict[str, str]] = [{}]
    if processes > 1:
        ranks = [str(rank) for rank in range(processes)]
        world = shared | {"WORLD_SIZE": str(processes)}
        places = [world | {"RANK": rank, "LOCAL_RANK": rank} for rank in ranks]
    started = [
        context.Process(target=worker.main, args=(config, out, sharded, place)) for place in places
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0] * processes


@pytest.fixture(scope="module")
def runs(models, rows, tmp_path_factory):
    """Runs of 8 samples a step: by one process as 1 × 8, by two as 2 × 2 under DDP and 4 × 1 under
    FSDP2 (accumulation × micro-batch)."""
    out = tmp_path_factory.mktemp("runs")
    config = config_of(models / "qwen2_5_vl", rows, prior="reasoner-vlm", mode="adaptive", steps=3)
    together(dataclasses.replace(config, batch=8), out / "one", False, 1)
    together(dataclasses.replace(config, accumulate=2, batch=2), out / "ddp", False, 2)
    together(dataclasses.replace(config, accumulate=4, batch=1), out / "fsdp", True, 2)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_pull_as_one(runs, kind):
    """Same biased gradients in the first step, same record and same weights in the end."""
    one, two = (torch.load(runs / name / "grads.pt", weights_only=True) for name in ("one", kind))
    assert one.keys() == two.keys() and len(one) == 20
    for name, grad in one.items():
        torch.testing.assert_close(two[name], grad, rtol=1e-4, atol=1e-5 * float(grad.abs().max()))
    for a, b in zip(log_of(runs / "one"), log_of(runs / kind), strict=True):
        for role in ("attention", "mlp"):
            assert b[role] == pytest.approx(a[role], rel=1e-3, abs=1e-6)
        assert b["rho"] == pytest.approx(a["rho"], rel=1e-3, abs=1e-7)
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert (b["samples"], b["tokens"], b["flops"]) == (a["samples"], a["tokens"], a["flops"])
    ours, theirs = read(runs / "one"), read(runs / kind)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-4)
    made = json.loads((runs / kind / "made.json").read_text())
    assert made["cost"]["devices"] == 2
    assert not (runs / f"{kind}.partial").exists()
