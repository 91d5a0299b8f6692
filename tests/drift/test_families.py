import doctest
import json
import shutil
from pathlib import Path

import pytest
import tiny_models as tiny
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from common.errors import UserError
from drift import families, options
from drift.checkpoints import Checkpoint
from drift.families import decoder, layer_and_role
from drift.pairing import pair

# What the hub's checkpoints hold, from their model.safetensors.index.json.
HUB = {
    "llava": ("language_model.model.layers.0.mlp.up_proj.weight", "language_model.lm_head.weight"),
    "llava_next": (
        "language_model.model.layers.0.mlp.up_proj.weight",
        "language_model.lm_head.weight",
        "image_newline",
        "vision_tower.vision_model.embeddings.class_embedding",
    ),
    "llava_onevision": (
        "language_model.model.layers.0.self_attn.q_proj.bias",
        "language_model.lm_head.weight",
    ),
    "idefics2": ("model.text_model.layers.0.mlp.up_proj.weight", "lm_head.weight"),
    "idefics3": ("model.text_model.layers.0.mlp.up_proj.weight", "lm_head.weight"),
    "smolvlm": ("model.text_model.layers.0.mlp.up_proj.weight", "lm_head.weight"),
    "qwen2_vl": (
        "model.layers.0.self_attn.q_proj.bias",
        "lm_head.weight",
        "visual.merger.ln_q.weight",
    ),
    "qwen2_5_vl": (
        "model.layers.0.self_attn.q_proj.bias",
        "lm_head.weight",
        "visual.merger.ln_q.weight",
    ),
    "qwen3_vl": ("model.language_model.layers.0.self_attn.q_norm.weight", "lm_head.weight"),
    "internvl": (
        "language_model.model.layers.0.self_attn.q_proj.bias",
        "language_model.lm_head.weight",
    ),
    "gemma3": ("language_model.model.layers.0.pre_feedforward_layernorm.weight",),
    # By transformers' maps between names on the hub and in memory; no hub's index was at hand.
    "glm4v": ("model.language_model.layers.0.mlp.gate_up_proj.weight", "lm_head.weight"),
    "glm46v": ("model.language_model.layers.0.mlp.gate_up_proj.weight", "lm_head.weight"),
    "glm4v_moe": ("model.language_model.layers.1.mlp.experts.3.up_proj.weight", "lm_head.weight"),
    "qwen3_vl_moe": ("model.language_model.layers.0.mlp.experts.gate_up_proj", "lm_head.weight"),
    "qwen3_5": ("model.language_model.layers.0.linear_attn.A_log", "lm_head.weight"),
    "qwen3_5_moe": (
        "model.language_model.layers.0.linear_attn.A_log",
        "model.language_model.layers.1.mlp.shared_expert.up_proj.weight",
    ),
    "mistral3": (
        "language_model.model.layers.0.mlp.up_proj.weight",
        "language_model.lm_head.weight",
        "multi_modal_projector.patch_merger.merging_layer.weight",
    ),
    "cohere2_vision": ("model.language_model.layers.0.input_layernorm.weight",),
    "ovis2": ("model.language_model.layers.0.self_attn.q_proj.bias", "lm_head.weight"),
    "exaone4_5": (
        "model.language_model.layers.0.post_feedforward_layernorm.weight",
        "lm_head.weight",
    ),
}


def test_tiny_checkpoints_have_the_names_of_the_hub(models, kind):
    names = set(load_file(models / kind / "vlm" / "model.safetensors"))
    assert set(HUB[kind]) <= names


def test_every_tensor_of_the_partner_is_paired(models, kind):
    pairing = pair(models / kind / "vlm", models / kind / "llm")
    partner = load_file(models / kind / "llm" / "model.safetensors")
    counted = "mlp.gate.e_score_correction_bias"  # of how often experts were chosen
    assert {weight.llm_key for weight in pairing.weights} == {
        name for name in partner if not name.endswith(counted)
    }
    assert {weight.layer for weight in pairing.weights} == {None, 0, 1}
    per_layer = [weight.role for weight in pairing.weights if weight.layer == 1]
    biased = ("llava_onevision", "qwen2_vl", "qwen2_5_vl", "internvl", "ovis2")
    assert per_layer.count("attention") == 4 + 3 * (kind in biased or kind.startswith("glm"))
    # A router, four experts of three matrices; one that sees all, with a gate or without.
    mlp = {"qwen3_vl_moe": 13, "qwen3_5_moe": 17, "glm4v_moe": 16, "glm4v": 2, "glm46v": 2}
    assert per_layer.count("mlp") == mlp.get(kind, 3)
    norms = {"gemma3": 6, "cohere2_vision": 1, "glm4v_moe": 2}
    with_own = kind.startswith(("qwen3", "exaone", "glm"))
    assert per_layer.count("norm") == norms.get(kind, 4 if with_own else 2)
    linear = [weight.role for weight in pairing.weights if ".linear_attn." in weight.name]
    assert sorted(linear) == (
        (["attention"] * 6 + ["decay"] * 2 + ["norm"]) * kind.startswith("qwen3_5")
    )


def test_the_decoder_taken_out_by_pair_is_the_text_model(models, kind, tmp_path):
    """Its logits equal those of the VLM on text, to the bit."""
    vlm_folder, llm_folder = models / kind / "vlm", models / kind / "llm"
    vlm = tf.AutoModelForImageTextToText.from_pretrained(vlm_folder).eval()
    ours, theirs = Checkpoint(vlm_folder), load_file(llm_folder / "model.safetensors")
    for one in pair(vlm_folder, llm_folder).weights:
        flat = torch.cat([block.clone() for block in ours.blocks(one.vlm_key)])
        theirs[one.llm_key] = flat.view(one.shape)
    shutil.copytree(llm_folder, tmp_path / "llm")
    save_file(theirs, tmp_path / "llm" / "model.safetensors", {"format": "pt"})
    llm = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "llm").eval()
    ids = torch.arange(20, 30)[None]
    with torch.no_grad():
        # Some processors sum in another order where tensors lie elsewhere in memory.
        torch.testing.assert_close(vlm(input_ids=ids).logits, llm(input_ids=ids).logits)


def test_live_parameters_are_those_on_disk(models, kind):
    folder = models / kind / "vlm"
    model = tf.AutoModelForImageTextToText.from_pretrained(folder)
    live, ours = decoder(model)[1], Checkpoint(folder)
    weights = pair(folder, models / kind / "llm").weights
    alone = {weight.name: weight for weight in weights if ".experts." not in weight.name}
    assert {name for name in live if ".experts." not in name} == set(alone)
    for name, weight in alone.items():
        assert torch.equal(live[name].flatten(), torch.cat([*ours.blocks(weight.vlm_key)]))


def test_live_parameters_of_a_text_only_model(qwen):
    model = tf.AutoModelForCausalLM.from_pretrained(qwen / "llm")
    stack, live = decoder(model)
    assert stack is model.model
    assert live["lm_head.weight"] is model.lm_head.weight
    assert live["layers.1.mlp.up_proj.weight"] is model.model.layers[1].mlp.up_proj.weight


def test_a_tied_head_appears_once_as_the_embedding(tmp_path):
    tiny.make_llm("qwen2_5_vl", tmp_path, tie_word_embeddings=True)
    live = decoder(tf.AutoModelForCausalLM.from_pretrained(tmp_path))[1]
    assert "embed_tokens.weight" in live
    assert "lm_head.weight" not in live


def test_the_decoder_is_found_inside_wrappers(qwen):
    model = tf.AutoModelForImageTextToText.from_pretrained(qwen / "vlm")
    plain = decoder(model)[1]
    wrapped = torch.nn.Module()
    wrapped.module = model  # as DistributedDataParallel holds it
    assert {name: id(p) for name, p in decoder(wrapped)[1].items()} == {
        name: id(p) for name, p in plain.items()
    }
    compiled = torch.compile(model.model.language_model.layers[0], backend="eager")
    model.model.language_model.layers[0] = compiled
    assert set(decoder(model)[1]) == set(plain)


def test_no_text_stack_is_an_error():
    tower = tf.CLIPVisionModel(
        tf.CLIPVisionConfig(
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            image_size=8,
            patch_size=8,
            num_attention_heads=1,
        )
    )
    with pytest.raises(UserError, match="should hold one language model of 1 layers, found 0"):
        decoder(tower)


def test_one_tensor_without_partner_stops_with_its_name(qwen, tmp_path):
    def without(name, key):
        return tiny.altered(qwen / name, tmp_path / name, lambda tensors: tensors.pop(key))

    llm = without("llm", "model.layers.1.self_attn.k_proj.bias")
    with pytest.raises(UserError, match="only in the VLM: layers.1.self_attn.k_proj.bias"):
        pair(qwen / "vlm", llm)
    vlm = without("vlm", "model.layers.0.mlp.up_proj.weight")
    with pytest.raises(UserError) as caught:
        pair(vlm, llm)
    assert "only in the VLM: layers.1.self_attn.k_proj.bias" in str(caught.value)
    assert "only in the text-only model: layers.0.mlp.up_proj.weight" in str(caught.value)


def test_another_shape_stops_with_both_shapes(qwen, tmp_path):
    tiny.make_llm("qwen2_5_vl", tmp_path, intermediate_size=40)
    with pytest.raises(UserError, match=r"mlp.up_proj.weight \(\[128, 64\] against \[40, 64\]\)"):
        pair(qwen / "vlm", tmp_path)


def test_more_layers_stop(qwen, tmp_path):
    tiny.make_llm("qwen2_5_vl", tmp_path, num_hidden_layers=3)
    with pytest.raises(UserError, match="only in the text-only model: layers.2"):
        pair(qwen / "vlm", tmp_path)


def test_another_vocabulary_and_a_tied_head_are_notes(qwen, tmp_path):
    tiny.make_llm("qwen2_5_vl", tmp_path, vocab_size=99, tie_word_embeddings=True)
    pairing = pair(qwen / "vlm", tmp_path)
    assert {weight.role for weight in pairing.weights} == {"attention", "mlp", "norm"}
    assert len(pairing.notes) == 2
    assert "embed_tokens.weight is [106, 64] in the VLM, [99, 64]" in pairing.notes[0]
    assert "lm_head.weight is in the VLM only" in pairing.notes[1]


def test_the_wrong_architecture_stops(models):
    with pytest.raises(UserError, match="'llama', but the language model inside Qwen2.5-VL"):
        pair(models / "qwen2_5_vl" / "vlm", models / "idefics3" / "llm")


def test_newer_names_on_disk_pair_too(models, tmp_path):
    """Checkpoints written from a live state dict carry the names in memory."""
    for kind, old, new in (
        ("qwen2_5_vl", "model.", "model.language_model."),
        ("llava_next", "language_model.model.", "model.language_model."),
    ):
        target = tmp_path / kind
        shutil.copytree(models / kind / "vlm", target)
        tensors = {
            key.replace("language_model.lm_head", "lm_head").replace(old, new, 1): tensor
            for key, tensor in load_file(target / "model.safetensors").items()
        }
        save_file(tensors, target / "model.safetensors")
        before = pair(models / kind / "vlm", models / kind / "llm").weights
        after = pair(target, models / kind / "llm").weights
        assert [weight.name for weight in before] == [weight.name for weight in after]
        assert after[0].vlm_key.startswith(new)


@pytest.mark.parametrize(
    "key",
    [
        "model.layers.0.mlp.experts.0.up_proj.bias_scale",
        "model.layers.0.mlp.up_proj.weight_scale_inv",
        "lm_head.weight_scale",
    ],
)
def test_strange_and_quantised_weights_are_refused(qwen, tmp_path, key):
    more = {key: torch.zeros(2, 2)}
    llm = tiny.altered(qwen / "llm", tmp_path / "llm", lambda tensors: tensors.update(more))
    with pytest.raises(UserError, match=f"{key} is no plain weight of a decoder"):
        pair(qwen / "vlm", llm)


def test_quantised_checkpoints_are_refused_by_what_they_say_and_by_what_they_hold(qwen, tmp_path):
    shutil.copytree(qwen / "llm", tmp_path / "llm")
    path = tmp_path / "llm" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(UserError, match=r"llm is quantised \(gptq\), and its numbers cannot be"):
        pair(qwen / "vlm", tmp_path / "llm")
    path.write_text(json.dumps(config))
    tensors = load_file(tmp_path / "llm" / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    for dtype, said in ((torch.int8, "int8"), (torch.float8_e4m3fn, "float8_e4m3fn")):
        save_file(tensors | {name: tensors[name].to(dtype)}, tmp_path / "llm" / "model.safetensors")
        with pytest.raises(UserError, match=f"{name} in .*llm is stored as {said}, which is quan"):
            pair(qwen / "vlm", tmp_path / "llm")


def test_old_rotary_buffers_are_left_aside(qwen, tmp_path):
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    llm = tiny.altered(qwen / "llm", tmp_path / "llm", lambda tensors: tensors.update(buffer))
    assert len(pair(qwen / "vlm", llm).weights) == 27


def test_unknown_families_are_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "paligemma"}))
    with pytest.raises(
        UserError, match="'paligemma', which is no VLM family known here.*qwen2_5_vl.*`eval` needs"
    ):
        families.family_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mllama"}))
    with pytest.raises(UserError, match="'mllama', .* here: its layers of cross-attention are in"):
        families.family_of(tmp_path)
    with pytest.raises(UserError, match="holds no config.json"):
        families.family_of(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        families.family_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layers.12.mlp.gate_proj.weight", (12, "mlp")),
        ("layers.0.self_attn.k_norm.weight", (0, "norm")),
        ("layers.0.post_attention_layernorm.weight", (0, "norm")),
        ("lm_head.weight", (None, "head")),
        ("embed_tokens.weight", (None, "embedding")),
        ("layers.0.self_attn.q_proj.base_layer.weight", None),
        ("layers.0.self_attn.q_proj.lora_A.default.weight", None),
        ("layers.0.self_attn.rotary_emb.inv_freq", None),
    ],
)
def test_roles(name, expected):
    assert layer_and_role(name) == expected


def test_the_documents_list_the_families_that_there_are():
    root = Path(__file__).parents[2]
    rows = [
        f"| {one.name} | `{one.model_type}` | {', '.join(one.text_types)} |"
        for one in families.FAMILIES
    ]
    page = (root / "docs" / "adding_a_family.md").read_text()
    table = page.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows
    count = f"{len(rows)} families of VLMs"
    for name in ("README.md", "CHANGELOG.md"):
        assert count in (root / name).read_text(), f"{name} does not say: {count}"


@pytest.mark.parametrize("module", [families, options])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module) == doctest.TestResults(0, 4 if module is families else 1)
