"""What of a training's steps is in the checkpoint that is written."""

import dataclasses
import json

import pytest
import torch
import transformers as tf
from test_trainer import config_of
from tiny_models import altered, read

from drift.training import trainer as training
from drift.training.saving import round_all

SMALL = {"lr": 1e-6, "lr_schedule": "constant", "warmup": 0.0, "steps": 8, "batch": 2}
"""A step size of 7B models: a bfloat16 weight of this model resolves a thousandth of itself."""


@pytest.fixture(scope="module")
def halved(models, tmp_path_factory):
    """Qwen2.5-VL in bfloat16, as the hub has it."""
    target = tmp_path_factory.mktemp("halved") / "vlm"
    model = tf.AutoModelForImageTextToText.from_pretrained(
        models / "qwen2_5_vl" / "vlm", dtype=torch.bfloat16
    )
    altered(models / "qwen2_5_vl" / "vlm", target, lambda tensors: None)
    model.save_pretrained(target)
    return target


@pytest.mark.parametrize("prior", [None, "reasoner-vlm"], ids=["sft", "drift"])
def test_small_steps_survive_on_the_average_for_every_arm_alike(
    qwen, halved, rows, tmp_path, prior
):
    config = config_of(qwen, rows, vlm=str(halved), prior=prior, **SMALL)
    whole = dataclasses.replace(config, save_dtype="float32")
    made = {
        name: training.train(one, tmp_path / name)
        for name, one in (("half", config), ("whole", whole))
    }
    before, after, true = (read(f) for f in (halved, tmp_path / "half", tmp_path / "whole"))
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in true.values()} == {torch.float32}
    wanted, stored, nearest = [], [], []
    for name, tensor in true.items():
        origin = before[name].float()
        wanted.append((tensor - origin).flatten())
        stored.append((after[name].float() - origin).flatten())
        nearest.append((tensor.bfloat16().float() - origin).flatten())
    wanted, stored, nearest = (torch.cat(one).double() for one in (wanted, stored, nearest))
    reached = made["half"].reached
    assert reached["dtype"] == "bfloat16"
    assert reached["kept"] == pytest.approx(float(stored @ wanted / (wanted @ wanted)), rel=1e-4)
    cosine = float(stored @ wanted / (stored.norm() * wanted.norm()))
    assert reached["cosine"] == pytest.approx(cosine, rel=1e-4)
    went = wanted != 0
    assert reached["changed"] == pytest.approx(float((stored[went] != 0).double().mean()))
    assert reached["kept"] == pytest.approx(1, abs=0.15)
    assert float(nearest @ wanted / (wanted @ wanted)) < 0.2  # what rounding to it would leave
    assert made["whole"].reached == {
        "dtype": "float32", "kept": pytest.approx(1), "cosine": pytest.approx(1),
        "changed": pytest.approx(1),
    }  # fmt: skip
    stored_too = json.loads((tmp_path / "half" / "made.json").read_text())["reached"]
    assert stored_too == reached
    # What did not move is there to the bit.
    assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    # Nothing that loads it takes it for less than it is.
    model = tf.AutoModelForImageTextToText.from_pretrained(tmp_path / "whole", dtype="auto")
    assert {param.dtype for param in model.parameters()} == {torch.float32}


def test_rounding_is_that_of_the_seed_and_leaves_other_shapes_alone():
    numbers = torch.Generator().manual_seed(0)
    before = {"a": torch.randn(300, generator=numbers).bfloat16(), "b": torch.zeros(2)}
    kinds = {"a": torch.bfloat16, "b": torch.bfloat16}

    def stored(seed):
        state = {"a": before["a"].float() + 1e-4, "b": torch.ones(3)}
        told = round_all(state, before, kinds, seed)
        return state["a"], told

    (one, told), (same, _), (other, _) = stored(0), stored(0), stored(1)
    assert torch.equal(one, same) and not torch.equal(one, other)
    moved = one.float() - before["a"].float()
    kept = float(moved.sum() / (300 * 1e-4))
    assert told["kept"] == pytest.approx(kept, rel=1e-2)
