"""Merges beyond a reasoner at one share: two VLMs, a prior, shares by layer, free weights."""

import json
from dataclasses import replace

import pytest
import torch
import transformers as tf
from tiny_models import altered, make_vlm, read

from common.errors import UserError
from drift import checkpoints, delta
from drift import merge as merging
from drift.displacement import displacement
from drift.merge_methods import Recipe
from drift.pairing import pair, pair_vlms
from driftbench import __main__


def run(*words):
    return __main__.run([str(word) for word in words])


@pytest.fixture(scope="module")
def tuned(models, tmp_path_factory):
    """A VLM of each family whose every tensor differs: as if all of it had been fine-tuned."""
    return {
        name: make_vlm(name, tmp_path_factory.mktemp(name) / "sft", seed=7)
        for name in ("qwen2_5_vl", "llava_next", "idefics3")
    }


def test_wise_ft_meets_every_tensor_of_two_vlms_and_loads(models, family, tuned, tmp_path, capsys):
    vlm, sft = models / family / "vlm", tuned[family]
    assert run("merge", vlm, sft, "--alphas", "0,0.25,1", "--out-dir", tmp_path) == 0
    assert capsys.readouterr().out.count(", projector, tower, rho") == 2
    found, ours, theirs = (read(one) for one in (tmp_path / "merge-0.25", vlm, sft))
    assert set(found) == {weight.vlm_key for weight in pair_vlms(vlm, sft).weights}
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, 0.75 * ours[name] + 0.25 * theirs[name])
    for path in vlm.glob("*.safetensors"):
        assert (tmp_path / "merge-0.00" / path.name).read_bytes() == path.read_bytes()
    whole = read(tmp_path / "merge-1.00")
    assert all(torch.equal(whole[name], tensor) for name, tensor in theirs.items())
    made = json.loads((tmp_path / "merge-0.25" / "made.json").read_text())
    assert [one["role"] for one in made["parents"]] == ["vlm", "other"]
    assert set(made["settings"]["modules"]) >= {"attention", "projector", "tower"}
    assert made["reached"]["rho"] == pytest.approx(0.25, rel=1e-5)
    ids = torch.arange(20, 30)[None]
    with torch.no_grad():
        logits = [
            tf.AutoModelForImageTextToText.from_pretrained(folder)(input_ids=ids).logits
            for folder in (tmp_path / "merge-1.00", sft, tmp_path / "merge-0.25")
        ]
    assert torch.equal(logits[0], logits[1]) and not torch.equal(logits[0], logits[2])


def test_of_two_vlms_what_differs_in_words_stays_the_vlms_and_the_rest_must_pair(
    qwen, tmp_path, capsys
):
    rows = "model.embed_tokens.weight"

    def more(tensors):
        tensors[rows] = torch.cat([tensors[rows], tensors[rows][:2]])

    sft = altered(qwen / "vlm", tmp_path / "more", more)
    assert run("merge", qwen / "vlm", sft, "--alpha", 1, "--out", tmp_path / "m") == 0
    assert "warning: embed_tokens.weight is [106, 64] in the VLM, [108" in capsys.readouterr().out
    assert torch.equal(read(tmp_path / "m")[rows], read(qwen / "vlm")[rows])
    less = altered(
        qwen / "vlm", tmp_path / "less", lambda tensors: tensors.pop("visual.merger.ln_q.weight")
    )
    with pytest.raises(UserError, match="only in the VLM: visual.merger.ln_q.weight"):
        merging.open_models(qwen / "vlm", less, [Recipe()])


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("variant", ["random", "shuffled"])
def test_a_merge_along_a_prior_adds_it(qwen, tmp_path, variant, rank):
    made = delta.build(qwen / "vlm", qwen / "llm", variant, dtype="float32", seed=3)
    delta.save(made, tmp_path / "prior", rank=rank)
    assert (
        run("merge", qwen / "vlm", tmp_path / "prior", "--alpha", 0.2, "--out", tmp_path / "m") == 0
    )
    stored, found, vlm = delta.load(tmp_path / "prior"), read(tmp_path / "m"), read(qwen / "vlm")
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        expected = vlm[weight.vlm_key]
        if weight.name in stored.shapes:
            expected = expected + 0.2 * stored.read(weight.name)
        torch.testing.assert_close(found[weight.vlm_key], expected)
    record = json.loads((tmp_path / "m" / "made.json").read_text())
    assert [one["role"] for one in record["parents"]] == ["vlm", "prior"]
    assert record["reached"] == {"rho": pytest.approx(0.2, rel=1e-4), "kept": pytest.approx(1)}


def test_what_does_not_go_with_a_prior(qwen, models, tmp_path, capsys):
    delta.save(delta.build(qwen / "vlm", qwen / "llm"), tmp_path / "prior")
    with pytest.raises(UserError, match="a prior goes with linear, layer_swap, rank1, .*slerp"):
        merging.open_models(qwen / "vlm", tmp_path / "prior", [Recipe(method="slerp")])
    with pytest.raises(UserError, match="vlm lacks 25 tensors of the prior .*|another shape"):
        merging.open_models(models / "gemma3" / "vlm", tmp_path / "prior", [Recipe()])
    sft = make_vlm("qwen2_5_vl", tmp_path / "sft", seed=9)
    assert run("merge", sft, tmp_path / "prior", "--alpha", 0.1, "--out", tmp_path / "m") == 0
    assert "prior was made from another VLM than" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["0.1,0.4", "0.1..0.4"])
def test_every_layer_has_its_share(qwen, tmp_path, words):
    to = ("--by-layer", words, "--out", tmp_path / "m")
    assert run("merge", qwen / "vlm", qwen / "llm", *to) == 0
    found, vlm, llm = (read(one) for one in (tmp_path / "m", qwen / "vlm", qwen / "llm"))
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        share = {0: 0.1, 1: 0.4, None: 0.4 if weight.role == "norm" else 0.0}[weight.layer]
        expected = torch.lerp(vlm[weight.vlm_key], llm[weight.llm_key], share)
        torch.testing.assert_close(found[weight.vlm_key], expected)
    made = json.loads((tmp_path / "m" / "made.json").read_text())
    assert made["settings"]["by_layer"] == pytest.approx([0.1, 0.4])
    reached = displacement(qwen / "vlm", qwen / "llm", tmp_path / "m", ("attention", "mlp", "norm"))
    assert made["reached"]["rho"] == pytest.approx(reached.rho, rel=1e-4)
    assert made["reached"]["kept"] == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear", "dare_ties"])
def test_published_weights_need_not_add_up_to_one(qwen, tmp_path, method):
    """1.6 and 0.2 (Chen et al., 2025) are 1.8 times the shares 8/9 and 1/9."""
    recipe = Recipe(method=method, density=0.3, seed=1)
    shares = replace(recipe, alpha=0.2 / 1.8)
    weights = replace(recipe, weights=(1.6, 0.2))
    jobs = {tmp_path / "shares": shares, tmp_path / "weights": weights}
    list(merging.merge(qwen / "vlm", qwen / "llm", jobs, qwen / "base"))
    one, other, base = (read(f) for f in (*jobs, qwen / "base"))
    if method == "task_arithmetic":  # whose shares are 1 and alpha
        vlm, llm = read(qwen / "vlm"), read(qwen / "llm")
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        if weight.role in ("embedding", "head"):
            continue
        there, key = base[weight.llm_key], weight.vlm_key
        expected = there + 1.8 * (one[key] - there)
        if method == "task_arithmetic":
            ours, theirs = vlm[key] - there, llm[weight.llm_key] - there
            expected = there + 1.6 * ours + 0.2 * theirs
        torch.testing.assert_close(other[key], expected, rtol=1e-4, atol=1e-5)


def test_a_small_step_in_bfloat16_tells_how_far_it_went(qwen, tmp_path, capsys):
    """A hundredth apart, two hundredths of the way: most entries stay where they are."""
    vlm = altered(qwen / "vlm", tmp_path / "vlm", lambda tensors: tensors.update(
        {name: tensor.bfloat16() for name, tensor in tensors.items()}))  # fmt: skip
    ours, noise = read(vlm), torch.Generator().manual_seed(1)

    def nearby(tensors):
        for weight in pair(vlm, qwen / "llm").weights:
            step = 0.01 * torch.randn(weight.shape, generator=noise)
            tensors[weight.llm_key] = (ours[weight.vlm_key].float() * (1 + step)).bfloat16()

    llm = altered(qwen / "llm", tmp_path / "llm", nearby)
    for rounding in ("nearest", "stochastic"):
        to = ("--alpha", 0.02, "--rounding", rounding, "--out", tmp_path / rounding)
        assert run("merge", vlm, llm, *to) == 0
        made = json.loads((tmp_path / rounding / "made.json").read_text())["reached"]
        reached = displacement(vlm, llm, tmp_path / rounding, ("attention", "mlp", "norm"))
        assert made["rho"] == pytest.approx(reached.rho, rel=1e-4)
        assert made["kept"] == pytest.approx(reached.rho / 0.02, rel=1e-4)
        said = capsys.readouterr().out
        assert f"rho {made['rho']:.4g}" in said
        if rounding == "nearest":
            assert made["kept"] < 0.6 and f"{made['kept']:.0%} of the step outlived" in said
        else:
            assert made["kept"] == pytest.approx(1, abs=0.2)


def test_of_large_tensors_a_sample_tells_how_far_it_went(qwen, tmp_path, monkeypatch, capsys):
    """Each eighth block; the whole where the displacement is what was asked for."""
    for module, name, value in ((checkpoints, "BLOCK", 256), (checkpoints, "CHUNK", 2048),
                                (merging, "BLOCK", 256)):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    vlm, llm, to = qwen / "vlm", qwen / "llm", ("--out", tmp_path / "m", "--overwrite")
    assert run("merge", vlm, llm, "--method", "slerp", "--alpha", 0.3, *to) == 0
    assert "(by a sample)" in capsys.readouterr().out
    made = json.loads((tmp_path / "m" / "made.json").read_text())["reached"]
    large, small = 6 * 64 * 128, 2 * (2 * 64 * 64 + 2 * 32 * 64 + 64 + 2 * 32) + 5 * 64
    assert made["measured"] == (large / 8 + small) / (large + small)
    exact = displacement(vlm, llm, tmp_path / "m", ("attention", "mlp", "norm")).rho
    assert made["rho"] == pytest.approx(exact, rel=0.03)
    assert abs(made["rho"] - exact) > 1e-6
    recipe = Recipe(method="task_arithmetic", alpha=0.2, rho=0.2)
    ((_, whole),) = merging.merge(vlm, llm, {tmp_path / "far": recipe}, vlm)
    assert whole.reached == {"rho": pytest.approx(0.2, rel=1e-4), "kept": pytest.approx(1)}
