"""Experts, fused and split, in both orientations: the same tensors, written back as they lay."""

import shutil

import pytest
import torch
import transformers as tf
from safetensors.torch import save_file
from tiny_models import make_llm, make_vlm, read, turn_experts

from common.errors import UserError
from drift import delta, experts
from drift.checkpoints import Checkpoint
from drift.displacement import displacement
from drift.distance import measure
from drift.families import DECODER_ROLES, decoder
from drift.headers import shapes
from drift.injector import Injector
from drift.merge import Reached, merge, open_models, tensors
from drift.merge_methods import Recipe
from drift.pairing import pair

LAYER = "model.language_model.layers.0.mlp.experts."


@pytest.fixture(scope="module")
def moe(tmp_path_factory):
    """`hub` and `turned`: Qwen3-VL-MoE in both orientations; `llm`: split; `base`: of it."""
    folder = tmp_path_factory.mktemp("moe")
    make_vlm("qwen3_vl_moe", folder / "hub")
    shutil.copytree(folder / "hub", folder / "turned")
    turn_experts(folder / "turned")
    make_llm("qwen3_vl_moe", folder / "llm")
    make_llm("qwen3_vl_moe", folder / "base", seed=2)
    return folder


def whole(checkpoint, name):
    flat = torch.cat([block.clone() for block in checkpoint.blocks(name)])
    return flat.view(checkpoint.entries[name].shape)


@pytest.mark.parametrize("form", ["hub", "turned"])
def test_both_orientations_read_as_the_experts_that_transformers_computes_with(moe, form):
    live = decoder(tf.AutoModelForImageTextToText.from_pretrained(moe / form))[1]
    there = Checkpoint(moe / form)
    up, down = (live[f"layers.0.mlp.experts.{part}"] for part in ("gate_up_proj", "down_proj"))
    assert up.shape == (4, 48, 64) and down.shape == (4, 64, 24)
    for expert in range(4):
        parts = {"gate": up[expert, :24], "up": up[expert, 24:], "down": down[expert]}
        for part, wanted in parts.items():
            found = whole(there, f"{LAYER}{expert}.{part}_proj.weight")
            assert torch.equal(found, wanted)
    assert shapes(moe / "hub") == shapes(moe / "turned")


@pytest.mark.parametrize("form", ["hub", "turned"])
@pytest.mark.parametrize("method", ["linear", "slerp", "dare_ties"])
def test_a_merge_keeps_the_form_and_is_the_same_in_both(moe, form, method, tmp_path):
    recipe = Recipe(method=method, alpha=0.3, seed=4)
    base = moe / "base" if method == "dare_ties" else None
    list(merge(moe / form, moe / "llm", {tmp_path / "m": recipe}, base))
    found, vlm, llm = (read(one) for one in (tmp_path / "m", moe / form, moe / "llm"))
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in vlm.items()}
    streamed = dict(
        tensors(open_models(moe / form, moe / "llm", [recipe], base), recipe, Reached())
    )
    assert found.keys() == streamed.keys()
    assert all(torch.equal(found[name], streamed[name]) for name in found)
    other = {"hub": "turned", "turned": "hub"}[form]
    list(merge(moe / other, moe / "llm", {tmp_path / "o": recipe}, base))
    turn_experts(tmp_path / "o")
    assert all(torch.equal(found[name], tensor) for name, tensor in read(tmp_path / "o").items())
    if method != "linear":
        return
    for expert in range(4):
        name = f"model.layers.0.mlp.experts.{expert}"
        gate_up = torch.cat([llm[f"{name}.gate_proj.weight"], llm[f"{name}.up_proj.weight"]])
        for part, theirs in (("gate_up", gate_up), ("down", llm[f"{name}.down_proj.weight"])):
            key = f"{LAYER}{part}_proj"
            theirs = theirs.T if form == "hub" else theirs
            wanted = torch.lerp(vlm[key][expert], theirs, 0.3)
            torch.testing.assert_close(found[key][expert], wanted)
    gone = displacement(moe / form, moe / "llm", tmp_path / "m", DECODER_ROLES)
    assert gone.rho == pytest.approx(0.3, rel=1e-4)
    modules = [gap.module for gap in measure(moe / form, moe / "llm").tensors if gap.layer == 0]
    assert modules.count("mlp.experts.gate_proj.weight") == 1


def test_at_alpha_0_every_byte_is_the_vlms(moe, tmp_path):
    list(merge(moe / "hub", moe / "llm", {tmp_path / "m": Recipe(alpha=0.0)}))
    paths = [folder / "model.safetensors" for folder in (tmp_path / "m", moe / "hub")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("form", ["hub", "turned"])
def test_a_step_along_the_prior_goes_toward_the_reasoners_experts(moe, form):
    live = tf.AutoModelForImageTextToText.from_pretrained(moe / form)
    prior = delta.build(moe / form, moe / "llm", dtype="float32")
    injector = Injector(live, prior, mode="grad_norm", modules=("mlp",))
    params, llm = decoder(live)[1], read(moe / "llm")
    name = "layers.1.mlp.experts.gate_up_proj"
    goal = torch.stack(
        [
            torch.cat([llm[f"model.layers.1.mlp.experts.{e}.{part}_proj.weight"] for part in parts])
            for e, parts in enumerate([("gate", "up")] * 4)
        ]
    )
    for param in live.parameters():
        param.grad = torch.randn(param.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        next(one.delta for one in injector.targets if one.name == name), goal - params[name]
    )
    before = params[name].grad.clone()
    injector.apply()
    moved = (before - params[name].grad).flatten()
    assert moved.dot((goal - params[name]).flatten()) > 0


def test_experts_that_do_not_fit_are_named(moe, tmp_path):
    shutil.copytree(moe / "hub", tmp_path / "vlm")
    found = read(moe / "hub")
    for change, said in (
        ({f"{LAYER}down_proj": torch.zeros(4, 24, 63)}, r"down_proj \[4, 24, 63\]"),
        ({f"{LAYER}down_proj": None}, "down_proj is missing"),
    ):
        kept = {name: one for name, one in (found | change).items() if one is not None}
        save_file(kept, tmp_path / "vlm" / "model.safetensors")
        with pytest.raises(UserError, match=f"the experts of one layer do not fit: .*{said}"):
            pair(tmp_path / "vlm", moe / "llm")


def test_of_two_vlms_the_rates_of_decay_stay_unless_they_are_asked_for(models, tmp_path):
    from drift.merge import usual_modules

    other = make_vlm("qwen3_5", tmp_path / "other", seed=5)
    vlm = models / "qwen3_5" / "vlm"
    usual = usual_modules(vlm, other)
    assert "decay" not in usual and {"attention", "tower", "projector"} <= {*usual}
    list(merge(vlm, other, {tmp_path / "m": Recipe(alpha=0.5, modules=usual)}))
    found, ours, theirs = (read(one) for one in (tmp_path / "m", vlm, other))
    for name in ours:
        rate = name.endswith(("A_log", "dt_bias"))
        wanted = ours[name] if rate else torch.lerp(ours[name], theirs[name], 0.5)
        torch.testing.assert_close(found[name], wanted)


def test_fused_leaves_a_prior_without_experts_as_it_is(models):
    folder = models / "qwen2_5_vl"
    prior = delta.build(folder / "vlm", folder / "llm")
    assert experts.fused(prior, ["layers.0.mlp.experts.down_proj"]) is prior
