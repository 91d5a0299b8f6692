"""A VLM as the reasoner: its language model is merged, subtracted, measured and pulled along."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import altered, make_llm, make_vlm, read

from common.errors import UserError
from drift import delta
from drift.displacement import displacement
from drift.distance import measure
from drift.families import DECODER_ROLES, decoder_keys
from drift.headers import shapes
from drift.merge import layer_count, merge
from drift.merge_methods import Recipe
from drift.pairing import pair, pair_vlms


@pytest.fixture(scope="module")
def thinking(tmp_path_factory):
    """Qwen3-VL-Thinking beside -Instruct, as far as names go."""
    return make_vlm("qwen3_vl", tmp_path_factory.mktemp("thinking") / "vlm", seed=5)


def test_the_language_model_of_a_vlm_of_the_family_is_the_reasoner(models, thinking, tmp_path):
    vlm = models / "qwen3_vl" / "vlm"
    pairing = pair(vlm, thinking)
    assert {one.name for one in pairing.weights} == {
        one.name for one in pair(vlm, models / "qwen3_vl" / "llm").weights
    }
    ours, theirs = read(vlm), read(thinking)
    prior = delta.build(vlm, thinking, dtype="float32")
    assert prior.shapes and not any("visual" in name for name in prior.shapes)
    for one in pairing.weights:
        if one.role in DECODER_ROLES:
            wanted = theirs[one.llm_key] - ours[one.vlm_key]
            torch.testing.assert_close(prior.read(one.name), wanted)
    recipe = Recipe(alpha=0.25, modules=DECODER_ROLES)
    (_, made), *_ = merge(vlm, thinking, {tmp_path / "m": recipe})
    found = read(tmp_path / "m")
    for one in pairing.weights:
        share = 0.25 if one.role in DECODER_ROLES else 0.0
        wanted = torch.lerp(ours[one.vlm_key], theirs[one.llm_key], share)
        torch.testing.assert_close(found[one.vlm_key], wanted)
    outside = found.keys() - {one.vlm_key for one in pairing.weights}
    assert outside and all(torch.equal(found[name], ours[name]) for name in outside)
    gone = displacement(vlm, thinking, tmp_path / "m", DECODER_ROLES)
    assert gone.rho == pytest.approx(0.25, rel=1e-4)
    assert measure(vlm, thinking).total.relative_l2 > 0.5


def test_the_base_of_a_vlm_may_be_a_text_only_model(models, thinking, tmp_path):
    """As Qwen3-8B-Base is that of Qwen3-VL-8B in both its forms."""
    vlm, base = models / "qwen3_vl" / "vlm", models / "qwen3_vl" / "llm"
    prior = delta.build(vlm, thinking, "reasoner-base", base, dtype="float32")
    name = "layers.1.mlp.up_proj.weight"
    there, here = read(thinking), read(base)
    wanted = there[f"model.language_model.{name}"] - here[f"model.{name}"]
    torch.testing.assert_close(prior.read(name), wanted)
    recipe = Recipe(method="task_arithmetic", alpha=0.5)
    list(merge(vlm, thinking, {tmp_path / "m": recipe}, base))
    found = read(tmp_path / "m")[f"model.language_model.{name}"]
    torch.testing.assert_close(found, read(vlm)[f"model.language_model.{name}"] + 0.5 * wanted)


def test_a_vlm_of_another_family_is_the_reasoner_if_its_language_model_fits(models, tmp_path):
    """InternVL of Qwen3, as InternVL 3.5 is, beside Qwen3-VL; LLaVA beside none of them."""
    vlm, qwen3 = models / "qwen3_vl" / "vlm", {"num_hidden_layers": 2}
    internvl = _internvl(tmp_path / "internvl", make_llm("qwen3_vl", tmp_path / "llm", **qwen3))
    weights = pair(vlm, internvl).weights
    assert len(weights) == len(pair(vlm, models / "qwen3_vl" / "llm").weights)
    assert weights[-1].llm_key.startswith("language_model.")
    with pytest.raises(UserError, match="'llava', but the language model inside Qwen3-VL .* VLM"):
        pair(vlm, models / "llava" / "vlm")
    with pytest.raises(UserError, match="'gemma3', but the language model"):
        pair(vlm, models / "gemma3" / "vlm")


def _internvl(folder, llm):
    """What of an InternVL's folder is read here: its names, over the weights of `llm`."""
    shutil.copytree(llm, folder)
    text = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "internvl", "text_config": text}
    (folder / "config.json").write_text(json.dumps(whole))
    tensors = load_file(folder / "model.safetensors")
    save_file({f"language_model.{k}": v for k, v in tensors.items()}, folder / "model.safetensors")
    return folder


def test_internvl_3_5_pairs_with_qwen3(models, tmp_path):
    llm = models / "qwen3_vl" / "llm"
    pairing = pair(_internvl(tmp_path / "vlm", llm), llm)
    assert {one.llm_key for one in pairing.weights} == set(read(llm))


def test_mimo_is_a_partner_of_qwen2_5_vl_but_for_its_layers_of_prediction(qwen, tmp_path):
    """MiMo-7B: `mimo` in its config.json, and `model.mtp_layers`, which no VLM has."""
    more = {"model.mtp_layers.0.input_proj.weight": torch.zeros(4, 4)}
    mimo = altered(qwen / "llm", tmp_path / "llm", lambda tensors: tensors.update(more))
    config = json.loads((mimo / "config.json").read_text()) | {"model_type": "mimo"}
    (mimo / "config.json").write_text(json.dumps(config))
    names = {one.llm_key for one in pair(qwen / "vlm", mimo).weights}
    assert names == set(read(qwen / "llm"))


def test_a_layer_that_predicts_words_ahead_is_left_out_on_both_sides(models, tmp_path):
    """GLM-4.5-Air: `model.layers.46`, behind its 46, with parts that no decoder has."""
    folder = models / "glm4v_moe"

    def ahead(prefix):
        more = {f"{prefix}eh_proj.weight": (64, 128), f"{prefix}shared_head.head.weight": (8, 64)}
        more |= {f"{prefix}{one}norm.weight": (64,) for one in ("e", "h", "input_layer")}
        return lambda held: held.update({name: torch.ones(shape) for name, shape in more.items()})

    llm = altered(folder / "llm", tmp_path / "llm", ahead("model.layers.2."))
    vlm = altered(folder / "vlm", tmp_path / "vlm", ahead("model.language_model.layers.2."))
    plain = pair(folder / "vlm", folder / "llm")
    assert len(plain.weights) == 40
    assert {pair(vlm, llm), pair(folder / "vlm", llm), pair(vlm, folder / "llm")} == {plain}
    assert pair_vlms(vlm, folder / "vlm") == pair_vlms(folder / "vlm", folder / "vlm")
    assert layer_count(vlm) == 2
    jobs = {tmp_path / "out": Recipe(alpha=0.5)}
    assert [made.coverage["decoder_share"] for _, made in merge(vlm, llm, jobs)] == [1]
    before, after = read(vlm), read(tmp_path / "out")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and moved and not any("layers.2." in one for one in moved)


def test_a_configuration_without_defaults_does_not_count_its_layers(models, tmp_path):
    """LLaVA-1.5's `text_config` on the hub."""
    vlm = shutil.copytree(models / "llava" / "vlm", tmp_path / "vlm")
    config = json.loads((vlm / "config.json").read_text())
    del config["text_config"]["num_hidden_layers"]
    (vlm / "config.json").write_text(json.dumps(config))
    keys = decoder_keys(vlm, shapes(vlm))
    assert keys == decoder_keys(models / "llava" / "vlm", shapes(vlm))


def test_mistral3_is_of_mistral_or_of_ministral3_and_the_two_do_not_mix(models, tmp_path):
    def of(folder, kind, inside=None):
        shutil.copytree(folder, tmp_path / kind)
        config = json.loads((tmp_path / kind / "config.json").read_text())
        (config if inside is None else config[inside])["model_type"] = kind
        (tmp_path / kind / "config.json").write_text(json.dumps(config))
        return tmp_path / kind

    folder = models / "mistral3"
    llm = of(folder / "llm", "ministral3")
    with pytest.raises(UserError, match="inside .*vlm is a mistral, .* is a ministral3"):
        pair(folder / "vlm", llm)
    vlm = tmp_path / "vlm"
    of(folder / "vlm", "mistral3")
    shutil.move(tmp_path / "mistral3", vlm)
    config = json.loads((vlm / "config.json").read_text())
    config["text_config"]["model_type"] = "ministral3"
    (vlm / "config.json").write_text(json.dumps(config))
    assert len(pair(vlm, llm).weights) == len(pair(folder / "vlm", folder / "llm").weights)
