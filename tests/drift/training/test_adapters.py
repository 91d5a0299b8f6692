import json
import sys

import pytest
import torch
import transformers as tf
from test_trainer import config_of, log_of, same
from tiny_models import LETTERS, altered, read

from common.errors import UserError
from drift.displacement import displacement
from drift.training import adapters
from drift.training import trainer as training
from drift.training.config import load, parse

FAMILIES = ("qwen2_5_vl", "llava_next")
IDS = torch.arange(4, 4 + len(LETTERS) // 2)[None]


@pytest.fixture(autouse=True)
def has_peft():
    pytest.importorskip("peft")


def lora(folder, rows, **fields):
    return config_of(folder, rows, **{"adapter_rank": 4, "adapter_alpha": 8, "lr": 1e-2} | fields)


def model_of(folder):
    return tf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_trained_is_what_peft_and_the_engine_load(
    models, name, rows, tmp_path, monkeypatch, capsys
):
    from peft import PeftModel

    from harness.checkpoints.preflight import open_checkpoint
    from harness.engines import hf

    folder, seen, save = models / name, [], adapters.save

    def watched(model, *args):
        seen.append(logits(model))
        save(model, *args)

    monkeypatch.setattr(adapters, "save", watched)
    config = lora(folder, rows, prior="reasoner-vlm")
    made = training.train(config, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "made.json", "drift_log.jsonl"
    }  # fmt: skip
    assert (seen[0] - logits(model_of(folder / "vlm"))).abs().max() > 0.01
    theirs = PeftModel.from_pretrained(model_of(folder / "vlm"), tmp_path / "out")
    torch.testing.assert_close(logits(theirs), seen[0], rtol=0, atol=1e-5)
    opened = open_checkpoint(tmp_path / "out")
    assert opened.made.coverage == made.coverage and opened.folder.path == folder / "vlm"
    ours = model_of(folder / "vlm")
    hf._adapt(ours, opened.adapter)
    torch.testing.assert_close(logits(ours), seen[0], rtol=0, atol=1e-5)

    assert (made.method, made.reached) == ("drift", {"dtype": "float32"})
    assert made.coverage is not None and made.cost is not None
    assert made.coverage["tensors"] == 14 and 0.1 < made.coverage["reach"] < 1
    assert f"{made.coverage['reach']:.1%} of ‖Δ‖² is within their reach" in capsys.readouterr().out
    held = sum(tensor.nbytes for tensor in read(tmp_path / "out").values())
    assert made.cost["memory"]["gradients_bytes"] == held
    log = log_of(tmp_path / "out")
    assert log[0]["rho"] == 0 and log[2]["rho"] > 1e-3
    assert log[2]["mlp"]["ratio"] == pytest.approx(1, rel=1e-4)

    other = altered(folder / "vlm", tmp_path / "other", lambda held: held.popitem()[1].add_(1))
    with pytest.raises(UserError, match="was trained on another model than .*other, whose finger"):
        open_checkpoint(tmp_path / "out", base=other)

    training.train(lora(folder, rows, prior="reasoner-vlm", merge_adapter=True), tmp_path / "whole")
    torch.testing.assert_close(logits(model_of(tmp_path / "whole")), seen[0], rtol=0, atol=1e-5)
    before, after = read(folder / "vlm"), read(tmp_path / "whole")
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert before.keys() == after.keys() and len(moved) == 14

    ours, theirs = (
        displacement(folder / "vlm", folder / "llm", tmp_path / one) for one in ("out", "whole")
    )
    assert ours.rho > 1e-3 and ours.by_role.keys() == {"attention", "mlp"}
    for measure in ("rho", "cosine", "moved"):
        assert getattr(ours, measure) == pytest.approx(getattr(theirs, measure), rel=1e-4)
    of_biases = [one.rho for one in ours.tensors if one.module.endswith("bias")]
    assert not any(of_biases) and sum(one.rho != 0 for one in ours.tensors) == 14
    with pytest.raises(UserError, match="was trained on another model than .*other, whose finger"):
        displacement(other, folder / "llm", tmp_path / "out")


@pytest.mark.parametrize("name", FAMILIES)
def test_alpha_0_is_plain_lora_bit_for_bit(models, name, rows, tmp_path):
    plain = lora(models / name, rows)
    idle = lora(models / name, rows, prior="reasoner-vlm", alpha=0.0, adapter_start="random")
    for config, out in ((plain, "plain"), (idle, "idle")):
        training.train(config, tmp_path / out)
    assert same(read(tmp_path / "plain"), read(tmp_path / "idle"))
    settings = [json.loads((tmp_path / out / "adapter_config.json").read_text()) for out in
                ("plain", "idle")]  # fmt: skip
    assert settings[0] == settings[1]


def test_pulled_adapters_go_toward_the_reasoner_and_the_start_along_delta_goes_further(
    qwen, rows, tmp_path
):
    reached = {}
    for start in ("delta", "random"):
        for alpha in (0.0, 3.0):
            config = lora(qwen, rows, prior="reasoner-vlm", adapter_start=start, alpha=alpha)
            training.train(config, tmp_path / f"{start}{alpha}")
            reached[start, alpha] = log_of(tmp_path / f"{start}{alpha}")[-1]["rho"]
    assert reached["delta", 3.0] > reached["random", 3.0] > abs(reached["random", 0.0])


def test_a_layer_that_is_not_pulled_begins_as_in_plain_lora(qwen, rows, tmp_path):
    """One step at rate 0: what is written is what was begun with."""
    plain = lora(qwen, rows, steps=1)
    one = lora(qwen, rows, steps=1, prior="reasoner-vlm", layers=(1,))
    for config, out in ((plain, "plain"), (one, "one")):
        training.train(config, tmp_path / out)
    a, b = read(tmp_path / "plain"), read(tmp_path / "one")
    turned = {name for name in a if not torch.equal(a[name], b[name])}
    assert turned == {name for name in a if ".layers.1." in name and ".lora_A." in name}


def test_resume_is_bit_for_bit(qwen, rows, tmp_path, monkeypatch):
    more = {"live": True, "alpha_schedule": "decay", "steps": 5, "save_every": 2}
    config = lora(qwen, rows, prior="reasoner-vlm", **more)
    training.train(config, tmp_path / "straight")
    record = training.DriftMixin.record

    def interrupted(self):
        record(self)
        if self.state.global_step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.DriftMixin, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "cut")
    saved = tmp_path / "cut.partial" / "checkpoint-2"
    assert (saved / "adapter_model.safetensors").exists()
    assert not (saved / "model.safetensors").exists()
    monkeypatch.setattr(training.DriftMixin, "record", record)
    training.train(config, tmp_path / "cut")
    assert same(read(tmp_path / "straight"), read(tmp_path / "cut"))
    logs = [log_of(tmp_path / name) for name in ("straight", "cut")]
    for a, b in zip(*logs, strict=True):
        times = {"seconds": 0, "processor_seconds": 0}
        assert {**a, **times} == {**b, **times}


def test_operations_of_frozen_matrices_are_counted_as_such(qwen, rows, tmp_path):
    """By hand: 2 an entry forward, 2 to hand the gradient on, but for what lies before all else."""
    from drift.training import flops

    model = model_of(qwen / "vlm")
    adapters.attach(model, lora(qwen, rows))
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128
    first = 64 * 64
    head = model.get_output_embeddings().weight.numel()
    inner = 4 * (2 * layer - first + head) + 2 * first
    sides = [(64, 64), (32, 64), (32, 64), (64, 64), (128, 64), (128, 64), (64, 128)]
    pairs = (
        6 * 4 * sum(sum(one) for one in sides) * 2 - 2 * 4 * 64
    )  # no gradient before the first A
    assert flops.rates(model).token == inner + pairs


@pytest.mark.parametrize("name", ["qwen3_vl_moe", "qwen3_5_moe", "glm4v_moe"])
def test_experts_take_no_adapters_and_attention_beside_them_does(models, name, rows, tmp_path):
    from harness.checkpoints.preflight import open_checkpoint

    folder = models / name
    for prior in (None, "reasoner-vlm"):
        with pytest.raises(UserError, match="mlp, and .*experts.*no adapter.* train: .attention."):
            training.train(lora(folder, rows, prior=prior), tmp_path / "out")
    assert not list(tmp_path.iterdir())

    fields = {"prior": "reasoner-vlm", "train": ("attention",), "modules": ("attention",)}
    config = lora(folder, rows, **fields)
    made = training.train(config, tmp_path / "out")
    held = {name.rpartition(".lora_")[0] for name in read(tmp_path / "out")}
    assert held and all("_attn." in name for name in held)
    assert made.coverage["by_role"] == {"attention": len(held)}
    assert len(open_checkpoint(tmp_path / "out").adapter.scales) == len(held)
    training.train(lora(folder, rows, merge_adapter=True, **fields), tmp_path / "whole")
    before, after = read(folder / "vlm"), read(tmp_path / "whole")
    assert before.keys() == after.keys()
    assert sum(not torch.equal(before[key], after[key]) for key in before) == len(held)


def test_adapters_elsewhere_than_meant_are_noticed(qwen, rows, monkeypatch):
    """As peft's own rewriting of what it is given would put them."""
    model = model_of(qwen / "vlm")
    add = type(model).add_adapter

    def fewer(self, settings):
        settings.target_modules = {one for one in settings.target_modules if "q_proj" not in one}
        add(self, settings)

    monkeypatch.setattr(type(model), "add_adapter", fewer)
    with pytest.raises(UserError, match="peft .* other modules .*layers.0.self_attn.q_proj"):
        adapters.attach(model, lora(qwen, rows))


def test_rank_and_base_that_do_not_fit(qwen, rows, tmp_path):
    with pytest.raises(UserError, match="adapter_rank is 40, and .*k_proj is 32 × 64: give at mo"):
        training.train(lora(qwen, rows, adapter_rank=40), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_four_bits_hold_the_decoder_alone_and_the_adapter_goes_on_the_whole_vlm(
    qwen, rows, tmp_path, monkeypatch
):
    pytest.importorskip("bitsandbytes")
    from drift.training import flops

    kinds, counted, save = {}, [], adapters.save

    def watched(model, *args):
        kinds.update({name: param.dtype for name, param in model.named_parameters()})
        counted.append(flops.rates(model))
        save(model, *args)

    monkeypatch.setattr(adapters, "save", watched)
    for base in ("nf4", "vlm"):
        config = lora(qwen, rows, prior="reasoner-vlm", adapter_base=base)
        training.train(config, tmp_path / base)
        packed = {name for name, dtype in kinds.items() if dtype == torch.uint8}
        assert len(packed) == (14 if base == "nf4" else 0)
        assert all("language_model.layers" in name for name in packed)
    assert counted[0] == counted[1]
    assert read(tmp_path / "nf4").keys() == read(tmp_path / "vlm").keys()


def test_four_bits_without_bitsandbytes_are_refused(qwen, rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match="nf4 needs bitsandbytes, which cannot be used here"):
        training.train(lora(qwen, rows, adapter_base="nf4"), tmp_path / "out")


REFUSED = {
    "beyond": ({"train": ["attention", "norm"], "modules": ["attention"]}, "train names norm"),
    "words": ({"add_tokens": ["<think>"]}, "add_tokens needs the embedding trained"),
    "when": ({"when": "backward"}, "when: backward is defined on whole weights"),
    "anchor": (
        {"prior": "negated", "reasoner": "r", "anchor": "l2_sp", "anchor_strength": 1.0},
        "anchor: l2_sp is defined on whole weights",
    ),
    "zero": ({"adapter_rank": 0}, "adapter_rank is 0; give more than 0"),
    "no rank": ({"adapter_rank": None, "merge_adapter": True}, "adapters need their adapter_rank"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_be_meant(case):
    fields, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        parse({"vlm": "v", "data": "d", "adapter_rank": 4} | fields, "recipe")


@pytest.mark.parametrize("which", ["pocket", "qwen2_5_vl"])
def test_the_recipes_are_a_prior_apart(which):
    given = {"vlm": "v", "data": "d", "reasoner": "r"}
    sft, drift = (vars(load(f"{which}_lora_{name}", given)) for name in ("sft", "drift"))
    assert {name for name in sft if sft[name] != drift[name]} == {"prior"}
