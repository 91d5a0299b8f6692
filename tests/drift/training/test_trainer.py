import dataclasses
import json
import shutil

import pytest
import torch
import transformers as tf
from tiny_models import altered, make_vlm, read

from common import processes
from common.errors import UserError
from common.provenance import Made, cost_of, whole
from drift.displacement import displacement
from drift.families import decoder
from drift.fingerprints import fingerprint
from drift.pairing import pair
from drift.training import encode
from drift.training import trainer as training
from drift.training.config import TrainConfig

TIMES = {"seconds": 0, "processor_seconds": 0}


def config_of(folder, rows, **fields):
    return TrainConfig(
        **{
            "vlm": str(folder / "vlm"),
            "reasoner": str(folder / "llm"),
            "data": str(rows),
            "prior_dtype": "float32",
            "dtype": "float32",
            "memory": "float32",
            "lr": 1e-3,
            "steps": 3,
            "batch": 4,
        }
        | fields
    )


def log_of(folder):
    return [json.loads(line) for line in (folder / "drift_log.jsonl").read_text().splitlines()]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What comes out


def test_a_run_leaves_a_whole_checkpoint(models, family, rows, tmp_path):
    folder = models / family
    config = config_of(folder, rows, prior="reasoner-vlm")
    made = training.train(config, tmp_path / "out")
    papers = {path.name for path in (folder / "vlm").iterdir()}
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == papers | {"made.json", "drift_log.jsonl"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for name in papers - {"model.safetensors"}:
        assert (tmp_path / "out" / name).read_bytes() == (folder / "vlm" / name).read_bytes()

    before, after = read(folder / "vlm"), read(tmp_path / "out")
    trained = {
        weight.vlm_key
        for weight in pair(folder / "vlm", folder / "llm").weights
        if weight.role in ("attention", "mlp")
    }
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]) == (name not in trained), name

    stored = json.loads((tmp_path / "out" / "made.json").read_text())
    assert stored == json.loads(json.dumps(dataclasses.asdict(made)))
    assert (stored["method"], stored["name"]) == ("drift", "out")
    assert [one["role"] for one in stored["parents"]] == ["vlm", "reasoner"]
    assert stored["parents"][0]["fingerprint"] == fingerprint(folder / "vlm")
    assert stored["settings"] == json.loads(json.dumps(dataclasses.asdict(config)))
    coverage = stored["coverage"]
    assert coverage["tensors"] == len(trained)
    assert coverage["parameters"] == sum(before[name].numel() for name in trained)
    assert coverage["decoder_share"] == pytest.approx(0.996, abs=0.001)

    cost, log = stored["cost"], log_of(tmp_path / "out")
    assert (cost["steps"], cost["samples"], cost["dropped_rows"]) == (3, 12, 0)
    assert 0 < cost["seconds"] < 60 and cost["peak_memory_bytes"] > 1e6
    assert log[0]["processor_seconds"] < log[2]["processor_seconds"] < cost["processor_seconds"]
    # One process, which had begun before.
    assert cost["processor_seconds"] < processes.processor_seconds()
    moving = 4 * sum(before[name].numel() for name in trained)
    memory = cost["memory"]
    assert memory["weights_bytes"] == 4 * sum(tensor.numel() for tensor in before.values())
    assert memory["gradients_bytes"] == memory["delta_bytes"] == moving
    assert memory["optimizer_bytes"] == pytest.approx(2 * moving, rel=0.01)  # Adam's two moments
    assert memory["delta_host_bytes"] == 0
    assert [line["step"] for line in log] == [1, 2, 3]
    assert [line["samples"] for line in log] == [4, 8, 12]
    assert all(line["attention"]["ratio"] == pytest.approx(1, rel=1e-4) for line in log)
    # The warm-up takes its first step at rate 0.
    assert [line["lr"] for line in log] == [0.0, 1e-3, pytest.approx(5e-4)]
    assert log[0]["rho"] == pytest.approx(0, abs=1e-6)
    assert log[2]["rho"] > 1e-3


def test_a_tracker_hears_each_step_and_changes_nothing(qwen, rows, tmp_path, heard):
    config = config_of(qwen, rows, prior="reasoner-vlm", save_every=2)
    quiet = training.train(config, tmp_path / "quiet")
    assert heard == []
    told = training.train(config, tmp_path / "told", report_to=["tensorboard"])
    assert told.settings == quiet.settings
    assert same(read(tmp_path / "quiet"), read(tmp_path / "told"))
    lines = log_of(tmp_path / "told")
    assert {name for _, name, _, _ in heard} == {"told"}
    steps = [(step, what) for _, _, step, what in heard if "loss" in what]
    assert [step for step, _ in steps] == [1, 2, 3]
    for (_, logs), line in zip(steps, lines, strict=True):
        assert logs["loss"] == pytest.approx(line["loss"], abs=1e-4)
        assert (logs["learning_rate"], logs["grad_norm"]) == (line["lr"], line["grad_norm"])
        assert (logs["alpha"], logs["rho"]) == (line["alpha"], line["rho"])
        for role in ("attention", "mlp"):
            for name, value in line[role].items():
                assert logs[f"{role}/{name}"] == value


def test_the_tokens_are_those_of_the_samples(qwen, rows, tmp_path):
    from drift.training.rows import read_rows
    from drift.training.samples import Samples

    made = training.train(config_of(qwen, rows, steps=None, epochs=2.0), tmp_path / "out")
    processor = tf.AutoProcessor.from_pretrained(qwen / "vlm")
    samples = Samples(read_rows(rows), processor, frozenset([3]), 256)
    once = sum(len(samples[i]["input_ids"]) for i in range(len(samples)))
    assert made.cost is not None
    assert (made.cost["tokens"], made.cost["samples"]) == (2 * once, 32)


def test_the_sampling_of_its_rows_and_the_training_of_its_vlm_are_costs_of_a_training(
    qwen, rows, tmp_path
):
    data = tmp_path / "data"
    shutil.copytree(rows.parent, data)
    sampled = Made(method="rows", name="own", cost={"flops": 70, "processor_seconds": 0.5})
    note = (data / rows.name).with_suffix(".made.json")
    note.write_text(json.dumps(dataclasses.asdict(sampled)))
    first = training.train(config_of(qwen, data / rows.name, reasoner=None), tmp_path / "first")
    config = config_of(qwen, data / rows.name, reasoner=None)
    config = dataclasses.replace(config, vlm=str(tmp_path / "first"))
    second = cost_of(training.train(config, tmp_path / "second"))
    one = cost_of(first)
    assert [(part.name, part.flops) for part in one.before] == [("own", 70)]
    # The second learnt from the same rows, which were sampled once.
    assert whole(second, "flops") == second.flops + one.flops + 70
    wholes = second.processor_seconds + one.processor_seconds + 0.5
    assert whole(second, "processor_seconds") == pytest.approx(wholes)


def test_sft_needs_no_reasoner_and_says_sft(qwen, rows, tmp_path):
    made = training.train(config_of(qwen, rows, reasoner=None), tmp_path / "out")
    assert (made.method, made.coverage) == ("sft", None)
    assert [one.role for one in made.parents] == ["vlm"]
    log = log_of(tmp_path / "out")
    assert set(log[0]) == {
        "step", "loss", "lr", "grad_norm", "samples", "tokens", "flops", "seconds",
        "processor_seconds",
    }  # fmt: skip


def test_the_loss_falls(qwen, rows, tmp_path):
    parts = ("attention", "mlp", "norm", "embedding", "head")
    training.train(config_of(qwen, rows, steps=40, lr=5e-3, train=parts), tmp_path / "out")
    losses = [line["loss"] for line in log_of(tmp_path / "out")]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0, 0.5, 1, 1, 1, 1]),
        ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0, 0.5, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
    ],
)
def test_the_rate_rises_and_falls(qwen, rows, tmp_path, schedule, rates):
    config = config_of(qwen, rows, steps=6, warmup=1 / 3, lr_schedule=schedule, lr=1e-3)
    training.train(config, tmp_path / "out")
    assert [line["lr"] * 1e3 for line in log_of(tmp_path / "out")] == pytest.approx(rates)


def test_the_checkpoint_keeps_the_dtype_of_the_vlm(qwen, rows, tmp_path):
    model = tf.AutoModelForImageTextToText.from_pretrained(qwen / "vlm", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "vlm")
    tf.AutoProcessor.from_pretrained(qwen / "vlm").save_pretrained(tmp_path / "vlm")
    config = config_of(qwen, rows, vlm=str(tmp_path / "vlm"), steps=2, dtype="bfloat16")
    training.train(config, tmp_path / "out")
    before, after = read(tmp_path / "vlm"), read(tmp_path / "out")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert torch.equal(before["visual.merger.ln_q.weight"], after["visual.merger.ln_q.weight"])
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[name], after[name])


# The method


def test_alpha_0_takes_the_steps_of_sft_bit_for_bit(models, family, rows, tmp_path):
    folder = models / family
    training.train(config_of(folder, rows), tmp_path / "sft")
    config = config_of(folder, rows, prior="reasoner-vlm", alpha=0.0)
    training.train(config, tmp_path / "zero")
    assert same(read(tmp_path / "sft"), read(tmp_path / "zero"))
    for a, b in zip(log_of(tmp_path / "sft"), log_of(tmp_path / "zero"), strict=True):
        assert (a["loss"], a["grad_norm"]) == (b["loss"], b["grad_norm"])


def test_a_run_is_repeatable_and_the_seed_matters(qwen, rows, tmp_path):
    runs = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = config_of(qwen, rows, prior="random", seed=seed)
        training.train(config, tmp_path / name)
        runs[name] = read(tmp_path / name)
    assert same(runs["a"], runs["b"])
    assert not same(runs["a"], runs["c"])


def test_drift_ends_nearer_to_the_reasoner_than_sft(qwen, rows, tmp_path):
    distances = {}
    for name, prior in (("sft", None), ("drift", "reasoner-vlm"), ("away", "negated")):
        training.train(config_of(qwen, rows, prior=prior, steps=10), tmp_path / name)
        ours, theirs = read(tmp_path / name), read(qwen / "llm")
        distances[name] = sum(
            float((ours[w.vlm_key] - theirs[w.llm_key]).norm() ** 2)
            for w in pair(qwen / "vlm", qwen / "llm").weights
            if w.role in ("attention", "mlp")
        )
    assert distances["drift"] < distances["sft"] < distances["away"]


def gradients(folder, rows, monkeypatch, tmp_path, **fields):
    """Gradients of the first step as the optimizer would get them, were it not for clipping."""
    found = {}

    def caught(self, model):
        self._edit()
        found.update(
            {n: p.grad.clone() for n, p in decoder(model)[1].items() if p.grad is not None}
        )
        return super(training.DriftMixin, self)._clip_grad_norm(model)

    monkeypatch.setattr(training.DriftMixin, "_clip_grad_norm", caught)
    config = config_of(folder, rows, prior="reasoner-vlm", steps=1, **fields)
    training.train(config, tmp_path / "out", overwrite=True)
    return found


def test_micro_batches_do_not_change_the_method(models, family, rows, monkeypatch, tmp_path):
    """The same 8 samples as 1 × 8, 2 × 4, 8 × 1; per backward they would give three methods."""

    def run(when, batch):
        return gradients(
            models / family, rows, monkeypatch, tmp_path,
            when=when, batch=batch, accumulate=8 // batch, alpha=2.0,
        )  # fmt: skip

    whole = run("step", 8)
    assert len(whole) >= 14
    scale = max(float(grad.abs().max()) for grad in whole.values())
    for batch in (4, 1):
        for name, grad in run("step", batch).items():
            torch.testing.assert_close(grad, whole[name], rtol=1e-3, atol=1e-5 * scale)
    published = {batch: run("backward", batch) for batch in (8, 1)}
    for name, grad in published[8].items():  # one micro-batch: the two are one
        torch.testing.assert_close(grad, whole[name], rtol=1e-3, atol=1e-5 * scale)
    norms = [
        sum(float(grad.norm() ** 2) for grad in published[batch].values()) ** 0.5
        for batch in (8, 1)
    ]
    assert norms[1] > 1.2 * norms[0]


def test_the_edit_comes_before_clipping(qwen, rows, tmp_path):
    """With cos ≈ 0 the pull adds a quarter turn: the norm that is clipped grows by √2."""
    runs = {}
    for name, alpha in (("off", 0.0), ("on", 1.0)):
        config = config_of(qwen, rows, prior="random", alpha=alpha, steps=1, clip=1e-6)
        training.train(config, tmp_path / name)
        runs[name] = log_of(tmp_path / name)[0]["grad_norm"]
    assert runs["on"] == pytest.approx(2**0.5 * runs["off"], rel=0.05)


def test_without_clipping_the_edit_still_happens(qwen, rows, tmp_path):
    """A threshold that never binds and no threshold at all are the same run."""
    for name, clip in (("none", 0.0), ("never", 1e9)):
        config = config_of(qwen, rows, prior="reasoner-vlm", clip=clip)
        training.train(config, tmp_path / name)
    assert same(read(tmp_path / "none"), read(tmp_path / "never"))
    a, b = log_of(tmp_path / "none"), log_of(tmp_path / "never")
    assert [line["mlp"] for line in a] == [line["mlp"] for line in b]
    assert [line["grad_norm"] for line in a] == [line["grad_norm"] for line in b]


def test_one_process_trains_on_one_gpu_whatever_others_are_visible(
    qwen, rows, tmp_path, monkeypatch, capsys
):
    """Without a launcher the Trainer would divide batches of four devices among four replicas."""
    config = config_of(qwen, rows, prior="reasoner-vlm", steps=1, clip=0.0)
    made = {}
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    for count in (1, 4):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        made[count] = training.train(config, tmp_path / str(count))
        told = "training on one of 4 GPUs" in capsys.readouterr().out
        assert told == (count == 4)
    one, four = (log_of(tmp_path / str(count))[0] for count in made)
    assert {**one, **TIMES} == {**four, **TIMES}
    assert made[4].cost["devices"] == 1


def test_gradient_checkpointing_changes_nothing(qwen, rows, tmp_path):
    for name, on in (("plain", False), ("saving", True)):
        config = config_of(qwen, rows, prior="reasoner-vlm", gradient_checkpointing=on)
        training.train(config, tmp_path / name)
    a, b = read(tmp_path / "plain"), read(tmp_path / "saving")
    for name in a:
        torch.testing.assert_close(a[name], b[name])


def test_a_stored_prior_and_one_made_on_the_fly_are_one(qwen, models, rows, tmp_path):
    from drift import delta as priors

    priors.save(priors.build(qwen / "vlm", qwen / "llm", dtype="float32"), tmp_path / "prior")
    for name, prior in (("fly", "reasoner-vlm"), ("stored", str(tmp_path / "prior"))):
        recipe = config_of(
            qwen, rows, prior=prior, prior_dtype="bfloat16" if name == "stored" else "float32"
        )
        made = training.train(recipe, tmp_path / name)
        assert [one.role for one in made.parents] == ["vlm", "reasoner"]
        # Not the recipe's, which a stored prior has nothing of.
        assert made.settings["prior_dtype"] == "float32"
        assert made.settings["reasoner"] == (None if name == "stored" else recipe.reasoner)
    assert same(read(tmp_path / "fly"), read(tmp_path / "stored"))
    other = config_of(models / "idefics3", rows, prior=str(tmp_path / "prior"))
    with pytest.raises(UserError, match="was made from another VLM than .*idefics3"):
        training.train(other, tmp_path / "x")


def test_experts_are_pulled_and_written_as_the_hub_has_them(models, rows, tmp_path):
    folder = models / "qwen3_vl_moe"
    config = config_of(folder, rows, prior="reasoner-vlm")
    training.train(config, tmp_path / "out")
    before, after = read(folder / "vlm"), read(tmp_path / "out")
    assert {n: t.shape for n, t in after.items()} == {n: t.shape for n, t in before.items()}
    name = "model.language_model.layers.0.mlp.experts.gate_up_proj"
    assert before[name].shape == (4, 64, 48) and not torch.equal(before[name], after[name])
    gone = displacement(folder / "vlm", folder / "llm", tmp_path / "out", ("mlp",))
    assert 0 < gone.rho and gone.cosine > 0.5


def test_the_reasoner_may_be_a_vlm(qwen, rows, tmp_path):
    other = make_vlm("qwen2_5_vl", tmp_path / "thinking", seed=5)
    config = config_of(qwen, rows, prior="reasoner-vlm", reasoner=str(other))
    made = training.train(config, tmp_path / "out")
    assert made.coverage["decoder_share"] == pytest.approx(0.996, abs=0.001)
    assert displacement(qwen / "vlm", other, tmp_path / "out").rho > 0


@pytest.mark.parametrize(
    ("parts", "prefixes"),
    [
        (("norm",), ("model.norm.", "model.layers.0.input_layernorm.")),
        (("embedding", "head"), ("model.embed_tokens.", "lm_head.")),
        (("projector",), ("visual.merger.",)),
        (("tower",), ("visual.blocks.", "visual.patch_embed.")),
    ],
)
def test_parts_choose_what_is_trained(qwen, rows, tmp_path, parts, prefixes):
    training.train(config_of(qwen, rows, train=parts), tmp_path / "out")
    before, after = read(qwen / "vlm"), read(tmp_path / "out")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(any(name.startswith(p) for name in moved) for p in prefixes)
    if parts != ("norm",):
        assert all(name.startswith(prefixes) for name in moved)


# Going on


@pytest.mark.parametrize("prior", [None, "reasoner-vlm"])
def test_resume_is_bit_for_bit(models, family, rows, tmp_path, prior, monkeypatch):
    """Interrupted in step 5, taken up from the checkpoint of step 4, live Δ and decay included."""
    folder = models / family
    more = {"live": True, "alpha_schedule": "decay"} if prior else {}
    config = config_of(folder, rows, prior=prior, steps=7, save_every=2, accumulate=2, **more)
    training.train(config, tmp_path / "straight")
    record = training.DriftMixin.record

    def interrupted(self):
        record(self)
        if self.state.global_step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.DriftMixin, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    monkeypatch.setattr(training.DriftMixin, "record", record)
    other = dataclasses.replace(config, lr=1.0)
    with pytest.raises(UserError, match="cut.partial holds a run with other settings"):
        training.train(other, tmp_path / "cut")
    made = training.train(config, tmp_path / "cut")
    assert same(read(tmp_path / "straight"), read(tmp_path / "cut"))
    logs = [log_of(tmp_path / name) for name in ("straight", "cut")]
    for a, b in zip(*logs, strict=True):
        assert {**a, **TIMES} == {**b, **TIMES}
    done = [log[4]["processor_seconds"] for log in logs]
    assert made.cost is not None and made.cost["processor_seconds"] > done[1] > 0
    assert made.cost is not None and made.cost["samples"] == 7 * 8
    assert not (tmp_path / "cut.partial").exists()


def test_a_run_that_was_killed_while_it_was_written_takes_no_further_step(
    qwen, rows, tmp_path, monkeypatch
):
    config = config_of(qwen, rows, prior="reasoner-vlm", lr_schedule="constant", save_every=2)
    training.train(config, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            training.train(config, tmp_path / "cut")
    made = training.train(config, tmp_path / "cut")
    assert same(read(tmp_path / "straight"), read(tmp_path / "cut"))
    assert [line["step"] for line in log_of(tmp_path / "cut")] == [1, 2, 3]
    assert made.cost is not None and (made.cost["steps"], made.cost["samples"]) == (3, 12)


def stopped(*_):
    raise KeyboardInterrupt


# What is off


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_no_number_stops_with_step_and_rows(qwen, rows, tmp_path, monkeypatch, where):
    """Two micro-batches of two: the loss tells which, a gradient is of both."""
    step, poisoned, batches = tf.Trainer.training_step, [], []

    def broken(self, model, inputs, *args, **kwargs):
        batches.append(len(inputs["input_ids"]))
        loss = step(self, model, inputs, *args, **kwargs)
        if self.state.global_step == 2 and not poisoned:
            poisoned.append(True)
            if where == "loss":
                return loss * float("nan")
            decoder(model)[1]["layers.0.mlp.up_proj.weight"].grad[0, 0] = float("inf")
        return loss

    monkeypatch.setattr(tf.Trainer, "training_step", broken)
    config = config_of(qwen, rows, batch=2, accumulate=2, save_every=1, steps=5)
    what = "the loss is nan" if where == "loss" else "the gradient's norm is (nan|inf)"
    with pytest.raises(UserError, match=rf"{what} at step 3 \(in row .* left as they") as caught:
        training.train(config, tmp_path / "out")
    assert str(caught.value).count("rows.jsonl") == (2 if where == "loss" else 4)
    assert not (tmp_path / "out").exists()
    # The last good checkpoint is there, and the run goes on from it once the cause is gone.
    assert {path.name for path in (tmp_path / "out.partial").glob("checkpoint-*")} == {
        "checkpoint-2"
    }
    batches.clear()
    training.train(config, tmp_path / "out")
    assert len(batches) == 3 * 2
    monkeypatch.setattr(tf.Trainer, "training_step", step)
    training.train(config, tmp_path / "straight")
    assert same(read(tmp_path / "straight"), read(tmp_path / "out"))


@pytest.mark.parametrize("changed", ["vlm", "reasoner", "prior", "data", "picture"])
def test_a_run_does_not_go_on_from_other_content(qwen, tmp_path, monkeypatch, changed):
    """Its settings name the same places; what lies there is compared with how it began."""
    from PIL import Image

    from drift import delta as priors

    for name in ("vlm", "llm"):
        shutil.copytree(qwen / name, tmp_path / name)
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    row = {"question": "<image>what ?", "answer": "one .", "images": ["a.png"]}
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(row))
    if changed == "prior":
        priors.save(priors.build(qwen / "vlm", qwen / "llm"), tmp_path / "prior")
    prior = str(tmp_path / "prior") if changed == "prior" else "reasoner-vlm"
    config = config_of(tmp_path, rows, prior=prior, batch=1, save_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            training.train(config, tmp_path / "out")
    shutil.copytree(tmp_path / "out.partial", tmp_path / "older.partial")

    if changed == "data":
        rows.write_text(json.dumps(row | {"answer": "two ."}))
    elif changed == "picture":
        Image.new("RGB", (16, 16), (9, 9, 9)).save(tmp_path / "a.png")
    elif changed == "prior":
        priors.save(priors.build(qwen / "vlm", qwen / "llm"), tmp_path / "prior", True, rank=2)
    else:
        folder = tmp_path / {"vlm": "vlm", "reasoner": "llm"}[changed]
        name = "model.layers.0.mlp.up_proj.weight"
        altered(folder, tmp_path / "other", lambda held: held.update({name: held[name] * 2}))
        shutil.rmtree(folder)
        (tmp_path / "other").rename(folder)
    named = "data" if changed == "picture" else changed
    with pytest.raises(UserError, match=f"what {named} names is not what .*out.partial began with"):
        training.train(config, tmp_path / "out")
    assert list((tmp_path / "out.partial").glob("checkpoint-*/model.safetensors"))

    # A run that noted its settings alone is taken up as it is.
    note = tmp_path / "older.partial" / "settings.json"
    settings = json.loads(note.read_text())
    assert settings.pop("inputs").keys() == {"vlm", "reasoner", "data"} | {named} & {"prior"}
    note.write_text(json.dumps(settings))
    training.train(config, tmp_path / "older")
    assert [line["step"] for line in log_of(tmp_path / "older")] == [1, 2, 3]


def test_a_checkpoint_that_was_cut_off_is_passed_over(qwen, rows, tmp_path, monkeypatch):
    """Killed while the checkpoint of step 4 was written: that of step 2 is taken up."""
    save = tf.Trainer._save_rng_state

    def killed(self, folder):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        save(self, folder)

    config = config_of(qwen, rows, prior="reasoner-vlm", save_every=2, steps=6)
    training.train(config, tmp_path / "straight")
    monkeypatch.setattr(tf.Trainer, "_save_rng_state", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "cut")
    assert (tmp_path / "cut.partial" / "checkpoint-4" / "model.safetensors").exists()
    monkeypatch.setattr(tf.Trainer, "_save_rng_state", save)
    training.train(config, tmp_path / "cut")
    assert same(read(tmp_path / "straight"), read(tmp_path / "cut"))


def test_a_step_without_the_pull_is_noticed(qwen, rows, tmp_path, monkeypatch):
    """Should a Trainer of another version take its step along another path."""
    monkeypatch.setattr(training.DriftMixin, "_edit", lambda self: None)
    with pytest.raises(RuntimeError, match="a step was taken without|taken without the pull"):
        training.train(config_of(qwen, rows, prior="reasoner-vlm"), tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prior": "nowhere"}, "there is no prior nowhere"),
        ({"vlm": "nowhere"}, "there is no nowhere: give a folder"),
        ({"data": "nowhere"}, "there is no nowhere: give a file"),
        ({"max_tokens": 3}, "none of 16 rows fits into 3 tokens"),
        ({"prior": "reasoner-vlm", "layers": (9,)}, r"the model has no layers \[9\]|in layers"),
    ],
)
def test_bad_inputs_are_one_sentence_and_leave_nothing(qwen, rows, tmp_path, fields, sentence):
    with pytest.raises(UserError, match=sentence):
        training.train(config_of(qwen, rows, **fields), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_there_is_not_replaced(qwen, rows, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UserError, match="out is already there"):
        training.train(config_of(qwen, rows), tmp_path / "out")
    training.train(config_of(qwen, rows, steps=1), tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "mine").exists()


def test_weights_that_the_model_lacks_are_named(qwen, rows, tmp_path):
    lost = "visual.merger.ln_q.weight"
    altered(qwen / "vlm", tmp_path / "vlm", lambda tensors: tensors.pop(lost))
    with pytest.raises(UserError, match="lacks weights of its own model: .*merger.ln_q.weight"):
        training.train(config_of(qwen, rows, vlm=str(tmp_path / "vlm")), tmp_path / "out")


def test_papers_that_do_not_load_are_named(qwen, rows, tmp_path):
    vlm = shutil.copytree(qwen / "vlm", tmp_path / "vlm")
    (vlm / "processor_config.json").unlink()
    config = config_of(qwen, rows, vlm=str(vlm))
    with pytest.raises(UserError, match="its processor does not load: Can't load image processor"):
        training.train(config, tmp_path / "out")
    told = json.loads((vlm / "config.json").read_text())
    told["text_config"]["hidden_size"] = "large"
    (vlm / "config.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="its config does not load: .*hidden_size.* expected int"):
        training.train(config, tmp_path / "out")


@pytest.mark.parametrize(
    ("answer", "picture", "sentence"),
    [
        (" ", "a.png", "row 2 of .* has an empty answer"),
        ("one <image>", "a.png", "row 2 of .* has 2 <image> marks and 1 images"),
        ("one .", "b.png", "row 2 of .* names the image b.png, which is not in"),
        ("one .", "broken.png", "row 2 of .*: the image .*broken.png cannot be decoded"),
        ("one и .", "a.png", "row 2 of .* has an answer with words that the tokenizer does not"),
    ],
)
def test_bad_rows_stop_before_anything_is_trained(qwen, tmp_path, answer, picture, sentence):
    from PIL import Image

    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    good = {"question": "what is <image> ?", "answer": "one .", "images": ["a.png"]}
    bad = good | {"answer": answer, "images": [picture]}
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in (good, bad)))
    with pytest.raises(UserError, match=sentence):
        training.train(config_of(qwen, data), tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_bad_rows_are_left_out_only_when_asked_and_by_name(qwen, tmp_path, capsys):
    good = {"id": 7, "question": "what ?", "answer": "one ."}
    rows = [good, good | {"tools": ["x"]}, good | {"answer": "one и ."}, good]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows))
    config = config_of(qwen, data, batch=1, steps=1)
    with pytest.raises(UserError, match="row 2 .* for, tools; .*1 of 4 rows .*--skip-bad-rows"):
        training.train(config, tmp_path / "out")
    made = training.train(dataclasses.replace(config, skip_bad_rows=True), tmp_path / "out")
    assert made.cost is not None and (made.cost["bad_rows"], made.cost["dropped_rows"]) == (2, 0)
    said = capsys.readouterr().out
    assert f"left out: row 2 of {data} has a field that training has no use for, tools" in said
    assert f"left out: row 3 of {data} has an answer with words that the tokenizer" in said
    assert "2 samples (2 left out)" in said
    assert "fields that nothing is learnt from: id" in said


def test_a_run_tells_a_template_one_day_and_records_it(qwen, rows, tmp_path, monkeypatch):
    folder = shutil.copytree(qwen / "vlm", tmp_path / "vlm")
    template = folder / "chat_template.jinja"
    template.write_text("{{ strftime_now('%d') }}" + template.read_text())
    days = []
    stretches = encode.stretches
    monkeypatch.setattr(
        encode, "stretches", lambda *given: days.append(given[2]) or stretches(*given)
    )
    config = config_of(qwen, rows, vlm=str(folder), steps=1, day="2026-01-31")
    made = training.train(config, tmp_path / "out")
    assert set(days) == {"2026-01-31"} == {made.settings["day"]}
    # A run that goes on keeps the day of its beginning.
    for given, told in (("2026-01-31", "2026-01-31"), (None, "2026-01-31")):
        given = dataclasses.replace(config, day=given)
        assert training._day(tmp_path / "work", given) == told
        training._resume_point(tmp_path / "work", dataclasses.replace(given, day=told), {}, True)


def test_a_row_that_is_too_long_is_left_out_by_name(qwen, tmp_path, capsys):
    data = tmp_path / "data.jsonl"
    short = {"question": "what ?", "answer": "one ."}
    long = short | {"answer": "one " * 72}
    data.write_text("\n".join(json.dumps(row) for row in (short, long, short)))
    made = training.train(config_of(qwen, data, batch=1, steps=1), tmp_path / "out")
    assert made.cost is not None and made.cost["dropped_rows"] == 1
    said = capsys.readouterr().out
    assert f"left out, longer than the context: row 2 of {data} (30" in said
    assert "2 samples (1 left out)" in said


# Other Trainers


def live_parts(folder):
    model = tf.AutoModelForImageTextToText.from_pretrained(folder / "vlm", dtype=torch.float32)
    training.freeze(model, ("attention", "mlp"))
    processor = tf.AutoProcessor.from_pretrained(folder / "vlm")
    return model, processor


def options(folder, **more):
    return {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "report_to": "none",
        "remove_unused_columns": False,
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    } | more


def test_a_trainer_with_a_loss_of_its_own_keeps_it_and_is_pulled(qwen, rows, tmp_path):
    from drift import delta as priors
    from drift.injector import Injector
    from drift.training.rows import read_rows
    from drift.training.samples import Samples, collate

    losses = []

    class Half(tf.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
            loss = 0.5 * model(**inputs).loss
            losses.append(float(loss.detach()))
            return loss

    class DriftHalf(training.DriftMixin, Half):
        pass

    prior = priors.build(qwen / "vlm", qwen / "llm", dtype="float32")
    model, processor = live_parts(qwen)
    trainer = DriftHalf(
        model=model,
        args=tf.TrainingArguments(**options(tmp_path)),
        train_dataset=Samples(read_rows(rows), processor, frozenset([3]), 256),
        data_collator=lambda batch: collate(batch, 0),
        join=lambda live: Injector(live, prior, mode="adaptive"),
        log=tmp_path / "log.jsonl",
    )
    trainer.train()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in log] == pytest.approx(losses)
    assert log[2]["rho"] > log[1]["rho"] > log[0]["rho"]
    assert trainer.spent["samples"] == 12 and trainer.spent["flops"] > 0


def test_trls_trainer_and_its_collator_are_pulled_and_learn_the_same_answers(qwen, tmp_path):
    """Prompt and completion through TRL's collator for VLMs: our labels, and our loss."""
    trl = pytest.importorskip("trl")
    import datasets
    from PIL import Image

    from drift import delta as priors
    from drift.injector import Injector
    from drift.training.rows import read_rows
    from drift.training.samples import Samples, collate

    pictures = [Image.new("RGB", (16, 16 * (1 + i % 2)), (60 * i, 9, 90)) for i in range(4)]
    ours, theirs = [], []
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
        answer = " ".join(["one", "two", "three"][: 1 + i % 3]) + " ."
        ours.append({"question": "<image>what is this", "answer": answer, "images": [f"{i}.png"]})
        said = [{"type": "image"}, {"type": "text", "text": "what is this"}]
        theirs.append(
            {
                "prompt": [{"role": "user", "content": said}],
                "completion": [
                    {"role": "assistant", "content": [{"type": "text", "text": answer}]}
                ],
                "images": [picture],
            }
        )
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ours)))

    class DriftSFT(training.DriftMixin, trl.SFTTrainer):
        pass

    prior = priors.build(qwen / "vlm", qwen / "llm", dtype="float32")
    model, processor = live_parts(qwen)
    collator = trl.trainer.sft_trainer.DataCollatorForVisionLanguageModeling(
        processor, completion_only_loss=True
    )
    samples = Samples(read_rows(tmp_path / "rows.jsonl"), processor, frozenset([3]), 256)
    batch, mine = (
        collator([dict(row) for row in theirs]),
        collate([samples[i] for i in range(4)], 0),
    )
    for key in ("input_ids", "labels", "pixel_values", "image_grid_thw"):
        assert torch.equal(batch[key], mine[key]), key

    def run(trainer_class, data, collator, name, **more):
        model = live_parts(qwen)[0]
        kind = trl.SFTConfig if issubclass(trainer_class, trl.SFTTrainer) else tf.TrainingArguments
        # TRL's own defaults are bfloat16 and rows cut at 1024 tokens.
        extra = {"max_length": None, "bf16": False} if kind is trl.SFTConfig else {}
        trainer = trainer_class(
            model=model,
            args=kind(**options(tmp_path / name, **extra, **more)),
            train_dataset=data,
            data_collator=collator,
            processing_class=processor,
            join=lambda live: Injector(live, prior, mode="adaptive"),
            log=tmp_path / f"{name}.jsonl",
        )
        trainer.train()
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    a = run(DriftSFT, datasets.Dataset.from_list(theirs), None, "trl")
    b = run(training.DriftTrainer, samples, lambda batch: collate(batch, 0), "ours")
    for theirs_line, line in zip(a, b, strict=True):
        assert theirs_line["loss"] == pytest.approx(line["loss"], rel=1e-4)
        assert theirs_line["mlp"] == pytest.approx(line["mlp"], rel=1e-3, abs=1e-6)
    assert a[2]["rho"] > 1e-4


def test_deepspeed_takes_its_own_step_and_is_refused():
    class Trainer:
        is_deepspeed_enabled = True

        def __init__(self, **kwargs):
            pass

    class WithDrift(training.DriftMixin, Trainer):
        pass

    with pytest.raises(UserError, match="DeepSpeed takes its optimizer step inside backward"):
        WithDrift()


def test_several_gpus_in_one_process_are_refused(qwen, tmp_path, monkeypatch):
    """Its loss is divided by the whole batch already, and would be added up over the replicas."""
    model, processor = live_parts(qwen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    arguments = tf.TrainingArguments(**options(tmp_path, use_cpu=False))
    assert arguments.n_gpu == 4
    with pytest.raises(UserError, match="4 GPUs .*torchrun --nproc_per_node 4.*CUDA_VISIBLE_DEV"):
        training.DriftTrainer(model=model, args=arguments, processing_class=processor)


def test_float16_is_refused():
    class Trainer:
        is_deepspeed_enabled = False
        args = type("Args", (), {"fp16": True, "n_gpu": 1})

        def __init__(self, **kwargs):
            pass

    class WithDrift(training.DriftMixin, Trainer):
        pass

    with pytest.raises(UserError, match="float16 scales gradients.*use bf16"):
        WithDrift()
