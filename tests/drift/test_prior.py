import json
import shutil

import pytest
import torch
from conftest import read

from drift import prior as priors
from drift.errors import UserError
from drift.families import pair
from drift.weights import fingerprint


def differences(folder, after="llm", before="vlm"):
    """Δ by subtraction of whole checkpoints."""
    a, b = read(folder / after), read(folder / before)
    return {
        w.name: a[w.llm_key] - b[w.vlm_key if before == "vlm" else w.llm_key]
        for w in pair(folder / "vlm", folder / "llm").weights
    }


def test_the_prior_is_reasoner_minus_vlm(models, family):
    folder = models / family
    prior = priors.build(folder / "vlm", folder / "llm", dtype="float32")
    expected = differences(folder)
    assert set(prior.shapes) == set(expected) - {"embed_tokens.weight", "lm_head.weight"}
    assert all(torch.equal(prior.read(name), expected[name]) for name in prior.shapes)
    assert [one.role for one in prior.parents] == ["vlm", "reasoner"]
    assert prior.parents[1].fingerprint == fingerprint(folder / "llm")


def test_it_is_rounded_once(qwen):
    prior = priors.build(qwen / "vlm", qwen / "llm")
    name = "layers.0.mlp.up_proj.weight"
    assert prior.read(name).dtype == torch.bfloat16
    assert torch.equal(prior.read(name), differences(qwen)[name].bfloat16())


def test_one_stage_alone(qwen):
    prior = priors.build(
        qwen / "vlm", qwen / "llm", "reasoner-base", qwen / "base", dtype="float32"
    )
    expected = differences(qwen, "llm", "base")
    assert all(torch.equal(prior.read(name), expected[name]) for name in prior.shapes)


def test_controls(qwen):
    real = priors.build(qwen / "vlm", qwen / "llm", dtype="float32")
    other = {
        variant: priors.build(qwen / "vlm", qwen / "llm", variant, dtype="float32")
        for variant in ("random", "shuffled", "negated")
    }
    for name in real.shapes:
        delta = real.read(name)
        assert torch.equal(other["negated"].read(name), -delta)
        shuffled = other["shuffled"].read(name)
        assert torch.equal(shuffled.flatten().sort().values, delta.flatten().sort().values)
        assert not torch.equal(shuffled, delta)
        noise = other["random"].read(name)
        assert torch.isclose(noise.norm(), delta.norm(), rtol=1e-6)
        assert torch.equal(noise, other["random"].read(name))
    name = "layers.0.mlp.up_proj.weight"
    flat = other["random"].read(name).flatten(), real.read(name).flatten()
    assert abs(torch.cosine_similarity(*flat, dim=0)) < 0.1
    again = priors.build(qwen / "vlm", qwen / "llm", "random", dtype="float32", seed=1)
    assert not torch.equal(again.read(name), other["random"].read(name))


def test_a_stored_prior_is_the_same(qwen, tmp_path):
    built = priors.build(qwen / "vlm", qwen / "llm", "random", roles=("mlp", "norm"), seed=3)
    priors.save(built, tmp_path / "p")
    loaded = priors.load(tmp_path / "p")
    assert {built.role(name) for name in built.shapes} == {"mlp", "norm"}
    assert loaded.shapes == built.shapes
    assert all(torch.equal(loaded.read(name), built.read(name)) for name in built.shapes)
    assert (loaded.variant, loaded.family, loaded.seed) == ("random", "Qwen2.5-VL", 3)
    assert loaded.parents == built.parents
    made = json.loads((tmp_path / "p" / "made.json").read_text())
    assert made["method"] == "prior"
    assert made["settings"] == {
        "dtype": "bfloat16", "variant": "random", "family": "Qwen2.5-VL", "roles": "norm mlp",
        "seed": "3",
    }  # fmt: skip


def test_what_is_off_is_one_sentence(qwen, models, tmp_path):
    with pytest.raises(UserError, match="no prior is called 'reasoner'; choose reasoner-vlm"):
        priors.build(qwen / "vlm", qwen / "llm", "reasoner")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a base model goes with the prior `reasoner-base`"):
        priors.build(qwen / "vlm", qwen / "llm", "reasoner-base")
    with pytest.raises(UserError, match="bfloat16 or float32, not float16"):
        priors.build(qwen / "vlm", qwen / "llm", dtype="float16")
    with pytest.raises(UserError, match="lacks 6 tensors of the reasoner.*q_proj.bias"):
        base = models / "idefics3" / "llm"
        priors.build(qwen / "vlm", qwen / "llm", "reasoner-base", base)
    with pytest.raises(UserError, match="there is no prior .*: it is one of reasoner-vlm"):
        priors.load(tmp_path)
    shutil.copyfile(qwen / "vlm" / "model.safetensors", tmp_path / priors.FILE)
    with pytest.raises(UserError, match="was not written by `driftbench prior`"):
        priors.load(tmp_path)
