"""What other families do with pictures and memory, told before a question is asked."""

import json
import shutil
from types import SimpleNamespace

import pytest
import tiny_models as tiny
from PIL import Image

from common.errors import UserError
from harness.checkpoints.image_size import budget_of, fit, own_limits, undone
from harness.checkpoints.kinds import sees
from harness.checkpoints.preflight import open_checkpoint
from harness.engines import choice, rendering, vllm
from harness.runs.schema import PixelBudget


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("families")
    return {
        name: tiny.make_vlm(name, base / name)
        for name in ("glm4v", "llava", "qwen2_5_vl", "mistral3", "qwen3_vl_moe")
    }


def test_the_limits_of_glm_are_of_two_frames_and_its_budgets_are_kept(folders):
    from transformers import AutoImageProcessor

    opened = open_checkpoint(folders["glm4v"])
    assert own_limits(opened) == (784, 12544)
    process = AutoImageProcessor.from_pretrained(folders["glm4v"])
    for most in (3136, 12544):
        budget = budget_of(opened, None, most)
        picture = Image.new("RGB", fit(224, 224, budget))
        _, high, wide = process(images=[picture], return_tensors="pt")["image_grid_thw"][0].tolist()
        assert high * wide * 14 * 14 == most  # patches of 14 by 14 pixels
    with pytest.raises(UserError, match="pictures of 784 to 12544 pixels: 25088 is beyond"):
        budget_of(opened, None, 25088)


def test_a_budget_that_the_processor_undoes_is_said(folders):
    for name, said in (("llava", True), ("qwen2_5_vl", False), ("mistral3", False)):
        budget = PixelBudget(None, 3136 if name == "mistral3" else 6272)
        assert bool(undone(open_checkpoint(folders[name]), budget)) == said, name
    assert undone(open_checkpoint(folders["llava"]), None) is None


@pytest.mark.parametrize(
    ("config", "images"),
    [
        ({"model_type": "molmo"}, True),
        ({"model_type": "fuyu"}, True),
        ({"model_type": "ovis2_5", "vit_config": {}}, True),
        ({"model_type": "chameleon", "vq_config": {}}, True),
        ({"model_type": "qwen2_5_omni", "thinker_config": {}}, True),
        ({"model_type": "llama"}, False),
    ],
)
def test_models_that_take_images_are_known_by_their_configuration(config, images):
    assert sees(config) == images


def test_keys_and_values_are_counted_layer_by_layer():
    from transformers import AutoConfig

    layers = {"num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 4}
    full = {"layer_types": ["sliding_attention", "full_attention"] * 2}
    gemma = AutoConfig.for_model(
        "gemma4_text",
        **layers,
        **full,
        num_key_value_heads=2,
        head_dim=32,
        global_head_dim=64,
        num_kv_shared_layers=2,
    )
    assert rendering.cache_bytes(gemma, 4) == 2 * 4 * (2 * 32 + 2 * 64)
    hybrid = ["linear_attention", "full_attention"] * 2
    qwen = AutoConfig.for_model(
        "qwen3_5_text", **layers, layer_types=hybrid, num_key_value_heads=2, head_dim=32
    )
    assert rendering.cache_bytes(qwen, 2) == 2 * 2 * 2 * (2 * 32)
    plain = SimpleNamespace(num_hidden_layers=3, num_attention_heads=4, hidden_size=64)
    assert rendering.cache_bytes(plain, 4) == 2 * 4 * 3 * 64


def test_what_vllm_takes_through_transformers_and_what_it_has_given_up():
    pytest.importorskip("vllm")
    assert vllm.knows("Glm46VForConditionalGeneration")  # asks its processor for tokens
    assert not vllm.knows("Ovis2ForConditionalGeneration")  # whose processor tells none
    assert not vllm.knows("MllamaForConditionalGeneration")
    assert not vllm.knows("AyaVisionForConditionalGeneration")


def test_experts_that_lie_as_transformers_writes_them_are_answered_by_transformers(
    folders, tmp_path, capsys
):
    pytest.importorskip("vllm")
    assert vllm.lacks(open_checkpoint(folders["qwen3_vl_moe"])) == ""
    shutil.copytree(folders["qwen3_vl_moe"], tmp_path / "turned")
    tiny.turn_experts(tmp_path / "turned")
    opened = open_checkpoint(tmp_path / "turned")
    with pytest.raises(UserError, match="vLLM reads its experts as the hub .* use --engine hf"):
        vllm.VllmEngine(opened).start()
    assert choice.maker("auto", opened, None)(opened).name == "hf"
    assert "transformers answers, which is slower" in capsys.readouterr().err


def test_linear_attention_is_computed_in_bfloat16_on_a_cpu(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm, "installed", lambda: ("0.32.0+cpu", True))
    shutil.copytree(folders["qwen2_5_vl"], tmp_path / "hybrid")
    config = json.loads((tmp_path / "hybrid" / "config.json").read_text())
    config["text_config"]["layer_types"] = ["linear_attention", "full_attention"]
    config["dtype"] = "bfloat16"
    (tmp_path / "hybrid" / "config.json").write_text(json.dumps(config))
    assert vllm.VllmEngine(open_checkpoint(tmp_path / "hybrid")).dtype == "bfloat16"
    assert vllm.VllmEngine(open_checkpoint(folders["qwen2_5_vl"])).dtype == "float32"
