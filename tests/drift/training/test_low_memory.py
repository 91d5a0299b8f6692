"""bfloat16 weights that lose no step on the average, and moments in 8 bits."""

import dataclasses

import pytest
import torch
import transformers as tf
from test_trainer import config_of, log_of, same
from tiny_models import altered, read

from common.errors import UserError
from drift.training import low_memory, memory, plan, sharding
from drift.training import trainer as training
from drift.training.config import parse
from drift.training.trainable import freeze

LOW = {"memory": "low", "dtype": "bfloat16", "lr_schedule": "constant", "warmup": 0.0}


@pytest.fixture(scope="module")
def halved(qwen, tmp_path_factory):
    """A VLM in bfloat16, as the hub has it, and its reasoner."""
    target = tmp_path_factory.mktemp("halved")
    model = tf.AutoModelForImageTextToText.from_pretrained(qwen / "vlm", dtype=torch.bfloat16)
    altered(qwen / "vlm", target / "vlm", lambda tensors: None)
    model.save_pretrained(target / "vlm")
    (target / "llm").symlink_to(qwen / "llm")
    return target


@pytest.mark.parametrize("shape", [(512, 512), (4000,)], ids=["8 bits", "whole"])
def test_small_steps_are_kept_on_the_average(shape):
    """20 steps of 1e-6 on weights of 0.02, of which bfloat16 resolves 6e-5 to 1.2e-4."""
    torch.manual_seed(0)
    first = (torch.randn(shape) * 0.02).bfloat16()
    steps, lr = 20, 1e-6
    weight = torch.nn.Parameter(first.clone())
    optimizer = low_memory.LowMemoryAdamW([weight], lr)
    assert low_memory.rounds_by_chance(optimizer)
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    moved = (weight.detach().float() - first.float()).double()
    error = moved.std() / moved.numel() ** 0.5
    assert abs(moved.mean() + steps * lr) < 5 * error < 0.5 * steps * lr


def test_a_whole_moment_gives_the_steps_of_adamw():
    """Float32 weights and tensors too small for 8 bits: AdamW itself."""
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(60, 50)) for _ in range(2))
    settings = {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    pair = low_memory.LowMemoryAdamW([ours], **settings), torch.optim.AdamW([theirs], **settings)
    for _ in range(10):
        ours.grad = torch.randn(60, 50)
        theirs.grad = ours.grad.clone()
        for one in pair:
            one.step()
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


def test_eight_bits_hold_a_moment_to_the_nearest_of_their_numbers():
    """Of each decade of a block's largest: 64, 32, … numbers with a sign, twice that without."""
    torch.manual_seed(0)
    many = 1 << 19  # several stretches
    for signed, of_top in ((True, 64), (False, 128)):
        book = low_memory._book(signed, torch.device("cpu"))[0]
        assert len(book.unique()) == 256 and {0.0, 1.0} <= set(book.tolist())
        assert ((book > 0.1) & (book < 1)).sum() == of_top
        assert book.min() == (-book[-2] if signed else 0)
        value = torch.randn(many) * 10 ** (3 * torch.randn(many))
        value = value if signed else value.abs()
        state = {}
        low_memory._begin(state, "it", value)
        assert {name: one.dtype for name, one in state.items()} == {
            "it": torch.uint8, "it_scale": torch.float32
        }  # fmt: skip
        assert sum(one.nbytes for one in state.values()) == many + 4 * many // low_memory.BLOCK
        low_memory._keep(state, "it", slice(0, many), value, signed)
        blocks = value.view(-1, low_memory.BLOCK).double()
        shares = blocks / blocks.abs().amax(-1, keepdim=True)
        nearest = (shares.reshape(-1)[:50_000, None] - book.double()).abs().amin(-1)
        held = low_memory._read(state, "it", slice(0, many), signed).view_as(blocks).double()
        error = ((held - blocks) / blocks.abs().amax(-1, keepdim=True)).abs().reshape(-1)[:50_000]
        assert (error <= nearest + shares.abs().reshape(-1)[:50_000] * 2**-11 + 1e-9).all()


def test_a_step_needs_little_beside_what_is_held():
    """Whole tensors in float32 would be 20 bytes for each parameter and more."""
    weight = torch.nn.Parameter(torch.ones(1 << 21, dtype=torch.bfloat16))
    weight.grad = torch.ones_like(weight)
    optimizer = low_memory.LowMemoryAdamW([weight])
    optimizer.step()
    with torch.profiler.profile(profile_memory=True, acc_events=True) as seen:
        optimizer.step()
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == "[memory]"]
    sizes = torch.tensor([one.nbytes() for one in sorted(events, key=lambda one: one.start_ns())])
    assert 0 < sizes.cumsum(0).max() < 32 * low_memory.STRETCH <= weight.numel()


def test_whole_moments_stay_float32_over_a_resume():
    """A second moment in bfloat16 would stand still where its steps are below what it resolves."""
    weight = torch.nn.Parameter(torch.ones(512, dtype=torch.bfloat16))
    optimizer = low_memory.LowMemoryAdamW([weight])
    for step in range(1, 2001):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        if step == 1000:
            optimizer.load_state_dict(optimizer.state_dict())
    squares = optimizer.state[weight]["exp_avg_sq"]
    assert squares.dtype == torch.float32
    assert float(squares.mean()) == pytest.approx(1 - 0.999**2000, rel=1e-3)


@pytest.mark.parametrize("prior", [None, "reasoner-vlm"], ids=["sft", "drift"])
def test_a_run_goes_where_float32_goes(halved, rows, tmp_path, prior):
    config = config_of(halved, rows, prior=prior, steps=12, lr=2e-4, **LOW)
    whole = dataclasses.replace(config, memory="float32")
    low = training.train(config, tmp_path / "low")
    training.train(whole, tmp_path / "whole")
    other = training.train(dataclasses.replace(whole, seed=1), tmp_path / "other")
    ours, theirs, others = (log_of(tmp_path / name) for name in ("low", "whole", "other"))
    assert other.settings["memory"] == "float32" and low.settings["memory"] == "low"
    for a, b in zip(ours, theirs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.02)
    if prior:
        spread = abs(theirs[-1]["rho"] - others[-1]["rho"])
        assert abs(ours[-1]["rho"] - theirs[-1]["rho"]) < max(spread, 0.03 * theirs[-1]["rho"])
    before, after = read(halved / "vlm"), read(tmp_path / "low")
    assert {one.dtype for one in after.values()} == {torch.bfloat16}
    assert low.reached["kept"] == 1.0 and low.reached["cosine"] == pytest.approx(1.0)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    held, of_whole = low.cost["memory"], other.cost["memory"]
    for part in ("weights_bytes", "gradients_bytes"):
        assert held[part] == of_whole[part] / 2
    assert held["optimizer_bytes"] < 0.4 * of_whole["optimizer_bytes"]  # tiny ones stay whole


def test_what_is_saved_is_what_was_trained_and_frozen_tensors_are_untouched(
    qwen, rows, tmp_path, monkeypatch
):
    """From a checkpoint in float32, of which training sees bfloat16."""
    last = {}
    finish = training.finish

    def look(trainer, *args):
        last.update({n: p.detach().clone() for n, p in trainer.model.named_parameters()})
        return finish(trainer, *args)

    monkeypatch.setattr(training, "finish", look)
    training.train(config_of(qwen, rows, **LOW), tmp_path / "out")
    loaded = tf.AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype=torch.float32)
    first = tf.AutoModelForImageTextToText.from_pretrained(qwen / "vlm", dtype=torch.float32)
    freeze(loaded, ("attention", "mlp"))
    before = dict(first.named_parameters())
    for name, param in loaded.named_parameters():
        wanted = last[name].float() if param.requires_grad else before[name]
        assert torch.equal(param, wanted), name


def test_resume_is_bit_for_bit(halved, rows, tmp_path, monkeypatch):
    config = config_of(halved, rows, prior="reasoner-vlm", steps=5, save_every=2, **LOW)
    training.train(config, tmp_path / "straight")
    record = training.DriftMixin.record

    def interrupted(self):
        record(self)
        if self.state.global_step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.DriftMixin, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "cut")
    monkeypatch.setattr(training.DriftMixin, "record", record)
    training.train(config, tmp_path / "cut")
    assert same(read(tmp_path / "straight"), read(tmp_path / "cut"))


def test_low_is_of_one_device_and_of_bfloat16(halved, rows, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="set dtype: bfloat16"):
        parse({"vlm": "a", "data": "b", "memory": "low", "dtype": "float32"}, "here")
    four = {"adapter_rank": 4, "adapter_base": "nf4"}
    with pytest.raises(UserError, match="trains whole weights, .* held in 4 bits"):
        parse({"vlm": "a", "data": "b", "memory": "low", **four}, "here")
    anchored = {"prior": "reasoner-vlm", "reasoner": "c", "anchor": "l2_sp", "anchor_strength": 1.0}
    with pytest.raises(UserError, match="would be lost on the bfloat16 weights"):
        parse({"vlm": "a", "data": "b", "memory": "low", **anchored}, "here")
    monkeypatch.setattr(sharding, "processes", lambda: 2)
    with pytest.raises(UserError, match="memory: low is of one device, and here are 2"):
        training.train(config_of(halved, rows, **LOW), tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_what_fits_is_chosen_alike_with_and_without_a_pull(halved, rows, capsys):
    config = config_of(halved, rows, prior="reasoner-vlm", dtype="bfloat16")
    model = plan.outline(str(halved / "vlm"))
    freeze(model, config.train)
    sizes = memory.sizes(model, config, tokens=50)
    whole, low = (
        memory.estimate(sizes, dataclasses.replace(config, memory=one), 1, False).total
        for one in ("float32", "low")
    )
    bare = dataclasses.replace(config, prior=None)
    unpulled = dataclasses.replace(sizes, pulled=0)
    between = int((whole - 1) / sharding.ROOM)
    assert memory.estimate(unpulled, bare, 1, False).total < between * sharding.ROOM
    for room, wanted in ((None, "float32"), (2 * whole, "float32"), (between, "low")):
        for one, its in ((config, sizes), (bare, unpulled)):
            undecided = dataclasses.replace(one, memory=None)
            assert plan.with_memory(model, its, undecided, room).memory == wanted
            assert ("memory: low, as float32 would take" in capsys.readouterr().out) == (
                wanted == "low"
            )
    assert low < whole
    given = plan.with_memory(model, sizes, config, between)
    assert given.memory == "float32"  # as asked


def test_steps_inside_backward_are_refused(halved, rows, tmp_path):
    model = tf.AutoModelForImageTextToText.from_pretrained(halved / "vlm", dtype=torch.float32)
    arguments = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none"}
    for name in ("adalomo", "galore_adamw_layerwise"):
        with pytest.raises(UserError, match="steps inside backward"):
            training.DriftTrainer(model, tf.TrainingArguments(**arguments, optim=name))
    weight = next(iter(model.parameters()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    weight.register_post_accumulate_grad_hook(lambda param: None)
    trainer = training.DriftTrainer(
        model,
        tf.TrainingArguments(**arguments),
        train_dataset=[{}] * 2,
        optimizers=(optimizer, None),
    )
    with pytest.raises(UserError, match="steps inside backward"):
        trainer.train()
