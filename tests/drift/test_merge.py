import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file
from test_checkpoints import shard
from tiny_models import read

from common.errors import UserError
from drift import merge as merging
from drift import thinning
from drift.checkpoints import tensor_bytes
from drift.delta import stream
from drift.merge import Reached
from drift.merge_methods import METHODS, NEEDS_BASE, OF_MATRICES, Recipe, slerp_shares
from drift.pairing import Weight, pair

BY_ENTRIES = [method for method in METHODS if method not in OF_MATRICES]


def one(folder, out, recipe, base=None, vlm="vlm"):
    base = folder / base if base else None
    return dict(merging.merge(folder / vlm, folder / "llm", {out: recipe}, base))[out]


def test_alpha_0_is_the_vlm_byte_for_byte(models, family, tmp_path):
    folder = models / family
    for method in METHODS:
        base = "base" if method in NEEDS_BASE else None
        layers = (0,) if method == "layer_swap" else ()
        made = one(
            folder, tmp_path / method, Recipe(method=method, alpha=0.0, swap_layers=layers), base
        )
        for path in (folder / "vlm").iterdir():
            assert (tmp_path / method / path.name).read_bytes() == path.read_bytes()
        assert made.coverage["tensors"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_tensors_for_an_engine_are_those_that_merge_writes(models, family, method, tmp_path):
    vlm, llm = models / family / "vlm", models / family / "llm"
    base = models / family / "base" if method in NEEDS_BASE else None
    layers = (1,) if method == "layer_swap" else ()
    recipe = Recipe(method=method, alpha=0.3, swap_layers=layers)
    dict(merging.merge(vlm, llm, {tmp_path / "m": recipe}, base))
    opened = merging.open_models(vlm, llm, [recipe], base)
    for how, source in ((recipe, tmp_path / "m"), (replace(recipe, alpha=0.0), vlm)):
        written, found = read(source), dict(merging.tensors(opened, how, Reached()))
        assert set(found) == set(written)
        for name, tensor in found.items():
            assert (tensor.dtype, tensor.shape) == (written[name].dtype, written[name].shape)
            assert tensor_bytes(tensor) == tensor_bytes(written[name]), name


@pytest.mark.parametrize("method", ["slerp", *OF_MATRICES])
def test_a_merge_is_the_same_on_any_number_of_cores(qwen, method):
    recipe, base = Recipe(method=method, alpha=0.3), None if method == "slerp" else qwen / "base"
    opened, found = merging.open_models(qwen / "vlm", qwen / "llm", [recipe], base), []
    for cores in (1, 2):
        torch.set_num_threads(cores)
        found.append({k: tensor_bytes(t) for k, t in merging.tensors(opened, recipe, Reached())})
    torch.set_num_threads(1)
    assert found[0] == found[1]


def test_alpha_1_is_the_reasoners_decoder(models, family, tmp_path):
    folder = models / family
    made = one(folder, tmp_path / "m", Recipe(alpha=1.0))
    merged, vlm, llm = read(tmp_path / "m"), read(folder / "vlm"), read(folder / "llm")
    inside = {w.vlm_key: w for w in pair(folder / "vlm", folder / "llm").weights}
    for key, tensor in merged.items():
        decoder = key in inside and inside[key].role in ("attention", "mlp", "norm")
        assert torch.equal(tensor, llm[inside[key].llm_key] if decoder else vlm[key]), key
    assert made.coverage["decoder_share"] == 1.0
    assert json.loads((tmp_path / "m" / "made.json").read_text())["settings"]["alpha"] == 1.0


def dropped(shape, density, name, seed):
    """What DARE makes of ones."""
    return thinning.drop(torch.ones(shape), density, stream(name, seed))


def trim64(update, density):
    """Exactly so many, of equal ones the first."""
    largest = np.argsort(-np.abs(update).ravel(), kind="stable")[: round(density * update.size)]
    kept = np.zeros(update.size)
    kept[largest] = 1
    return update * kept.reshape(update.shape)


def elect64(ours, theirs, alpha):
    out = np.zeros_like(ours)
    for i in np.ndindex(ours.shape):
        shares = ((1 - alpha) * ours[i], alpha * theirs[i])
        total = sum(shares)
        out[i] = sum(x for x in shares if np.sign(x) == np.sign(total))
    return out


def brute_force(recipe, v, r, b, masks):
    """The methods again, entry by entry, in float64; `masks` are what DARE makes of ones."""
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
    ours, theirs = (v - b) * masks["vlm"], (r - b) * masks["llm"]
    if recipe.method == "dare_linear":
        return b + (1 - a) * ours + a * theirs
    return b + elect64(ours, theirs, a)


@pytest.mark.parametrize("alpha", [0.1, 0.7])
@pytest.mark.parametrize("method", [m for m in BY_ENTRIES if m != "layer_swap"])
def test_merges_equal_a_brute_force_version(qwen, tmp_path, method, alpha):
    recipe = Recipe(method=method, alpha=alpha, density=0.4, seed=5)
    one(qwen, tmp_path / "m", recipe, "base" if method in NEEDS_BASE else None)
    merged, vlm, llm, base = (
        read(tmp_path / "m"), *(read(qwen / name) for name in ("vlm", "llm", "base"))
    )  # fmt: skip
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        if weight.role in ("embedding", "head"):
            assert torch.equal(merged[weight.vlm_key], vlm[weight.vlm_key])
            continue
        tensors = vlm[weight.vlm_key], llm[weight.llm_key], base[weight.llm_key]
        masks = {
            who: dropped(weight.shape, 0.4, f"{who} {weight.name}", 5).double().numpy()
            for who in ("vlm", "llm")
        }
        expected = brute_force(recipe, *(t.double().numpy() for t in tensors), masks)
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


def cut(tensor, size=16, chunk=64):
    """`tensor` as blocks that are overwritten one by the other, as those from a file are."""

    def blocks(step=1):
        room = torch.empty(chunk, dtype=tensor.dtype)
        for first in range(0, tensor.numel(), chunk * step):
            piece = tensor.flatten()[first : first + chunk]
            yield from room[: len(piece)].copy_(piece).split(size)

    return blocks


def test_trim_keeps_the_largest():
    update = torch.tensor([[0.1, -5.0, 2.0], [-0.2, 3.0, -1.0]])
    expected = torch.tensor([[0.0, -5.0, 2.0], [0.0, 3.0, 0.0]])

    def trimmed(density):
        return thinning.trimmer(cut(update, 4, 4), 6, density)(update.clone())

    assert torch.equal(trimmed(0.5), expected)
    assert torch.equal(trimmed(1.0), update)
    assert torch.equal(trimmed(0.01), torch.zeros(2, 3))


@pytest.mark.parametrize("density", [1e-4, 0.2, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("kind", ["normal", "ties", "zeros", "misleading"])
def test_the_threshold_is_that_of_a_full_sort(monkeypatch, kind, density):
    monkeypatch.setattr(thinning, "SAMPLE", 500)
    monkeypatch.setattr(thinning, "CHUNK", 1000)
    numbers = torch.randn(100_003, generator=torch.Generator().manual_seed(0))
    if kind == "ties":
        numbers = numbers.bfloat16().float()
    elif kind == "zeros":
        numbers[::3] = 0
    elif kind == "misleading":  # all that a sample of each sixth chunk sees is small
        numbers = torch.cat([part * (1e-6 if i % 6 == 0 else 1) for i, part in enumerate(
            numbers.split(1000))])  # fmt: skip
    least, left, equal = thinning.threshold(cut(numbers, 100, 1000), len(numbers), density)
    magnitudes, keep = numbers.abs().sort(descending=True).values, round(density * len(numbers))
    assert least == magnitudes[keep - 1]
    assert (left, equal) == (
        keep - int((magnitudes > least).sum()),
        int((magnitudes == least).sum()),
    )
    trim, kept = thinning.trimmer(cut(numbers, 100, 1000), len(numbers), density), 0
    for block in numbers.clone().split(100):
        kept += int(trim(block).count_nonzero())
    assert kept == min(keep, int(numbers.count_nonzero()))


def test_elect_in_every_sign():
    """Half of each; the one against the sum goes; what cancels leaves nothing."""
    ours = torch.tensor([2.0, 2.0, -2.0, -2.0, 4.0, -4.0, 0.0, 3.0, 0.0])
    theirs = torch.tensor([4.0, -4.0, 4.0, -4.0, -2.0, 4.0, 3.0, 0.0, 0.0])
    expected = torch.tensor([3.0, -2.0, 2.0, -3.0, 2.0, 0.0, 1.5, 1.5, 0.0])
    assert torch.equal(thinning.elect(ours, theirs, (0.5, 0.5)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", BY_ENTRIES)
def test_every_method_in_blocks_equals_float64(method, dtype):
    """Also that reading ahead, thresholds and norms are of the whole tensor, not of a block."""
    weight = Weight(
        name="layers.0.mlp.up_proj.weight",
        layer=0,
        role="mlp",
        vlm_key="v",
        llm_key="l",
        shape=(37, 50),
    )
    generator = torch.Generator().manual_seed(0)
    v, r, b = (torch.randn(37, 50, generator=generator).to(dtype) for _ in range(3))
    recipe = Recipe(method=method, alpha=0.3, density=0.4, swap_layers=(0,), seed=5)
    base = [cut(b)] if method in NEEDS_BASE else []
    blocks = merging.merged(weight, recipe, [cut(v), cut(r), *base], Reached())
    found = torch.cat([block.clone() for block in blocks]).view(37, 50)
    draws = {
        who: torch.cat([*map(torch.Tensor.clone, _masks(f"{who} {weight.name}", 37 * 50))])
        for who in ("vlm", "llm")
    }
    expected = brute_force(
        replace(recipe, method="linear") if method == "layer_swap" else recipe,
        *(t.double().numpy() for t in (v, r, b)),
        {who: mask.view(37, 50).numpy() for who, mask in draws.items()},
    )
    np.testing.assert_allclose(
        found.to(dtype).float(), torch.tensor(expected).to(dtype).float(), rtol=2 * torch.finfo(
            dtype).eps, atol=1e-6)  # fmt: skip


def _masks(name, count, size=16, chunk=64, density=0.4):
    numbers = stream(name, 5)
    for block in cut(torch.ones(count), size, chunk)():
        yield thinning.drop(block, density, numbers)


def test_slerp_by_hand():
    """A quarter turn, half way: 45°, and the mean of the lengths 1 and 3."""
    one, three = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    ours, theirs = slerp_shares(1.0, 0.0, 9.0, 0.5)
    torch.testing.assert_close(ours * one + theirs * three, torch.tensor([2.0, 2.0]) * 0.5**0.5)
    assert slerp_shares(1.0, 2.0, 4.0, 0.25) == (0.75, 0.25)
    assert slerp_shares(0.0, 0.0, 1.0, 0.25) == (0.75, 0.25)


def test_layer_swap_touches_its_layers_only(qwen, tmp_path):
    one(qwen, tmp_path / "m", Recipe(method="layer_swap", alpha=1.0, swap_layers=(1,)))
    merged, vlm, llm = read(tmp_path / "m"), read(qwen / "vlm"), read(qwen / "llm")
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        source = llm[weight.llm_key] if weight.layer == 1 else vlm[weight.vlm_key]
        assert torch.equal(merged[weight.vlm_key], source), weight.name


def test_modules_choose_what_is_merged(qwen, tmp_path):
    made = one(qwen, tmp_path / "m", Recipe(alpha=1.0, modules=("attention", "embedding")))
    merged, vlm, llm = read(tmp_path / "m"), read(qwen / "vlm"), read(qwen / "llm")
    for weight in pair(qwen / "vlm", qwen / "llm").weights:
        swapped = weight.role in ("attention", "embedding")
        source = llm[weight.llm_key] if swapped else vlm[weight.vlm_key]
        assert torch.equal(merged[weight.vlm_key], source), weight.name
    assert made.coverage["by_role"] == {"embedding": 1, "attention": 14}
    attention = 2 * (2 * (64 * 64) + 2 * (32 * 64) + 64 + 2 * 32)
    mlp, norms = 2 * 3 * 64 * 128, 5 * 64
    assert made.coverage["parameters"] == attention + 106 * 64
    share = attention / (attention + mlp + norms)
    assert made.coverage["decoder_share"] == pytest.approx(share)


def test_sharding_dtype_and_papers_stay_those_of_the_vlm(qwen, tmp_path):
    vlm = shard(qwen / "vlm", tmp_path / "vlm")
    for file in vlm.glob("*.safetensors"):
        half = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
        save_file(half, file, {"format": "pt"})
    strange = (
        "training_args.bin",
        ".cache/x",
        "made.json",
        "adapter_config.json",
        "onnx/model.onnx",
    )
    strange += ("checkpoint-5/config.json", "runs/events.out.tfevents.1", "drift_log.jsonl")
    for name in (*strange, "additional_chat_templates/tools.jinja", "LICENSE"):
        (vlm / name).parent.mkdir(exist_ok=True)
        (vlm / name).write_text("x")
    shutil.copytree(qwen / "llm", tmp_path / "llm")
    one(tmp_path, tmp_path / "m", Recipe(alpha=0.5))
    names = {str(p.relative_to(vlm)) for p in vlm.rglob("*") if p.is_file()}
    found = {str(p.relative_to(tmp_path / "m")) for p in (tmp_path / "m").rglob("*") if p.is_file()}
    assert found == names - set(strange) | {"made.json"}
    merged, ours, theirs = read(tmp_path / "m"), read(vlm), read(qwen / "llm")
    name = "model.layers.0.mlp.up_proj.weight"
    expected = torch.lerp(ours[name].float(), theirs[name], 0.5).bfloat16()
    assert torch.equal(merged[name], expected)


@pytest.mark.parametrize(
    ("recipe", "base", "sentence"),
    [
        (Recipe(method="blend"), None, "no merge is called 'blend'; choose linear"),
        (
            Recipe(alpha=1.5),
            None,
            "alpha is 1.5; it is the reasoner's share, between 0 and 1",
        ),
        (Recipe(alpha=-0.1), None, "alpha is -0.1"),
        (Recipe(), "base", "the method here is linear"),
        (Recipe(method="ties"), None, "the method here is ties"),
        (Recipe(method="ties", density=0.0), "base", "density is 0.0"),
        (Recipe(method="layer_swap"), None, "layers to swap go with layer_swap"),
        (Recipe(method="layer_swap", swap_layers=(7,)), None, "the decoder has no layers 7"),
    ],
)
def test_recipes_that_cannot_be_meant(qwen, tmp_path, recipe, base, sentence):
    with pytest.raises(UserError, match=sentence):
        one(qwen, tmp_path / "m", recipe, base)
    assert list(tmp_path.iterdir()) == []


def test_what_was_asked_for_and_cannot_be_merged_is_refused(qwen, tmp_path):
    """A tied head, another vocabulary, a base of another size, a base without a tensor."""
    tiny.make_llm("qwen2_5_vl", tmp_path / "tied", tie_word_embeddings=True, vocab_size=99)
    for role, why in (("head", "lm_head.weight is in the VLM only"), ("embedding", r"\[99, 64\]")):
        with pytest.raises(UserError, match=f"no tensor of {role} can be paired.*{why}"):
            recipe = Recipe(alpha=0.5, modules=("mlp", role))
            list(merging.merge(qwen / "vlm", tmp_path / "tied", {tmp_path / "m": recipe}))
    tiny.make_llm("qwen2_5_vl", tmp_path / "deep", num_hidden_layers=1)
    tiny.make_llm("qwen2_5_vl", tmp_path / "wide", intermediate_size=40)
    for base, name in (("deep", "layers.1.input_layernorm"), ("wide", "layers.0.mlp.down_proj")):
        with pytest.raises(UserError, match=f"the base model .*{base} lacks .*{name}.weight"):
            jobs = {tmp_path / "m": Recipe(method="ties", alpha=0.5)}
            list(merging.merge(qwen / "vlm", qwen / "llm", jobs, tmp_path / base))
    assert not (tmp_path / "m").exists()


def test_a_base_may_be_a_vlm_of_the_family(models, qwen, tmp_path):
    """With the VLM itself as the base, task arithmetic is the linear merge."""
    one(qwen, tmp_path / "linear", Recipe(alpha=0.3))
    one(qwen, tmp_path / "task", Recipe(method="task_arithmetic", alpha=0.3), "vlm")
    linear, task = read(tmp_path / "linear"), read(tmp_path / "task")
    for name in linear:
        torch.testing.assert_close(task[name], linear[name])


def test_a_broken_parent_leaves_nothing(qwen, tmp_path):
    shutil.copytree(qwen, tmp_path / "q")
    tensors = load_file(tmp_path / "q" / "llm" / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "q" / "llm" / "model.safetensors")
    with pytest.raises(UserError, match="the tensor .*up_proj.weight holds infinity or not-a-n"):
        one(tmp_path / "q", tmp_path / "out" / "m", Recipe(alpha=0.5))
    assert not (tmp_path / "out").exists()


def test_a_merge_can_be_loaded_and_answers(qwen, tmp_path):
    import transformers as tf

    recipe = Recipe(alpha=0.5)
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
