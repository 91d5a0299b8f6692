"""What a recipe takes is told from config.json alone, and the nearest setting that fits."""

import dataclasses
import json
import shutil

import pytest

from drift.training import memory, plan
from drift.training.config import load
from driftbench import __main__

SMALL = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "vision_config": {
        "depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64,
        "out_hidden_size": 64, "fullatt_block_indexes": [0],
    },
}  # fmt: skip
LAYER = 2 * 64 * 64 + 64 + 2 * (64 * 32 + 32) + 3 * 64 * 128
"""Attention (q with its bias, o, k and v with theirs) and MLP, by hand."""


@pytest.fixture
def vlm(tmp_path):
    """Its config.json, and nothing else."""
    folder = tmp_path / "vlm"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))
    return folder


def run(*words):
    return __main__.run([str(word) for word in words])


def table(said):
    """First cells → the numbers of a row."""
    found = {}
    for line in said.splitlines():
        words = line.split("  ")
        if len(words) > 5:
            found[words[0].strip()] = [word.strip() for word in words[1:] if word.strip()]
    return found


def test_the_bytes_are_those_counted_by_hand(vlm):
    config = load("qwen2_5_vl_drift", {"vlm": str(vlm), "train": ["attention", "mlp"]})
    model = plan.outline(str(vlm))
    plan.freeze(model, config.train)
    sizes = memory.sizes(model, config, tokens=100)
    assert sizes.trained == sizes.pulled == 2 * LAYER
    found = {one.name(): one for one in plan.settings(sizes, config, 10**9)}
    assert list(found) == [
        "as it is", "offload: true", "memory: low", "memory: low, offload: true"
    ]  # fmt: skip
    whole, low = found["as it is"].memory, found["memory: low"].memory
    assert (whole.weights, whole.gradients) == (4 * sizes.parameters, 4 * 2 * LAYER)
    assert (whole.moments, whole.delta) == (8 * 2 * LAYER, 2 * 2 * LAYER)
    assert (low.weights, low.gradients) == (2 * sizes.parameters, 2 * 2 * LAYER)
    # A byte for each of two moments, and a float32 scale of each for every 256.
    assert (low.moments, low.delta) == (2 * 2 * LAYER + 2 * 4 * 2 * LAYER // 256, 2 * 2 * LAYER)
    assert found["memory: low, offload: true"].memory.delta == 0
    bare = dataclasses.replace(config, prior=None, batch=4, gradient_checkpointing=False)
    assert [one.name() for one in plan.settings(sizes, bare, None)] == [
        "as it is",
        "batch: 1, accumulate: 4",
        "batch: 1, accumulate: 4, gradient_checkpointing: true",
        "memory: low, batch: 1, accumulate: 4, gradient_checkpointing: true",
    ]


@pytest.mark.parametrize("base", ["vlm", "nf4"])
def test_adapters_train_their_factors_alone(vlm, base):
    """Rank 8 on q, k, v, o, gate, up and down."""
    fields = {"vlm": str(vlm), "adapter_rank": 8, "adapter_base": base}
    fields |= {"train": ["attention", "mlp"], "add_tokens": []}
    config = load("qwen2_5_vl_drift", fields)
    model = plan.outline(str(vlm))
    plan.freeze(model, config.train)
    sizes = memory.sizes(model, config, tokens=100)
    sides = (64 + 64) * 2 + (64 + 32) * 2 + (64 + 128) * 3
    matrices = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    assert (sizes.trained, sizes.matrices) == (2 * 8 * sides, matrices)
    (alone, off) = plan.settings(sizes, config, None)
    assert (alone.memory.gradients, alone.memory.moments) == (4 * sizes.trained, 8 * sizes.trained)
    packed = matrices if base == "nf4" else 0
    plain = 2 * (sizes.parameters - packed) + packed // 2 + packed // 64 * 4
    assert alone.memory.weights == plain + 4 * sizes.trained
    assert off.memory.delta == 0 < alone.memory.delta


def test_the_longest_sample_is_the_one_that_just_fits(vlm):
    config = load("qwen2_5_vl_drift", {"vlm": str(vlm)})
    model = plan.outline(str(vlm))
    plan.freeze(model, config.train)
    sizes = memory.sizes(model, config, tokens=100)
    room = 40_000_000
    for one in plan.settings(sizes, config, room):
        changed = dataclasses.replace(config, **one.changes)
        for tokens, fits in ((one.longest, True), (one.longest + 1, False)):
            longer = dataclasses.replace(sizes, tokens=tokens)
            total = memory.estimate(longer, changed, 1, False).total
            assert (total <= room * plan.sharding.ROOM) == fits


@pytest.mark.parametrize(
    ("gib", "said"),
    [
        (1, "fits 1 GiB as it is"),
        (0.001, "does not fit 0.001 GiB; no number of such devices would do"),
    ],
)
def test_the_nearest_setting_is_named(vlm, capsys, gib, said):
    words = ("--set", f"vlm={vlm}", "--set", "max_tokens=100", "--device-memory", gib)
    assert run("train", "qwen2_5_vl_drift", "--plan", *words) == 0
    assert said in capsys.readouterr().out


def test_a_name_on_the_hub_is_enough(vlm, hub, capsys, tmp_path):
    shutil.copytree(vlm, hub.folder("owner") / "vlm")
    assert run("train", "qwen2_5_vl_sft", "--plan", "--set", "vlm=owner/vlm") == 0
    said = capsys.readouterr().out
    assert "owner/vlm: " in said and "as it is" in table(said)
    assert "--device-memory 24 tells what fits" in said


def test_what_cannot_be_planned_is_said(vlm, qwen, rows, tmp_path, capsys):
    assert run("train", "qwen2_5_vl_sft") == 2
    assert "train needs --out" in capsys.readouterr().err
    quantised = SMALL | {
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}
    }
    (vlm / "config.json").write_text(json.dumps(quantised))
    for more in ("memory=low", "memory=float32"):
        words = ("--set", f"vlm={vlm}", "--set", more)
        assert run("train", "qwen2_5_vl_sft", "--plan", *words) == 2
        assert (
            "is quantised (bitsandbytes): give the checkpoint in bfloat16"
            in capsys.readouterr().err
        )
