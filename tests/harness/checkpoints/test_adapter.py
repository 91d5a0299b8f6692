"""A LoRA adapter answers as the same weights merged would; every bad one has its sentence."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import tiny_models as tiny
import torch
import transformers as tf
from safetensors.numpy import load_file, save_file

import tasks
from common.errors import UserError
from common.provenance import Parent
from drift.adapter_folder import MORE, plain
from drift.merge_methods import Recipe
from harness.checkpoints.kinds import Checkpoint, swappable
from harness.checkpoints.preflight import open_checkpoint
from harness.evaluate.merge_sweep import merges
from harness.evaluate.run import EvalConfig, run
from harness.runs import log
from harness.runs.folder import read_card


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def base(tmp_path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    weights = {
        "model.layers.0.self_attn.q_proj.weight": np.ones((6, 4), np.float32),
        "model.layers.0.mlp.up_proj.weight": np.ones((8, 4), np.float32),
    }
    save_file(weights, folder / "model.safetensors")
    return folder


Q, UP = (f"base_model.model.model.layers.0.{part}" for part in ("self_attn.q_proj", "mlp.up_proj"))


@pytest.fixture
def folder(tmp_path, base) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    write(folder)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "r": 2,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "up_proj"],
        "modules_to_save": None,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write(folder: Path, **changes: np.ndarray | None) -> None:
    """Write the weights; `q_A` is the tensor lora_A of q_proj, None leaves one out."""
    tensors = {
        "q_A": np.ones((2, 4), np.float32),
        "q_B": np.ones((6, 2), np.float32),
        "up_A": np.ones((2, 4), np.float32),
        "up_B": np.ones((8, 2), np.float32),
        **changes,
    }
    names = {
        f"{where}_{part}": f"{name}.lora_{part}.weight"
        for where, name in (("q", Q), ("up", UP))
        for part in "AB"
    }
    named = {names.get(k, k): value for k, value in tensors.items() if value is not None}
    save_file(named, folder / "adapter_model.safetensors")


def edit(folder: Path, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_adapter_is_opened_on_its_base(folder, base):
    model, opened = open_checkpoint(base), open_checkpoint(folder)
    assert (opened.name, opened.folder.path, opened.path) == ("adapter", base, folder)
    assert opened.adapter.rank == 2
    assert opened.adapter.scales == {"layers.0.self_attn.q_proj": 4, "layers.0.mlp.up_proj": 4}
    assert opened.made.parents == (Parent("base", str(base), model.fingerprint),)
    assert opened.notes == (f"a LoRA adapter of rank 2 on {base}",)


def test_scales_are_those_of_peft(folder):
    edit(folder, use_rslora=True)
    found = open_checkpoint(folder).adapter.scales
    assert found["layers.0.mlp.up_proj"] == pytest.approx(8 / 2**0.5)
    write(folder, up_A=np.ones((3, 4), np.float32), up_B=np.ones((8, 3), np.float32))
    edit(folder, use_rslora=False, rank_pattern={"up_proj": 3}, alpha_pattern={"mlp.up_proj": 6})
    opened = open_checkpoint(folder).adapter
    assert opened.scales == {"layers.0.self_attn.q_proj": 4, "layers.0.mlp.up_proj": 2}
    assert (opened.rank, opened.room) == (3, 8)


def test_modules_have_one_name_wherever_they_are_held():
    held = ("model.layers.0.mlp", "language_model.model.layers.0.mlp")
    assert {plain(name) for name in (*held, "model.language_model.layers.0.mlp")} == {
        "layers.0.mlp"
    }
    assert plain("model.vision_model.encoder.layers.0.mlp") == "encoder.layers.0.mlp"


def remove(name):
    return lambda folder: (folder / name).unlink()


SPOILT = {
    "pickle": (
        lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
        "has no adapter_model.safetensors: a pickle can run code when read",
    ),
    "other kind": (lambda f: edit(f, peft_type="LOHA"), "is an adapter of type LOHA, not LORA"),
    "dora": (lambda f: edit(f, use_dora=True), "is not a plain LoRA adapter (use_dora): merge it"),
    "whole modules": (
        lambda f: edit(f, modules_to_save=["lm_head"]),
        "is not a plain LoRA adapter (modules_to_save): merge it",
    ),
    "biases": (lambda f: edit(f, bias="all"), "is not a plain LoRA adapter (bias): merge it"),
    "changed base": (
        lambda f: edit(f, init_lora_weights="pissa_niter_4"),
        "(init_lora_weights: pissa_niter_4): merge it",
    ),
    "changed by gradients": (
        lambda f: edit(f, init_lora_weights="lora_ga"),
        "(init_lora_weights: lora_ga): merge it",
    ),
    "a kind of its own": (
        lambda f: edit(f, kasa_config={"beta": 1e-4}),
        "is not a plain LoRA adapter (kasa_config): merge it",
    ),
    "empty": (lambda f: write(f, q_A=None, q_B=None, up_A=None, up_B=None), "adapts nothing"),
    "half": (lambda f: write(f, up_B=None), f"has half of the product for {UP[17:]}"),
    "embedding": (
        lambda f: write(f, **{"base_model.model.embed_tokens.weight": np.ones((2, 2))}),
        "holds base_model.model.embed_tokens.weight, which is no part of a product B A",
    ),
    "infinite": (
        lambda f: write(f, q_B=np.full((6, 2), np.nan, np.float32)),
        f"the tensor {Q}.lora_B.weight holds infinity or not-a-number values",
    ),
    "other rank": (lambda f: edit(f, r=4), "has rank 2, and adapter_config.json says 4"),
    "other base": (
        lambda f: write(f, **{f"{Q[:-6]}z_proj.lora_{x}.weight": np.ones((2, 2)) for x in "AB"}),
        "adapts 1 matrices of 3 that its base does not have of their own, the first is "
        "model.layers.0.self_attn.z_proj: give the right base",
    ),
    "other size": (
        lambda f: write(f, q_B=np.ones((5, 2), np.float32)),
        "adapts model.layers.0.self_attn.q_proj as 5 x 4, in its base it is 6 x 4",
    ),
    "no base": (
        lambda f: edit(f, base_model_name_or_path=None),
        "is an adapter that names no base model: give it with --base",
    ),
    "base elsewhere": (
        lambda f: edit(f, base_model_name_or_path="/nowhere/base"),
        "is an adapter, and there is no /nowhere/base: give a folder, or owner/name on the hub",
    ),
    "on an adapter": (
        lambda f: edit(f, base_model_name_or_path=str(f)),
        "is an adapter on another adapter",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT.values(), ids=SPOILT)
def test_every_bad_adapter_has_its_sentence(folder, spoil, sentence):
    spoil(folder)
    with pytest.raises(UserError) as error:
        open_checkpoint(folder)
    assert sentence in str(error.value)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:lora with eva")
@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal", "mica"])
def test_a_beginning_that_is_admitted_leaves_the_base_to_peft_as_it_is(folder, start):
    peft = pytest.importorskip("peft")
    edit(folder, init_lora_weights=start)
    assert open_checkpoint(folder).adapter.rank == 2
    model = torch.nn.Sequential(torch.nn.Linear(6, 4))
    before = model[0].weight.detach().clone()
    more = {"eva_config": peft.EvaConfig()} if start == "eva" else {}
    settings = peft.LoraConfig(
        r=2, lora_alpha=6, init_lora_weights=start, target_modules=["0"], **more
    )
    layer = peft.get_peft_model(model, settings).base_model.model[0]
    assert torch.equal(layer.base_layer.weight, before)
    b, a = (part["default"].weight for part in (layer.lora_B, layer.lora_A))
    given = torch.randn(5, 6)
    said = given @ (before + 3 * b @ a).T + layer.base_layer.bias
    torch.testing.assert_close(layer(given), said)


def test_every_variant_of_peft_is_refused():
    peft = pytest.importorskip("peft")
    variants = {
        one.name
        for one in dataclasses.fields(peft.LoraConfig)
        if one.metadata.get("is_lora_variant")
    }
    assert "kasa_config" in variants and variants <= {*MORE}


def test_the_fingerprint_is_of_the_content_of_both(folder, base, tmp_path):
    before = open_checkpoint(folder)
    moved = shutil.copytree(folder, tmp_path / "moved")
    edit(moved, base_model_name_or_path="/gone", inference_mode=True)
    same = open_checkpoint(moved, base=base)
    assert same.fingerprint == before.fingerprint
    write(moved, up_A=np.zeros((2, 4), np.float32))
    other = open_checkpoint(moved, base=base)
    assert other.fingerprint != before.fingerprint
    assert swappable(before, other)  # one engine takes both
    assert not swappable(before, open_checkpoint(base))
    edit(folder, lora_alpha=4)
    assert open_checkpoint(folder).fingerprint != before.fingerprint
    edit(folder, lora_alpha=8)
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 0
    save_file(weights, base / "model.safetensors")
    assert open_checkpoint(folder).fingerprint != before.fingerprint
    assert not swappable(open_checkpoint(folder), before)


def test_the_chat_template_beside_an_adapter_is_the_one_it_was_trained_on(folder, tmp_path):
    assert open_checkpoint(folder).folder.template == "{{ messages }}"
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert "chat template" not in open_checkpoint(folder).notes[-1]  # it is the base's own
    (folder / "chat_template.jinja").write_text("trained on")
    opened = open_checkpoint(folder)
    assert opened.folder.template == "trained on"
    assert "chat template beside the adapter" in opened.notes[-1]
    (tmp_path / "given").write_text("given")
    opened = open_checkpoint(folder, template=tmp_path / "given")
    assert opened.folder.template == "given"
    assert opened.notes[-1] == f"asked with the chat template of {tmp_path / 'given'}"


def test_a_whole_model_takes_no_base(base):
    with pytest.raises(UserError, match="is a whole model: --base is for an adapter"):
        open_checkpoint(base, base=base)


def test_an_adapter_is_not_merged_with_a_reasoner(folder, base):
    for pair in ((folder, base), (base, folder)):
        with pytest.raises(UserError, match=f"{folder} is an adapter: merge it into its base"):
            merges(*map(str, pair), Recipe(), (0.1,))


# On models


DECODER = r"(language_model|text_model)\.layers\.\d+\."
PLACES = dict.fromkeys((*tiny.THREE, tiny.LACKING), DECODER)
PLACES["qwen2_5_vl"] += r"|visual\.(blocks|merger)"


def load(base: Path) -> tf.PreTrainedModel:
    return tf.AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)


def adapter(base: Path, folder: Path, seed: int, where: str = DECODER, rank: int = 4) -> Path:
    """Write a LoRA adapter in PEFT's layout, over all matrices of `base` whose names match."""
    torch.manual_seed(seed)
    tensors = {}
    for name, module in load(base).named_modules():
        if isinstance(module, torch.nn.Linear) and re.search(where, name):
            out, inner = module.weight.shape
            tensors[f"base_model.model.{name}.lora_A.weight"] = 0.2 * torch.randn(rank, inner)
            tensors[f"base_model.model.{name}.lora_B.weight"] = 0.2 * torch.randn(out, rank)
    folder.mkdir(parents=True)
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": sorted({name.split(".")[-3] for name in tensors}),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def merged(folder: Path, out: Path) -> Path:
    """Write an adapter's base with the adapter's products added to its weights."""
    config = json.loads((folder / "adapter_config.json").read_text())
    base = Path(config["base_model_name_or_path"])
    model, tensors = load(base), tiny.read(folder)
    with torch.no_grad():
        for name in {key.rpartition(".lora_")[0] for key in tensors}:
            a, b = (tensors[f"{name}.lora_{part}.weight"] for part in "AB")
            matrix = model.get_submodule(name.removeprefix("base_model.model.")).weight
            matrix += config["lora_alpha"] / config["r"] * b @ a
    shutil.copytree(base, out)
    model.save_pretrained(out)
    shutil.copy(base / "generation_config.json", out)
    return out


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, checkpoints) -> dict[str, Path]:
    """Of each family a base, two adapters on it, and the first of them merged."""
    out = tmp_path_factory.mktemp("adapted")
    made = {family: checkpoints[f"{family}-a"] for family in tiny.THREE}
    lacking = tiny.LACKING
    made[lacking] = tiny.make_vlm(lacking, out / lacking)
    for family, where in PLACES.items():
        for seed, name in enumerate((f"{family}-one", f"{family}-two")):
            made[name] = adapter(made[family], out / name, seed, where)
        made[f"{family}-merged"] = merged(made[f"{family}-one"], out / f"{family}-merged")
    return made


def said(world: Path, out: Path, engine: str, *checkpoints: Checkpoint) -> list[dict[str, str]]:
    task = [tasks.load("pocket")]
    run(list(checkpoints), task, out, EvalConfig(data=world, max_tokens=12), engine=engine)
    folders = [out / c.name for c in checkpoints] if len(checkpoints) > 1 else [out]
    return [{r.id: r.text for r in log.read_responses(folder)} for folder in folders]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", PLACES)
def test_an_adapter_answers_as_its_weights_merged(family, adapted, world, tmp_path):
    names = (f"{family}-one", f"{family}-two")
    adapters = [open_checkpoint(adapted[name]) for name in names]
    whole, base = (open_checkpoint(adapted[name]) for name in (f"{family}-merged", family))
    merged, plain = said(world, tmp_path / "whole", "hf", whole, base)
    one, two = said(world, tmp_path / "hf", "hf", *adapters)
    assert one == merged
    assert all(len({one[id], two[id], plain[id]}) == 3 for id in one)
    if family != tiny.LACKING:
        assert said(world, tmp_path / "vllm", "vllm", *adapters) == [one, two]
    card = read_card(tmp_path / "hf" / names[0])
    assert card.checkpoint == str(adapted[names[0]])
    assert card.notes[0] == f"a LoRA adapter of rank 4 on {adapted[family]}"


@pytest.mark.filterwarnings("ignore")
def test_matrices_that_vllm_would_leave_out_are_named(adapted, world, tmp_path):
    folder = adapter(adapted["llava_next"], tmp_path / "tower", 0, "vision_tower")
    with pytest.raises(UserError, match=r"vLLM leaves out 6 matrices of the adapter.*--engine hf"):
        said(world, tmp_path / "run", "vllm", open_checkpoint(folder))
