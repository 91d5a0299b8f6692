"""What makes two models ill-matched: refused where it is certain, else said."""

import json
import shutil

import pytest
import tiny_models as tiny
from safetensors.torch import load_file, save_file

from common.errors import UserError
from drift import compatibility
from drift.families import FAMILIES
from drift.pairing import pair


def changed(folder, target, file="config.json", **fields):
    """A copy whose configuration says something else."""
    if not target.exists():
        shutil.copytree(folder, target)
    content = json.loads((target / file).read_text())
    content |= fields
    (target / file).write_text(json.dumps(content))
    return target


def test_the_defaults_are_those_of_transformers():
    """Also of every VLM whose config.json says nothing of its language model."""
    from transformers import AutoConfig

    for kind, known in compatibility.DEFAULTS.items():
        theirs = AutoConfig.for_model(kind)
        rope = theirs.rope_parameters
        assert rope.get("full_attention", rope)["rope_theta"] == known["rope_theta"]
        assert theirs.num_attention_heads == known["num_attention_heads"]
        heads = known.get("num_key_value_heads", known["num_attention_heads"])
        assert theirs.num_key_value_heads == heads


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_what_a_config_leaves_out_is_the_default(family, tmp_path):
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text(json.dumps({"model_type": family.model_type}))
    found = compatibility.settings(tmp_path)
    inside = AutoConfig.for_model(family.model_type).get_text_config()
    rope = inside.rope_parameters
    assert found["model_type"] == inside.model_type
    assert found["num_attention_heads"] == inside.num_attention_heads
    assert found["num_key_value_heads"] == inside.num_key_value_heads
    assert found["rope_theta"] == rope.get("full_attention", rope)["rope_theta"]


@pytest.mark.parametrize(
    ("config", "theta"),
    [
        ({"model_type": "llama", "rope_theta": 1e6}, 1e6),
        ({"model_type": "llava", "text_config": {"rope_theta": 5e5}}, 5e5),
        (
            {"model_type": "llava", "text_config": {"rope_parameters": {"rope_theta": 7}}}
            | {"rope_theta": 1},
            7,
        ),
        ({"model_type": "qwen2_5_vl"}, 1e6),
        ({"model_type": "qwen2"}, 1e4),
    ],
)
def test_rope_theta_in_every_place_a_config_keeps_it(tmp_path, config, theta):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert compatibility.settings(tmp_path)["rope_theta"] == theta


def test_a_reasoner_of_another_type_is_refused_though_all_shapes_agree(models, tmp_path):
    """LLaVA-NeXT with Llama and a Mistral."""
    folder = models / "llava_next"
    mistral = changed(folder / "llm", tmp_path / "llm", model_type="mistral")
    with pytest.raises(UserError, match="inside .*vlm is a llama, .*llm is a mistral"):
        pair(folder / "vlm", mistral)


def test_other_heads_are_refused_though_all_shapes_agree(qwen, tmp_path):
    """Two heads of 32 and four of 16 have one matrix."""
    llm = changed(qwen / "llm", tmp_path / "llm", num_attention_heads=4)
    with pytest.raises(UserError, match="num_attention_heads is 2 in .*vlm, 4 in .*llm"):
        pair(qwen / "vlm", llm)


def test_attention_biases_on_one_side_and_rope_scaling_are_said(qwen, tmp_path):
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}
    llm = changed(qwen / "llm", tmp_path / "llm", hidden_size=96, vocab_size=99)
    changed(llm, llm, rope_parameters=rope)
    tensors = load_file(llm / "model.safetensors")
    bare = {name: one for name, one in tensors.items() if not name.endswith("bias")}
    save_file(bare, llm / "model.safetensors")
    said = "\n".join(compatibility.warnings(qwen / "vlm", llm))
    assert "only the VLM has attention biases" in said
    assert "positions are scaled as default in the VLM, as yarn in the other" in said
    assert "hidden_size is 64 in the VLM, 96 in the other" in said
    assert "vocab_size is 106 in the VLM, 99 in the other" in said


def test_biases_of_the_vision_tower_are_none_of_the_decoders(models):
    """LLaVA's tower has them, its Llama and the reasoner have not."""
    folder = models / "llava_next"
    names = load_file(folder / "vlm" / "model.safetensors")
    assert any("vision_tower" in name and name.endswith("q_proj.bias") for name in names)
    assert compatibility.warnings(folder / "vlm", folder / "llm") == []


def test_added_tokens_are_compared_by_word_and_by_number(qwen, tmp_path):
    words = json.loads((qwen / "llm" / "tokenizer.json").read_text())["added_tokens"]
    moved = [one | ({"id": 999} if one["content"] == "<|image_pad|>" else {}) for one in words]
    llm = changed(qwen / "llm", tmp_path / "a", "tokenizer.json", added_tokens=moved)
    content = json.loads((llm / "tokenizer.json").read_text())
    number = content["model"]["vocab"].pop("<|image_pad|>")
    (llm / "tokenizer.json").write_text(json.dumps(content))
    (said,) = compatibility.warnings(qwen / "vlm", llm)
    assert "different numbers to 1 of their common words ('<|image_pad|>')" in said
    content["added_tokens"] = [
        one | ({"content": "<think>"} if one["content"] == "<|image_pad|>" else {"id": one["id"]})
        for one in words
    ]
    (llm / "tokenizer.json").write_text(json.dumps(content))
    (said,) = compatibility.warnings(qwen / "vlm", llm)
    assert f"1 numbers stand for one word in the VLM and another in the other ({number} is" in said
    assert "'<|image_pad|>' and '<think>'" in said


def test_the_warnings_are_in_a_prior_too(qwen, tmp_path):
    from drift import delta

    llm = tiny.altered(qwen / "llm", tmp_path / "llm", lambda tensors: None)
    changed(llm, llm, rms_norm_eps=1e-5)
    made = delta.build(qwen / "vlm", llm)
    assert made.warnings == ("rms_norm_eps is 1e-06 in the VLM, 1e-05 in the other",)
    delta.save(made, tmp_path / "prior")
    assert delta.load(tmp_path / "prior").warnings == made.warnings
