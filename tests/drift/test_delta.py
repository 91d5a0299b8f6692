import json
import shutil

import pytest
import tiny_models as tiny
import torch
from tiny_models import read

from common.errors import UserError
from drift import delta as priors
from drift.fingerprints import fingerprint
from drift.low_rank import factorise, multiply_out
from drift.pairing import pair


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
        "seed": "3", "rank": None,
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


def test_a_prior_of_rank_k_is_the_nearest_one(qwen, tmp_path):
    """Beside the truncated SVD, to which nothing comes nearer (Eckart and Young)."""
    built = priors.build(qwen / "vlm", qwen / "llm", dtype="float32")
    error = priors.save(built, tmp_path / "p", rank=4)
    loaded = priors.load(tmp_path / "p")
    assert loaded.shapes == built.shapes
    lost, whole = 0.0, 0.0
    for name in built.shapes:
        delta, near = built.read(name), loaded.read(name)
        assert near.shape == delta.shape and near.dtype == torch.float32
        if delta.dim() == 1:
            assert torch.equal(near, delta)
            assert error.tensors[name] == 0
        else:
            values = torch.linalg.svdvals(delta.double())
            least = float(values[4:].norm() / values.norm())
            assert torch.linalg.matrix_rank(near) == 4
            assert least <= error.tensors[name] + 1e-6 <= 1.01 * least
            assert float((near - delta).norm() / delta.norm()) == pytest.approx(error.tensors[name])
        lost, whole = lost + (near - delta).norm() ** 2, whole + delta.norm() ** 2
    assert error.total == pytest.approx(float(lost / whole) ** 0.5, rel=1e-5)
    made = json.loads((tmp_path / "p" / "made.json").read_text())
    assert made["settings"]["rank"] == 4
    assert made["coverage"] == {"relative_error": {"total": error.total, "tensors": error.tensors}}


def test_a_matrix_of_low_rank_survives_as_factors(qwen, tmp_path):
    numbers = torch.Generator().manual_seed(0)
    matrix = torch.randn(48, 3, generator=numbers) @ torch.randn(3, 32, generator=numbers)
    factors = factorise(matrix, 3, numbers)
    assert factors.shape == (3, 48 + 32)
    torch.testing.assert_close(multiply_out(factors, (48, 32)), matrix, rtol=1e-4, atol=1e-4)


def test_factors_take_less_room_or_are_not_taken(qwen, tmp_path):
    built = priors.build(qwen / "vlm", qwen / "llm")
    sizes = {}
    for rank in (None, 2, 1000):
        priors.save(built, tmp_path / str(rank), rank=rank)
        sizes[rank] = (tmp_path / str(rank) / priors.FILE).stat().st_size
    assert sizes[2] < 0.5 * sizes[None]
    whole, same = priors.load(tmp_path / "None"), priors.load(tmp_path / "1000")
    assert all(torch.equal(whole.read(name), same.read(name)) for name in built.shapes)
    with pytest.raises(UserError, match="the rank is 0; give 1 or more"):
        priors.save(built, tmp_path / "0", rank=0)
    assert not (tmp_path / "0").exists()


def test_a_role_that_cannot_be_paired_is_refused(qwen, tmp_path):
    tiny.make_llm("qwen2_5_vl", tmp_path, tie_word_embeddings=True)
    with pytest.raises(UserError, match=r"no tensor of head can be paired \(lm_head.weight is in"):
        priors.build(qwen / "vlm", tmp_path, roles=("attention", "head"))
