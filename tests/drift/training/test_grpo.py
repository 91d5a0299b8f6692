"""GRPO through TRL, where it is installed."""

import dataclasses
import importlib.util
import json

import pytest
import torch
import transformers as tf
from tiny_models import read, write_rows

from common.errors import UserError
from drift.families import family_of
from drift.training import trainer as training
from drift.training.config import TrainConfig
from drift.training.encode import KINDS, encode
from drift.training.rl.sampling import left_padded, sample
from drift.training.rows import read_rows
from drift.training.samples import prompt
from tasks import rewards

HAS_TRL = importlib.util.find_spec("trl") is not None
needs_trl = pytest.mark.skipif(not HAS_TRL, reason="TRL is not installed: driftbench[rl]")
UNTRIED = ("glm4v", "glm46v", "glm4v_moe", "mistral3")
PARTS = ("attention", "mlp", "norm", "embedding", "head")


def config_of(vlm, rows, **fields):
    return TrainConfig(
        **{
            "vlm": str(vlm),
            "data": str(rows),
            "dtype": "float32",
            "memory": "float32",
            "lr_schedule": "constant",
            "lr": 2e-3,
            "steps": 2,
            "train": PARTS,
        }
        | fields
    )


def grpo_of(vlm, rows, **fields):
    given = {"reward": "word", "questions": 4, "batch": 32, "answer_tokens": 4}
    return config_of(vlm, rows, **(given | fields))


def log_of(folder):
    return [json.loads(line) for line in (folder / "drift_log.jsonl").read_text().splitlines()]


# Sampling


def test_answers_are_the_likeliest_of_a_whole_forward(models, kind, rows):
    """For prompts of unequal lengths with no, one and two pictures, padded and cached or not."""
    if kind in UNTRIED:
        pytest.skip(f"GRPO has not been made to work with {kind}")
    folder = models / kind / "vlm"
    model = tf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    per_row = family_of(folder).pixels_per_row
    found = [prompt(encode(row, processor, frozenset([3]), per_row)) for row in read_rows(rows)[:6]]
    assert len({len(one["input_ids"]) for one in found}) > 1
    banned = [model.config.image_token_id]
    for part in (found, found[:1]):  # the first alone has no picture
        batch = left_padded(part, 0, per_row)
        made = sample(model, batch, 2, tokens=6, temperature=0, ends=[3], banned=banned)
        assert made[::2] == made[1::2]
        for one, ids in zip(part, made[::2], strict=True):
            alone = left_padded([one], 0, per_row)
            for key in ("input_ids", "attention_mask", *KINDS):
                if key in alone:
                    own = {"input_ids": torch.tensor([ids])}
                    more = own.get(key, torch.full((1, len(ids)), int(key == "attention_mask")))
                    alone[key] = torch.cat([alone[key], more], 1)
            with torch.no_grad():
                logits = model(**alone).logits[0, -len(ids) - 1 : -1]
            logits[:, banned] = -torch.inf
            said = logits.gather(1, torch.tensor(ids)[:, None])[:, 0]
            assert said == pytest.approx(logits.amax(-1), abs=1e-3)


def test_answers_differ_and_end(models, qwen, rows):
    model = tf.AutoModelForImageTextToText.from_pretrained(qwen / "vlm", dtype=torch.float32)
    processor = tf.AutoProcessor.from_pretrained(qwen / "vlm")
    found = [prompt(encode(row, processor, frozenset([3]))) for row in read_rows(rows)[:2]]
    ends = list(range(10, 60))
    torch.manual_seed(0)
    made = sample(
        model, left_padded(found, 0, False), 50, tokens=5, temperature=1.0, ends=ends, banned=[7]
    )
    assert len(made) == 100 and len(set(map(tuple, made))) > 50
    assert not any(7 in ids for ids in made)
    for ids in made:
        assert not set(ids[:-1]) & set(ends)
        assert len(ids) == 5 or ids[-1] in ends
    assert {len(ids) for ids in made} >= {1, 2, 3}


def test_a_prompt_is_what_the_harness_asks_with(models, family, tmp_path):
    from PIL import Image

    from harness.checkpoints.preflight import open_checkpoint
    from harness.engines.rendering import adds_special_tokens, load_processor, render
    from harness.runs.schema import Question

    folder = models / family / "vlm"
    Image.new("RGB", (56, 28), (90, 9, 200)).save(tmp_path / "a.png")
    row = {"question": "what <image> is this ?", "answer": "7", "images": ["a.png"]}
    (one,) = read_rows(write_rows(tmp_path, row))
    checkpoint = open_checkpoint(folder)
    processor = load_processor(checkpoint)
    asked = Question(
        task="pocket", id="0", prompt=row["question"], images=(str(tmp_path / "a.png"),), row=row
    )
    text = render(processor, checkpoint, asked)
    theirs = processor(
        text=[text],
        images=[[Image.open(tmp_path / "a.png")]],
        add_special_tokens=adds_special_tokens(processor, checkpoint, text),
        return_tensors="pt",
    )
    per_row = family_of(folder).pixels_per_row
    ours = left_padded([prompt(encode(one, processor, frozenset([3]), per_row))], 0, per_row)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


# Training


@pytest.fixture(scope="module")
def guesser(models, tmp_path_factory):
    """A model that answers with one digit and the end, any of the ten, and rows whose answer is 7.

    The folder holds `vlm` and `rows.jsonl`.
    """
    folder = tmp_path_factory.mktemp("guesser")
    taught = [{"question": f"say {i // 10} ?", "answer": str(i % 10)} for i in range(80)]
    config = config_of(
        models / "qwen2_5_vl" / "vlm", write_rows(folder, *taught), steps=60, batch=16, lr=5e-3
    )
    training.train(config, folder / "vlm")
    write_rows(folder, *[{"question": f"say {i} ?", "answer": "7"} for i in range(8)])
    return folder


@needs_trl
def test_the_reward_rises(guesser, tmp_path):
    config = grpo_of(guesser / "vlm", guesser / "rows.jsonl", steps=40)
    made = training.train(config, tmp_path / "out", rule=rewards.word)
    log = log_of(tmp_path / "out")
    before, after = (sum(line["reward"] for line in part) / 5 for part in (log[:5], log[-5:]))
    assert before < 0.3 and after > 0.9
    assert log[-1]["flat_groups"] > log[0]["flat_groups"]
    assert (made.method, made.settings["reward"]) == ("grpo", "word")
    assert [one.role for one in made.parents] == ["vlm"]
    moved, first = read(tmp_path / "out"), read(guesser / "vlm")
    assert any(not torch.equal(moved[name], first[name]) for name in first)
    assert moved.keys() == first.keys()
    assert not (tmp_path / "out" / "README.md").exists()


@needs_trl
def test_a_step_is_that_of_the_equations(guesser, tmp_path, monkeypatch):
    """Advantages within groups, the mean over all tokens; and what it cost, counted by hand."""
    from drift.training.rl.trainer import GroupTrainer

    seen = []
    judge = GroupTrainer.judge

    def watched(self, prompts, completion_ids, **more):
        rewards = judge(self, prompts, completion_ids, **more)
        seen.append((list(self._at_hand), completion_ids, rewards))
        return rewards

    monkeypatch.setattr(GroupTrainer, "judge", watched)
    config = grpo_of(guesser / "vlm", guesser / "rows.jsonl", steps=1, seed=3)
    made = training.train(config, tmp_path / "out", rule=rewards.word)
    ((rows, answers, gained),) = seen
    assert len(rows) == 32 and {rows.count(row) for row in rows} == {8}

    model = tf.AutoModelForImageTextToText.from_pretrained(guesser / "vlm", dtype=torch.float32)
    training.freeze(model, PARTS)
    processor = tf.AutoProcessor.from_pretrained(guesser / "vlm")
    asked = read_rows(guesser / "rows.jsonl")
    prompts = [prompt(encode(row, processor, frozenset([3])))["input_ids"] for row in asked]
    grouped = torch.tensor(gained).view(4, 8)
    spread = grouped.std(-1, keepdim=True)
    assert (spread > 0).any()
    advantages = ((grouped - grouped.mean(-1, keepdim=True)) / (spread + 1e-4)).flatten()
    loss = torch.tensor(0.0)
    for row, answer, advantage in zip(rows, answers, advantages, strict=True):
        ids = torch.cat([prompts[row], torch.tensor(answer)])
        said = model(input_ids=ids[None]).logits[0, -len(answer) - 1 : -1].log_softmax(-1)
        loss = loss - advantage * said.gather(1, torch.tensor(answer)[:, None]).sum()
    tokens = sum(map(len, answers))
    (loss / tokens).backward()
    grads = [param.grad for param in model.parameters() if param.grad is not None]
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    (line,) = log_of(tmp_path / "out")
    assert line["grad_norm"] == pytest.approx(float(norm), rel=1e-3)
    assert line["reward"] == pytest.approx(float(grouped.mean()))
    assert line["flat_groups"] == float((spread == 0).float().mean())
    assert (line["sampled_tokens"], line["answer_tokens"]) == (tokens, tokens / 32)
    lengths = [(len(prompts[row]), len(answer)) for row, answer in zip(rows, answers, strict=True)]
    assert line["tokens"] == sum(map(sum, lengths))

    text = model.config.get_text_config()
    matrices = sum(
        param.numel()
        for name, param in model.named_parameters()
        if param.ndim > 1 and "visual" not in name and "embed_tokens" not in name
    )
    attention = 4 * text.hidden_size * text.num_hidden_layers
    trained = 6 * matrices * line["tokens"] + 3 * attention * sum((a + b) ** 2 for a, b in lengths)
    fresh = 2 * matrices * (sum(a for a, _ in lengths[::8]) + tokens) + attention * (
        sum(a * a for a, _ in lengths[::8]) + sum(a * b + b * (b + 1) / 2 for a, b in lengths)
    )
    assert line["flops"] == pytest.approx(trained + fresh, rel=1e-6)
    assert made.cost is not None and made.cost["sampled_tokens"] == tokens


def timeless(line):
    return {name: value for name, value in line.items() if "seconds" not in name}


def even(truth, text):
    """Whether the numbers of an answer's letters add up to an even one."""
    return truth == text or sum(map(ord, text)) % 2 == 0


@needs_trl
@pytest.mark.parametrize("start", ["plain", "pictures"])
def test_micro_batches_do_not_change_the_step(models, rows, guesser, tmp_path, start):
    places = guesser / "vlm", guesser / "rows.jsonl"
    vlm, data = places if start == "plain" else (models / "idefics3" / "vlm", rows)
    lines = []
    for batch in (32, 8):
        config = grpo_of(vlm, data, steps=1, batch=batch, answer_tokens=40)
        training.train(config, tmp_path / f"{batch}", rule=even)
        lines += log_of(tmp_path / f"{batch}")
    a, b = lines
    assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    assert a["grad_norm"] > 0 and 0 < a["reward"] < 1
    for name in ("grad_norm", "loss"):
        del a[name], b[name]
    assert timeless(a) == timeless(b)


@needs_trl
def test_resume_is_bit_for_bit(guesser, tmp_path, monkeypatch):
    config = grpo_of(guesser / "vlm", guesser / "rows.jsonl", steps=5, save_every=2, beta=0.1)
    training.train(config, tmp_path / "straight", rule=rewards.word)
    record = training.DriftMixin.record

    def interrupted(self):
        record(self)
        if self.state.global_step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.DriftMixin, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "cut", rule=rewards.word)
    monkeypatch.setattr(training.DriftMixin, "record", record)
    training.train(config, tmp_path / "cut", rule=rewards.word)
    a, b = read(tmp_path / "straight"), read(tmp_path / "cut")
    assert all(torch.equal(a[name], b[name]) for name in a)
    for one, other in zip(*map(log_of, (tmp_path / "straight", tmp_path / "cut")), strict=True):
        assert timeless(one) == timeless(other)


@needs_trl
def test_divergence_from_the_start_holds_back_and_adapters_learn_too(guesser, tmp_path):
    reached = {}
    for name, more in {
        "free": {},
        "held": {"beta": 5.0},
        "adapters": {"adapter_rank": 4, "train": ("attention", "mlp"), "lr": 1e-2, "beta": 0.01},
    }.items():
        config = grpo_of(guesser / "vlm", guesser / "rows.jsonl", steps=25, **more)
        training.train(config, tmp_path / name, rule=rewards.word)
        log = log_of(tmp_path / name)
        reached[name] = sum(line["reward"] for line in log[-5:]) / 5
    assert reached["held"] < 0.5 < reached["free"]
    assert reached["adapters"] > 0.5
    assert (tmp_path / "adapters" / "adapter_model.safetensors").exists()


def test_a_sampler_gets_the_vlm_with_its_adapters_folded_in(guesser):
    pytest.importorskip("peft")
    from drift.training import adapters

    def fresh():
        return tf.AutoModelForImageTextToText.from_pretrained(guesser / "vlm", dtype=torch.float32)

    model, plain = fresh(), fresh()
    config = config_of(guesser / "vlm", "-", adapter_rank=4, adapter_alpha=8, train=("mlp",))
    adapters.attach(model, config)
    for name, param in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(param)
    wanted = adapters.folded(plain.state_dict(), model.state_dict(), 2.0)
    given = dict(adapters.live_weights(model))
    assert given.keys() == dict(plain.named_parameters()).keys()
    moved = [
        name for name, tensor in given.items() if not torch.equal(tensor, plain.state_dict()[name])
    ]
    assert moved and all(".mlp." in name for name in moved)
    for name, tensor in given.items():
        torch.testing.assert_close(tensor, wanted[name], msg=name)


@needs_trl
def test_a_cut_answer_is_worth_nothing(guesser, tmp_path):
    """One token is never a digit and an end."""
    config = grpo_of(guesser / "vlm", guesser / "rows.jsonl", steps=1, answer_tokens=1)
    training.train(config, tmp_path / "out", rule=lambda truth, text: True)
    (line,) = log_of(tmp_path / "out")
    assert line["truncated"] > 0.9
    assert line["reward"] == pytest.approx(1 - line["truncated"])


# What is off


def test_rows_whose_answer_their_reward_cannot_read_are_named(qwen, tmp_path):
    rows = [{"question": "a", "answer": "7"}, {"question": "b", "answer": "<think> 7"}]
    config = grpo_of(qwen / "vlm", write_rows(tmp_path, *rows))
    with pytest.raises(UserError, match="row 2 of .* its reward cannot read: '<think> 7' .1 of 2"):
        training.train(config, tmp_path / "out", rule=rewards.word)
    write_rows(tmp_path, {"question": "a"})
    with pytest.raises(UserError, match="row 1 of .* has neither"):
        training.train(config, tmp_path / "out", rule=rewards.word)


def test_what_cannot_run_here_is_told_first(qwen, tmp_path, monkeypatch):
    config = grpo_of(qwen / "vlm", tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="give train.*rule="):
        training.train(config, tmp_path / "out")
    config = dataclasses.replace(config, engine="vllm")
    with pytest.raises(UserError, match="engine: vllm samples on the GPU.*set engine: hf"):
        training.train(config, tmp_path / "out", rule=rewards.word)
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    config = dataclasses.replace(config, engine="hf")
    with pytest.raises(UserError, match="needs TRL, which is not installed: pip install"):
        training.train(config, tmp_path / "out", rule=rewards.word)


@needs_trl
def test_the_command_gives_the_rule_of_the_recipe(guesser, tmp_path, capsys):
    from driftbench import __main__

    words = ["train", "pocket_grpo", "--out", str(tmp_path / "out")]
    settings = {
        "vlm": guesser / "vlm", "data": guesser / "rows.jsonl", "steps": 2, "answer_tokens": 4
    }  # fmt: skip
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    assert __main__.run(words) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "made.json").read_text())["method"] == "grpo"


@needs_trl
def test_fewer_rows_than_questions_are_refused(guesser, tmp_path):
    config = grpo_of(guesser / "vlm", guesser / "rows.jsonl", questions=9, batch=72)
    with pytest.raises(UserError, match="has 8 rows, and a step asks 9 questions: set questions"):
        training.train(config, tmp_path / "out", rule=rewards.word)
    assert not list(tmp_path.iterdir())
