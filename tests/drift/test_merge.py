import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import read
from safetensors.torch import load_file, save_file
from test_weights import shard

from drift import merge as merging
from drift.errors import UserError
from drift.families import Weight, pair
from drift.merge import Recipe
from drift.prior import stream


def one(folder, out, recipe, base=None, vlm="vlm"):
    base = folder / base if base else None
    return dict(merging.merge(folder / vlm, folder / "llm", {out: recipe}, base))[out]


def test_alpha_0_is_the_vlm_byte_for_byte(models, family, tmp_path):
    folder = models / family
    for method in merging.METHODS:
        base = "base" if method in merging.NEEDS_BASE else None
        layers = (0,) if method == "layer_swap" else ()
        made = one(folder, tmp_path / method, Recipe(method, 0.0, swap_layers=layers), base)
        for path in (folder / "vlm").iterdir():
            assert (tmp_path / method / path.name).read_bytes() == path.read_bytes()
        assert made.coverage["tensors"] == 0


def test_alpha_1_is_the_reasoners_decoder(models, family, tmp_path):
    folder = models / family
    made = one(folder, tmp_path / "m", Recipe("linear", 1.0))
    merged, vlm, llm = read(tmp_path / "m"), read(folder / "vlm"), read(folder / "llm")
    inside = {w.vlm_key: w for w in pair(folder / "vlm", folder / "llm").weights}
    for key, tensor in merged.items():
        decoder = key in inside and inside[key].role in ("attention", "mlp", "norm")
        assert torch.equal(tensor, llm[inside[key].llm_key] if decoder else vlm[key]), key
    assert made.coverage["decoder_share"] == 1.0
    assert json.loads((tmp_path / "m" / "made.json").read_text())["settings"]["alpha"] == 1.0


def dropped(shape, density, name, seed):
    """What DARE makes of ones."""
    return merging.drop(torch.ones(shape), density, stream(name, seed))


def trim64(update, density):
    flat = np.abs(update).ravel()
    kept = np.argsort(-flat, kind="stable")[: round(density * flat.size)]
    mask = np.zeros(flat.size, bool)
    mask[kept] = True
    return update * mask.reshape(update.shape)


def elect64(ours, theirs, alpha):
    out = np.zeros_like(ours)
    for i in np.ndindex(ours.shape):
        shares = ((1 - alpha) * ours[i], alpha * theirs[i])
        total = sum(shares)
        out[i] = sum(x for x in shares if np.sign(x) == np.sign(total))
    return out


def brute_force(recipe, name, v, r, b):
    """The methods again, entry by entry, in float64."""
    a = recipe.alpha
    if recipe.method == "linear":
        return (1 - a) * v + a * r
    if recipe.method == "task_arithmetic":
        return b + (v - b) + a * (r - b)
    if recipe.method == "slerp":
        angle = np.arccos((v * r).sum() / np.sqrt((v * v).sum() * (r * r).sum()))
        lengths = np.sqrt((v * v).sum()), np.sqrt((r * r).sum())
        unit = (
            np.sin((1 - a) * angle) * v / lengths[0] + np.sin(a * angle) * r / lengths[1]
        ) / np.sin(angle)
        return unit * ((1 - a) * lengths[0] + a * lengths[1])
    if recipe.method == "ties":
        return b + elect64(trim64(v - b, recipe.density), trim64(r - b, recipe.density), a)
    ours, theirs = (
        (x - b) * dropped(b.shape, recipe.density, f"{who} {name}", 5).numpy()
        for x, who in ((v, "vlm"), (r, "llm"))
    )
    if recipe.method == "dare_linear":
        return b + (1 - a) * ours + a * theirs
    return b + elect64(ours, theirs, a)


@pytest.mark.parametrize("alpha", [0.1, 0.7])
@pytest.mark.parametrize("method", [m for m in merging.METHODS if m != "layer_swap"])
def test_merges_equal_a_brute_force_version(qwen, tmp_path, method, alpha):
    recipe = Recipe(method, alpha, density=0.4, seed=5)
    one(qwen, tmp_path / "m", recipe, "base" if method in merging.NEEDS_BASE else None)
    merged, vlm, llm, base = (
        read(tmp_path / "m"), *(read(qwen / name) for name in ("vlm", "llm", "base"))
    )  # fmt: skip
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        if weight.role in ("embedding", "head"):
            assert torch.equal(merged[weight.vlm_key], vlm[weight.vlm_key])
            continue
        tensors = vlm[weight.vlm_key], llm[weight.llm_key], base[weight.llm_key]
        expected = brute_force(recipe, weight.name, *(t.double().numpy() for t in tensors))
        np.testing.assert_allclose(
            merged[weight.vlm_key].numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=weight.name
        )


def test_dare_keeps_its_share_and_its_mean():
    kept = dropped((200, 500), 0.3, "a", 0)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.3])
    assert abs(kept.mean() - 1) < 0.02  # 5 standard errors of the mean of 100,000 draws
    assert torch.equal(kept, dropped((200, 500), 0.3, "a", 0))
    assert not torch.equal(kept, dropped((200, 500), 0.3, "b", 0))
    assert not torch.equal(kept, dropped((200, 500), 0.3, "a", 1))


def test_trim_keeps_the_largest():
    update = torch.tensor([[0.1, -5.0, 2.0], [-0.2, 3.0, -1.0]])
    expected = torch.tensor([[0.0, -5.0, 2.0], [0.0, 3.0, 0.0]])

    def trimmed(density):
        return merging.trim(update, merging.threshold(update, density))

    assert torch.equal(trimmed(0.5), expected)
    assert torch.equal(trimmed(1.0), update)
    assert torch.equal(trimmed(0.01), torch.zeros(2, 3))


def test_tensors_larger_than_a_block_are_merged_whole(monkeypatch):
    weight = Weight("layers.0.mlp.up_proj.weight", 0, "mlp", "v", "l", (37, 5))
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(37, 5, generator=generator) for _ in range(3)]
    for method in merging.METHODS:
        recipe = Recipe(method, 0.3, density=0.4, swap_layers=(0,))
        whole = merging.merge_tensor(weight, recipe, *tensors)
        with monkeypatch.context() as small:
            small.setattr(merging, "BLOCK", 16)
            cut = merging.merge_tensor(weight, recipe, *tensors)
        assert cut.shape == (37, 5)
        if not method.startswith("dare"):  # whose draws are those of the blocks
            assert torch.equal(whole, cut)


def test_slerp_by_hand():
    """A quarter turn, half way: 45°, and the mean of the lengths 1 and 3."""
    one, three = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    ours, theirs = merging.slerp_shares(one, three, 0.5)
    torch.testing.assert_close(ours * one + theirs * three, torch.tensor([2.0, 2.0]) * 0.5**0.5)
    assert merging.slerp_shares(one, 2 * one, 0.25) == (0.75, 0.25)
    assert merging.slerp_shares(0 * one, one, 0.25) == (0.75, 0.25)


def test_layer_swap_touches_its_layers_only(qwen, tmp_path):
    one(qwen, tmp_path / "m", Recipe("layer_swap", 1.0, swap_layers=(1,)))
    merged, vlm, llm = read(tmp_path / "m"), read(qwen / "vlm"), read(qwen / "llm")
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        source = llm[weight.llm_key] if weight.layer == 1 else vlm[weight.vlm_key]
        assert torch.equal(merged[weight.vlm_key], source), weight.name


def test_modules_choose_what_is_merged(qwen, tmp_path):
    made = one(qwen, tmp_path / "m", Recipe("linear", 1.0, modules=("attention", "embedding")))
    merged, vlm, llm = read(tmp_path / "m"), read(qwen / "vlm"), read(qwen / "llm")
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        swapped = weight.role in ("attention", "embedding")
        source = llm[weight.llm_key] if swapped else vlm[weight.vlm_key]
        assert torch.equal(merged[weight.vlm_key], source), weight.name
    assert made.coverage["by_role"] == {"embedding": 1, "attention": 14}
    attention = 2 * (2 * (32 * 32) + 2 * (16 * 32) + 32 + 2 * 16)
    mlp, norms = 2 * 3 * 32 * 48, 5 * 32
    assert made.coverage["parameters"] == attention + 35 * 32
    share = attention / (attention + mlp + norms)
    assert made.coverage["decoder_share"] == pytest.approx(share)


def test_sharding_dtype_and_papers_stay_those_of_the_vlm(qwen, tmp_path):
    vlm = shard(qwen / "vlm", tmp_path / "vlm")
    for file in vlm.glob("*.safetensors"):
        half = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
        save_file(half, file, {"format": "pt"})
    (vlm / "sub").mkdir()
    (vlm / "sub" / "note.txt").write_text("kept")
    (vlm / "training_args.bin").write_bytes(b"pickle")
    (vlm / ".cache").mkdir()
    (vlm / ".cache" / "x").write_text("left out")
    (vlm / "made.json").write_text('"the parent\'s"')
    shutil.copytree(qwen / "llm", tmp_path / "llm")
    one(tmp_path, tmp_path / "m", Recipe("linear", 0.5))
    names = {str(p.relative_to(vlm)) for p in vlm.rglob("*") if p.is_file()}
    found = {str(p.relative_to(tmp_path / "m")) for p in (tmp_path / "m").rglob("*") if p.is_file()}
    assert found == names - {"training_args.bin", ".cache/x"}
    merged, ours, theirs = read(tmp_path / "m"), read(vlm), read(qwen / "llm")
    name = "model.layers.0.mlp.up_proj.weight"
    expected = torch.lerp(ours[name].float(), theirs[name], 0.5).bfloat16()
    assert torch.equal(merged[name], expected)


@pytest.mark.parametrize(
    ("recipe", "base", "sentence"),
    [
        (Recipe("blend"), None, "no merge is called 'blend'; choose linear"),
        (Recipe("linear", 1.5), None, "alpha is 1.5; it is the reasoner's share, between 0 and 1"),
        (Recipe("linear", -0.1), None, "alpha is -0.1"),
        (Recipe("linear"), "base", "the method here is linear"),
        (Recipe("ties"), None, "the method here is ties"),
        (Recipe("ties", density=0.0), "base", "density is 0.0"),
        (Recipe("layer_swap"), None, "layers to swap go with layer_swap"),
        (Recipe("layer_swap", swap_layers=(7,)), None, "the decoder has no layers 7"),
    ],
)
def test_recipes_that_cannot_be_meant(qwen, tmp_path, recipe, base, sentence):
    with pytest.raises(UserError, match=sentence):
        one(qwen, tmp_path / "m", recipe, base)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_parent_leaves_nothing(qwen, tmp_path):
    shutil.copytree(qwen, tmp_path / "q")
    tensors = load_file(tmp_path / "q" / "llm" / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "q" / "llm" / "model.safetensors")
    with pytest.raises(UserError, match="up_proj.weight in .* holds a NaN"):
        one(tmp_path / "q", tmp_path / "out" / "m", Recipe("linear", 0.5))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_merge_can_be_loaded_and_answers(qwen, tmp_path):
    import transformers as tf

    recipe = Recipe("linear", 0.5)
    one(qwen, tmp_path / "m", recipe)
    one(qwen, tmp_path / "n", replace(recipe, alpha=0.0))
    ids = torch.arange(20, 30)[None]
    with torch.no_grad():
        logits = [
            tf.AutoModelForImageTextToText.from_pretrained(folder)(input_ids=ids).logits
            for folder in (qwen / "vlm", tmp_path / "n", tmp_path / "m")
        ]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])
