"""Anchors and learnt strengths under FSDP2: two processes with half of each tensor do as one."""

import multiprocessing
import os
import socket

import pytest
import torch
from test_injector import prior_of, vlm

from common import torch_guard
from drift.families import decoder
from drift.injector import Injector

RIVALS = {
    "learnt, spd": {"mode": "project_learnt", "live": True, "toward": "start", "anchor": "spd"},
    "l2_sp": {"mode": "project", "anchor": "l2_sp"},
}


def steps(folder, fields, mesh=None):
    """Five steps on made-up gradients: what each logged, and name → weights in the end."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import distribute_tensor

    model = vlm(folder)
    if mesh is not None:
        for layer in decoder(model)[0].layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    params = decoder(model)[1]
    injector = Injector(model, prior_of(folder), anchor_strength=0.5, **fields)
    optimizer = torch.optim.SGD(params.values(), lr=0.05, momentum=0.9)
    log = []
    for step in range(5):
        for place, param in enumerate(params.values()):
            random = torch.Generator().manual_seed(100 * (step // 2) + place)
            # There twice and back twice.
            grad = (-1) ** (step // 2) * torch.randn(param.shape, generator=random)
            if mesh is not None:
                grad = distribute_tensor(grad, param.device_mesh, param.placements)
            param.grad = grad
        said = injector.apply(lr=0.05)
        optimizer.step()
        log.append({**said, **injector.settle(0.05)})
    whole = (p.full_tensor() if mesh is not None else p for p in params.values())
    return log, dict(zip(params, (p.detach() for p in whole), strict=True))


def main(folder, out, rank, port):
    """One of two processes; the first writes what it found."""
    torch_guard.install()
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    mesh = torch.distributed.init_device_mesh("cpu", (2,))
    found = {name: steps(folder, fields, mesh) for name, fields in RIVALS.items()}
    if rank == 0:
        torch.save(found, out)
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def sharded(models, tmp_path_factory):
    out = tmp_path_factory.mktemp("sharded") / "found.pt"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    folder = models / "qwen2_5_vl"
    started = [context.Process(target=main, args=(folder, out, rank, port)) for rank in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0, 0]
    return torch.load(out, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", RIVALS)
def test_two_processes_hold_to_an_anchor_as_one(sharded, qwen, name):
    log, weights = steps(qwen, RIVALS[name])
    theirs, shards = sharded[name]
    for ours, other in zip(log, theirs, strict=True):
        assert other.keys() == ours.keys()
        for field in ("rho", "decayed", "omega"):
            assert other.get(field, 0) == pytest.approx(ours.get(field, 0), rel=1e-4, abs=1e-6)
        for role in ("attention", "mlp"):
            assert other[role] == pytest.approx(ours[role], rel=1e-4, abs=1e-6)
    for key, tensor in weights.items():
        torch.testing.assert_close(shards[key], tensor, rtol=1e-4, atol=1e-5)
    assert max(line["decayed"] for line in log) > 0
    assert name == "l2_sp" or max(line["omega"] for line in log) > 0
