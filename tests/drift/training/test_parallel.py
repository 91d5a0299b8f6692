"""Two processes that train together do as one does, under DDP and under FSDP2."""

import dataclasses
import json

import pytest
import torch
import worker
from test_trainer import config_of, log_of
from tiny_models import read


@pytest.fixture(scope="module")
def runs(models, rows, tmp_path_factory):
    """Runs of 8 samples a step: by one process as 1 × 8, by two as 2 × 2 under DDP and 4 × 1 under
    FSDP2 (accumulation × micro-batch)."""
    out = tmp_path_factory.mktemp("runs")
    config = config_of(models / "qwen2_5_vl", rows, prior="reasoner-vlm", mode="adaptive", steps=3)
    worker.together(dataclasses.replace(config, batch=8), out / "one", False, 1)
    worker.together(dataclasses.replace(config, accumulate=2, batch=2), out / "ddp", False, 2)
    worker.together(dataclasses.replace(config, accumulate=4, batch=1), out / "fsdp", True, 2)
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


@pytest.mark.slow
def test_a_shared_model_is_trained_as_a_whole_one_and_goes_on(models, rows, tmp_path):
    """A family whose list of classes to wrap names modules that it lacks; `perf/sharded.py` runs
    all."""
    worker.check_shared(config_of(models / "gemma3", rows, prior="reasoner-vlm"), tmp_path)
