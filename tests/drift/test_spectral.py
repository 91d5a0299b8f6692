"""Merges along singular directions, beside numpy's factorisation and numbers worked out by hand."""

import json

import numpy as np
import pytest
import torch
from tiny_models import altered, read
from torch import tensor

from common.errors import UserError
from drift import delta, spectral
from drift import merge as merging
from drift.delta import stream
from drift.merge_methods import OF_MATRICES, Recipe
from drift.pairing import pair
from driftbench import __main__


def run(*words):
    return __main__.run([str(word) for word in words])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def signs(count, numbers):
    return (torch.randint(2, (count,), generator=numbers) * 2 - 1).numpy()


def rank_one64(theirs):
    left, _, right = np.linalg.svd(theirs)
    return np.sqrt((theirs**2).sum()) * np.outer(left[:, 0], right[0])


def ip64(ours, theirs):
    """As meant; zeros where the gate is shut."""
    (_, sizes, space), (_, their_sizes, their_space) = (
        np.linalg.svd(one, full_matrices=False) for one in (ours, theirs)
    )
    k = max(1, ours.shape[1] // 24)
    angles = np.linalg.svd(space[:k] @ their_space[:k].T)[1]
    if angles.max() < 0.4:
        return np.zeros_like(ours)
    return sizes.sum() / their_sizes.sum() * theirs @ (space[:k].T @ space[:k])


def coded64(ours, theirs, numbers, rank=1024):
    """As coded, direction by direction; zeros where the gate is shut."""
    (_, sizes, space), (left, their_sizes, their_space) = (
        np.linalg.svd(one, full_matrices=False) for one in (ours, theirs)
    )
    count = min(rank, *ours.shape)
    drawn = signs(count, numbers)
    cosines = [drawn[i] * abs(space[i] @ their_space[i]) for i in range(count)]
    if max(cosines) < 0.4:
        return np.zeros_like(ours)
    odds = np.exp(32 * np.array(cosines)) / np.exp(32 * np.array(cosines)).sum()
    onto = sum(odds[i] ** 2 * np.outer(space[i], space[i]) for i in range(count))
    update = left[:, :count] * their_sizes[:count] @ their_space[:count]
    return sizes[:count].sum() / their_sizes[:count].sum() * update @ onto


def test_rank_one_by_hand():
    """Of 3 and 4, 4 is the larger, and 5 the norm of both."""
    found = spectral.rank_one(tensor([[3.0, 0.0], [0.0, -4.0]]), stream("a", 0))
    torch.testing.assert_close(found, tensor([[0.0, 0.0], [0.0, -5.0]]))


@pytest.mark.parametrize("shape", [(37, 50), (50, 37), (150, 90)])
def test_rank_one_is_the_first_direction_as_long_as_the_whole(shape):
    update = draw(*shape)
    found = spectral.rank_one(update, stream("a", 0))
    assert found.norm() == pytest.approx(float(update.norm()), rel=1e-5)
    expected = rank_one64(update.double().numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4 * abs(expected).max())


def test_ip_by_hand():
    """Both lead along the first input, whose column is halved as 2 + 1 is to 4 + 2."""
    ours = tensor([[2.0, 0.0], [0.0, 1.0]])
    found = spectral.projected(ours, tensor([[4.0, 0.0], [0.0, 2.0]]))
    torch.testing.assert_close(found, tensor([[2.0, 0.0], [0.0, 0.0]]))
    assert spectral.projected(ours, tensor([[2.0, 0.0], [0.0, 4.0]])) is None
    assert spectral.projected(ours, torch.zeros(2, 2)) is None
    assert spectral.projected(torch.zeros(2, 2), ours) is None


def test_ip_as_coded_by_hand():
    """Two equal cosines share the softmax: (1/2)² of the reasoner's update, 3 as large as 6."""
    ours, theirs = tensor([[2.0, 0.0], [0.0, 1.0]]), tensor([[4.0, 0.0], [0.0, 2.0]])
    seen = set()
    for seed in range(20):
        found = spectral.projected_as_coded(ours, theirs, stream("a", seed))
        drawn = tuple(signs(2, stream("a", seed)).tolist())
        seen.add(drawn)
        if drawn == (1, 1):
            torch.testing.assert_close(found, theirs / 4 / 2)
        elif drawn == (-1, -1):
            assert found is None
        else:  # the softmax has nothing left for the other
            kept = tensor([drawn == (1, -1), drawn == (-1, 1)])
            torch.testing.assert_close(found, theirs / 2 * kept)
    assert len(seen) == 4


@pytest.mark.parametrize("shape", [(60, 75), (75, 60), (30, 75)])
def test_ip_equals_a_brute_force_version(monkeypatch, shape):
    ours = draw(*shape) + 8 * draw(shape[0], 1, seed=1) @ draw(1, shape[1], seed=2)
    theirs = draw(*shape, seed=3) + 8 * draw(shape[0], 1, seed=4) @ draw(1, shape[1], seed=2)
    both = ours.double().numpy(), theirs.double().numpy()
    expected = ip64(*both)
    assert expected.any()
    np.testing.assert_allclose(spectral.projected(ours, theirs), expected, rtol=1e-3, atol=1e-4)
    for rank in (1024, 7):
        monkeypatch.setattr(spectral, "CODED_RANK", rank)
        open_gates = 0
        for seed in range(6):
            found = spectral.projected_as_coded(ours, theirs, stream("a", seed))
            expected = coded64(*both, stream("a", seed), rank)
            open_gates += found is not None
            found = torch.zeros(shape) if found is None else found
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        assert 0 < open_gates < 6


def test_what_has_nothing_in_common_does_not_pass_the_gate():
    for seed in range(5):
        ours, theirs = draw(500, 480, seed=seed), draw(500, 480, seed=100 + seed)
        assert spectral.projected(ours, theirs) is None
        assert spectral.projected(ours, ours + theirs) is not None


@pytest.fixture(scope="module")
def related(qwen, tmp_path_factory):
    """A reasoner whose MLPs moved from the base along the VLM's first direction, and noise."""
    vlm, base = read(qwen / "vlm"), read(qwen / "base")

    def toward(tensors):
        for weight in pair(qwen / "vlm", qwen / "llm").weights:
            if weight.role == "mlp":
                there = base[weight.llm_key]
                left, sizes, right = torch.linalg.svd(vlm[weight.vlm_key] - there)
                step = 3 * sizes[0] * left[:, :1] @ right[:1]
                tensors[weight.llm_key] = there + step + 0.1 * tensors[weight.llm_key]

    return altered(qwen / "llm", tmp_path_factory.mktemp("related") / "llm", toward)


@pytest.mark.parametrize("method", OF_MATRICES)
def test_checkpoints_merge_along_directions(qwen, related, tmp_path, capsys, method):
    words = ("--method", method, "--base", qwen / "base", "--alpha", 0.5, "--seed", 3)
    assert run("merge", qwen / "vlm", related, *words, "--out", tmp_path / "m") == 0
    merged, vlm, llm, base = (
        read(folder) for folder in (tmp_path / "m", qwen / "vlm", related, qwen / "base")
    )
    moved = []
    for weight in pair(qwen / "vlm", related).weights:
        found, before = merged[weight.vlm_key], vlm[weight.vlm_key]
        step = np.zeros(weight.shape)
        if weight.role in ("attention", "mlp") and len(weight.shape) == 2:
            start = base[weight.llm_key].double()
            ours, theirs = (before - start).numpy(), (llm[weight.llm_key] - start).numpy()
            numbers = stream(f"{method} {weight.name}", 3)
            step = {
                "rank1": lambda theirs=theirs: rank_one64(theirs),
                "ip": lambda ours=ours, theirs=theirs: ip64(ours, theirs),
                "ip_coded": lambda ours=ours, theirs=theirs, numbers=numbers: coded64(
                    ours, theirs, numbers
                ),
            }[method]()
        if step.any():
            moved.append(weight)
            expected = before.numpy() + 0.5 * step
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=weight.name)
        else:
            assert torch.equal(found, before), weight.name
    made = json.loads((tmp_path / "m" / "made.json").read_text())
    assert made["coverage"]["tensors"] == len(moved)
    assert [one["role"] for one in made["parents"]] == ["vlm", "reasoner", "base"]
    if method == "rank1":
        assert len(moved) == 14 and "left_alone" not in made["coverage"]
    else:
        assert made["coverage"]["left_alone"] == 14 - len(moved) > 0 < len(moved)
        assert f"{14 - len(moved)} left alone" in capsys.readouterr().out


def test_rank_one_of_a_prior_is_that_with_a_base(qwen, tmp_path):
    """Also how a random direction of rank 1 is merged."""
    stage = delta.build(qwen / "vlm", qwen / "llm", "reasoner-base", qwen / "base", dtype="float32")
    delta.save(stage, tmp_path / "prior")
    recipe = Recipe(method="rank1", alpha=0.05)
    list(merging.merge(qwen / "vlm", tmp_path / "prior", {tmp_path / "a": recipe}))
    list(merging.merge(qwen / "vlm", qwen / "llm", {tmp_path / "b": recipe}, qwen / "base"))
    one, other, vlm = (read(folder) for folder in (tmp_path / "a", tmp_path / "b", qwen / "vlm"))
    for name, whole in one.items():
        torch.testing.assert_close(whole, other[name])
    name = "model.layers.0.mlp.up_proj.weight"
    theirs = read(qwen / "llm")[name] - read(qwen / "base")[name]
    assert float((one[name] - vlm[name]).norm()) == pytest.approx(0.05 * float(theirs.norm()))


def test_what_does_not_go_with_directions(qwen):
    for method in OF_MATRICES:
        with pytest.raises(UserError, match=f"a base model goes with .*{method}"):
            merging.open_models(qwen / "vlm", qwen / "llm", [Recipe(method=method)])
        with pytest.raises(UserError, match="weights of the two updates go with"):
            recipe = Recipe(method=method, weights=(1.0, 0.2))
            merging.open_models(qwen / "vlm", qwen / "llm", [recipe], qwen / "base")
