import json
import shutil

import numpy as np
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file
from tiny_models import read

from common.errors import UserError
from drift import distance as distances
from drift.displacement import displacement
from drift.merge import merge
from drift.merge_methods import Recipe
from drift.pairing import pair


def test_every_tensor_is_measured(models, family):
    folder = models / family
    found = distances.measure(folder / "vlm", folder / "llm")
    vlm, llm = read(folder / "vlm"), read(folder / "llm")
    weights = pair(folder / "vlm", folder / "llm").weights
    assert len(found.tensors) == len(weights)
    total = [0.0, 0.0]
    for weight, gap in zip(weights, found.tensors, strict=True):
        ours = vlm[weight.vlm_key].double().numpy().ravel()
        theirs = llm[weight.llm_key].double().numpy().ravel()
        relative = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert (gap.layer, gap.role, gap.parameters) == (weight.layer, weight.role, ours.size)
        assert gap.relative_l2 == pytest.approx(relative, rel=1e-5)
        assert gap.cosine == pytest.approx(cosine, abs=1e-6)
        if weight.role in ("attention", "mlp"):
            total[0] += np.sum((theirs - ours) ** 2)
            total[1] += np.sum(ours**2)
    assert found.total.relative_l2 == pytest.approx((total[0] / total[1]) ** 0.5, rel=1e-5)
    cells = [(gap.layer, gap.role) for gap in found.layers]
    roles = ("attention", "mlp", "norm")
    assert set(cells) == {(layer, role) for layer in (0, 1) for role in roles} | {(None, "norm")}


def near(folder, target, by):
    """A text-only twin of the decoder, `by` away in relative L2."""
    shutil.copytree(folder / "llm", target)
    vlm = load_file(folder / "vlm" / "model.safetensors")
    tensors = {}
    for weight in pair(folder / "vlm", folder / "llm").weights:
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        ours = vlm[weight.vlm_key]
        tensors[weight.llm_key] = ours + by * noise * ours.norm() / noise.norm()
    save_file(tensors, target / "model.safetensors")
    return target


def test_a_close_relative_gives_no_warning(qwen, tmp_path):
    found = distances.measure(qwen / "vlm", near(qwen, tmp_path / "n", 0.05))
    assert found.warnings == ()
    assert found.total.relative_l2 == pytest.approx(0.05, rel=1e-4)


def test_what_could_spoil_a_merge_is_said(qwen, tmp_path):
    twin = near(qwen, tmp_path / "n", 0.6)
    config = json.loads((twin / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 1e6
    config["rms_norm_eps"] = 1e-5
    (twin / "config.json").write_text(json.dumps(config))
    words = json.loads((twin / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    vocabulary["1"], vocabulary["2"] = vocabulary["2"], vocabulary["1"]
    (twin / "tokenizer.json").write_text(json.dumps(words))
    warnings = "\n".join(distances.measure(qwen / "vlm", twin).warnings)
    assert "rope_theta is 10000 in the VLM, 1e+06 in the other" in warnings
    assert "rms_norm_eps is 1e-06 in the VLM, 1e-05 in the other" in warnings
    assert "different numbers to 2 of their common words ('1', '2')" in warnings
    assert "0.60 apart" in warnings and "too far for two fine-tunes of one model" in warnings
    (twin / "tokenizer.json").unlink()
    warnings = "\n".join(distances.measure(qwen / "vlm", twin).warnings)
    assert f"no tokenizer.json to compare in {twin}" in warnings


def test_what_does_not_pair_is_a_warning_here(models, qwen, tmp_path):
    found = distances.measure(qwen / "vlm", models / "idefics3" / "llm")
    warnings = "\n".join(found.warnings)
    assert "only in the VLM: layers.0.self_attn.k_proj.bias" in warnings
    assert "only the VLM has attention biases" in warnings
    assert "vocab_size is 106 in the VLM, 142 in the other" in warnings
    tiny.make_llm(
        "qwen2_5_vl", tmp_path, hidden_size=40, num_attention_heads=5, num_key_value_heads=5
    )
    with pytest.raises(UserError, match="can be compared.*of another shape"):
        distances.measure(qwen / "vlm", tmp_path)


def test_displacement_against_float64(models, family, tmp_path):
    folder = models / family
    tensors, llm = load_file(folder / "vlm" / "model.safetensors"), read(folder / "llm")
    vlm = dict(tensors)
    numbers = torch.Generator().manual_seed(0)
    weights = pair(folder / "vlm", folder / "llm").weights
    for weight in weights:
        noise = torch.randn(weight.shape, generator=numbers)
        delta = llm[weight.llm_key] - vlm[weight.vlm_key]
        tensors[weight.vlm_key] = vlm[weight.vlm_key] + 0.1 * delta + 0.01 * noise
    shutil.copytree(folder / "vlm", tmp_path / "c")
    save_file(tensors, tmp_path / "c" / "model.safetensors")
    found = displacement(folder / "vlm", folder / "llm", tmp_path / "c", ("mlp", "norm"))
    sums, of_tensor = {"mlp": np.zeros(3), "norm": np.zeros(3)}, {}
    for weight in weights:
        if weight.role in sums:
            before, after, goal = (
                one.double().numpy().ravel()
                for one in (
                    vlm[weight.vlm_key], tensors[weight.vlm_key], llm[weight.llm_key]
                )
            )  # fmt: skip
            moved, delta = after - before, goal - before
            sums[weight.role] += moved @ delta, delta @ delta, moved @ moved
            module = weight.name.removeprefix(f"layers.{weight.layer}.")
            share = (moved @ delta) / (delta @ delta)
            of_tensor[weight.layer, module] = pytest.approx(share, rel=1e-5)
    assert {(one.layer, one.module): one.rho for one in found.tensors} == of_tensor
    along, whole, moved = sum(sums.values())
    assert found.rho == pytest.approx(along / whole, rel=1e-5)
    assert found.cosine == pytest.approx(along / np.sqrt(whole * moved), rel=1e-5)
    assert found.moved == pytest.approx(np.sqrt(moved / whole), rel=1e-5)
    for role, (along, whole, _) in sums.items():
        assert found.by_role[role] == pytest.approx(along / whole, rel=1e-5)


def test_displacement_of_a_merge_is_its_alpha(qwen, models, tmp_path):
    recipe = Recipe(method="linear", alpha=0.25)
    list(merge(qwen / "vlm", qwen / "llm", {tmp_path / "m": recipe}))
    found = displacement(qwen / "vlm", qwen / "llm", tmp_path / "m")
    assert found.rho == pytest.approx(0.25, rel=1e-5)
    assert found.cosine == pytest.approx(1, rel=1e-5)
    still = displacement(qwen / "vlm", qwen / "llm", qwen / "vlm")
    assert (still.rho, still.cosine, still.moved) == (0, 0, 0)
    with pytest.raises(UserError, match="vlm is a Idefics3, .* a Qwen2.5-VL"):
        displacement(qwen / "vlm", qwen / "llm", models / "idefics3" / "vlm")


def test_json_table_and_picture(qwen, tmp_path):
    found = distances.measure(qwen / "vlm", qwen / "llm")
    distances.save(found, tmp_path / "deep" / "distance.json")
    stored = json.loads((tmp_path / "deep" / "distance.json").read_text())
    assert stored["total"]["relative_l2"] == found.total.relative_l2
    assert stored["family"] == "Qwen2.5-VL"
    lines = distances.table(found).splitlines()
    gap = next(gap for gap in found.layers if (gap.layer, gap.role) == (1, "mlp"))
    assert f"{gap.relative_l2:.4f}" in lines[2] and lines[2].startswith("1 ")
    assert any(line.startswith("warning: the decoders are 1.4") for line in lines)
    distances.heat_map(found, tmp_path / "d.png")
    with pytest.raises(UserError, match="d.xyz is no name of a picture: it ends in .png, .svg or"):
        distances.heat_map(found, tmp_path / "d.xyz")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
