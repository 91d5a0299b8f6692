"""What training takes is told before weights are loaded, and what fits is chosen."""

import dataclasses

import pytest
import torch
import transformers as tf
from test_trainer import config_of

from common.errors import UserError
from drift.training import memory, sharding
from drift.training import trainer as training
from drift.training.config import TrainConfig, load
from drift.training.trainable import freeze

GB = 10**9


@pytest.fixture(scope="module")
def paper() -> tuple[torch.nn.Module, TrainConfig]:
    """Qwen2.5-VL-7B without its weights (the sizes of its config.json), and the paper's recipe."""
    text = {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    }
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}
    whole = tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    with torch.device("meta"):
        model = tf.AutoModelForImageTextToText.from_config(whole, dtype=torch.float32)
    config = load("qwen2_5_vl_drift")
    freeze(model, config.train)
    return model, config


def test_a_7b_model_takes_what_is_known_of_it(paper):
    model, config = paper
    sizes = memory.sizes(model, config, tokens=1000)
    assert sizes.parameters == 8_292_166_656  # as the hub counts them
    assert sizes.trained == 7_615_616_512  # Qwen2.5-7B
    assert sizes.pulled == 6_525_288_448 + 28 * (3584 + 2 * 512)  # projections, and their biases
    alone, eight = (memory.estimate(sizes, config, n, sharded=False) for n in (1, 8))
    assert (alone.weights, alone.gradients, alone.moments) == tuple(
        n * count for n, count in ((4, sizes.parameters), (4, sizes.trained), (8, sizes.trained))
    )
    assert alone.buckets == 0 and eight.buckets == eight.gradients
    assert alone.delta == 2 * sizes.pulled
    assert eight.fixed / GB == pytest.approx(168, abs=1)
    shared = memory.estimate(sizes, config, 8, sharded=True)
    assert shared.weights == alone.weights // 8 and shared.delta == alone.delta // 8
    assert 20 < shared.total / GB < 35
    host = dataclasses.replace(config, offload=True)
    assert memory.estimate(sizes, host, 1, sharded=False).delta == 0
    # An anchor in float32 beside Δ; where a strength is learnt, the Δ of the step before as well.
    for more, item in (
        ({"live": True}, 6),
        ({"anchor": "spd", "live": True}, 6),
        ({"mode": "project_learnt"}, 2),
        ({"mode": "project_learnt", "live": True}, 10),
    ):
        held = memory.estimate(sizes, dataclasses.replace(config, **more), 1, sharded=False)
        assert held.delta == item * sizes.pulled


def test_delta_is_of_the_layers_that_are_pulled(paper):
    model, config = paper
    every, two = (
        memory.sizes(model, dataclasses.replace(config, layers=layers), tokens=1000)
        for layers in (None, (3, 20))
    )
    assert two.pulled * 14 == every.pulled


def test_what_is_gathered_is_the_largest_layer_and_what_lies_outside_all_of_them():
    text = {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "vocab_size": 100},
        **{"num_attention_heads": 2, "num_key_value_heads": 2, "moe_intermediate_size": 256},
        **{"n_routed_experts": 8, "first_k_dense_replace": 1},
    }
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "out_hidden_size": 32}
    whole = tf.Glm4vMoeConfig(text_config=text, vision_config=vision)
    with torch.device("meta"):
        model = tf.AutoModelForImageTextToText.from_config(whole)
    layers = [
        sum(param.numel() for param in layer.parameters())
        for layer in model.model.language_model.layers
    ]
    assert 10 * layers[0] < layers[1] == layers[2]
    sizes = memory.sizes(model, load("qwen2_5_vl_sft"), tokens=10)
    assert (sizes.layer, sizes.stack) == (layers[1], sum(layers))
    shared = memory.estimate(sizes, load("qwen2_5_vl_sft"), 64, sharded=True)
    assert shared.buckets == 2 * (2 * layers[1] + sizes.parameters - sum(layers)) + 8 * layers[1]


@pytest.mark.parametrize(
    ("devices", "room", "sharded"),
    [(1, None, False), (8, None, False), (8, 80, True), (8, 200, False), (1, 192, False)],
)
def test_what_fits_is_chosen_and_told(paper, devices, room, sharded, capsys, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    model, config = paper
    sizes = memory.sizes(model, config, tokens=1000)
    assert sharding.choose(sizes, config, devices, room and room * GB) == sharded
    said = capsys.readouterr().out
    assert said.startswith("memory per device, ")
    assert ("FSDP2, the model shared" in said) == ("a copy on each would take" in said) == sharded


def test_what_cannot_fit_says_how_many_would_do(paper, monkeypatch):
    model, config = paper
    sizes = memory.sizes(model, config, tokens=1000)
    with pytest.raises(UserError, match=r"there is 75 GiB; 3 such devices would do, .*FSDP2.*offl"):
        sharding.choose(sizes, config, 1, 80 * GB)
    assert memory.estimate(sizes, config, 3, True).total <= 80 * GB * sharding.ROOM
    assert memory.estimate(sizes, config, 2, True).total > 80 * GB * sharding.ROOM
    with pytest.raises(UserError, match="no number of such devices would do as it is; try offload"):
        sharding.choose(sizes, config, 8, 8 * GB)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert sharding.choose(sizes, config, 8, None)
    whole = dataclasses.replace(config, when="backward")
    with pytest.raises(UserError, match="the model is shared .FSDP2.: train it on one device"):
        sharding.choose(sizes, whole, 8, None)
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(UserError, match="set fsdp_version: 2"):
        sharding.choose(sizes, config, 8, None)


def test_a_pull_in_backward_is_told_of_no_way_to_share(paper, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    model, config = paper
    sizes = memory.sizes(model, config, tokens=1000)
    config = dataclasses.replace(config, when="backward")
    with pytest.raises(UserError, match="the model is shared"):
        sharding.choose(sizes, config, 8, 80 * GB)
    assert not sharding.choose(sizes, config, 8, 200 * GB)  # a copy on each
    with pytest.raises(UserError) as told:
        sharding.choose(sizes, config, 1, 80 * GB)
    assert "FSDP2" not in str(told.value) and "offload: true" in str(told.value)


def test_the_estimate_is_what_a_run_holds(qwen, rows, tmp_path, monkeypatch):
    estimates = []
    line = memory.Memory.line
    monkeypatch.setattr(memory.Memory, "line", lambda one: estimates.append(one) or line(one))
    config = config_of(qwen, rows, prior="reasoner-vlm", steps=1)
    made = training.train(config, tmp_path / "out")
    (told,) = estimates
    held = made.cost["memory"]
    assert (told.weights, told.gradients, told.delta) == (
        held["weights_bytes"], held["gradients_bytes"], held["delta_bytes"]
    )  # fmt: skip
    assert held["optimizer_bytes"] == pytest.approx(told.moments, rel=0.01)


def test_gradients_are_reduced_in_float32(paper):
    _, config = paper
    policy = sharding.precision(config)
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)
    assert sharding.precision(dataclasses.replace(config, dtype="float32")) is None


def test_out_of_memory_names_fsdp2(qwen, rows, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training.DriftTrainer, "train", full)
    with pytest.raises(UserError, match="the device ran out of memory; .*gradient_checkpointing"):
        training.train(config_of(qwen, rows), tmp_path / "out")
