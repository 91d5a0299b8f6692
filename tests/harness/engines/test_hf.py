"""A batch gives the answers that each of its questions gets alone, whatever the others do."""

import collections
import json
import math
import random
import shutil
from pathlib import Path

import pytest
import tiny_models as tiny
import torch

import tasks
from common.errors import UserError
from harness.checkpoints.preflight import open_checkpoint
from harness.engines import Request, hf, vllm
from harness.engines.hf import HfEngine
from harness.engines.vllm import VllmEngine
from harness.evaluate.run import EvalConfig, run
from harness.runs.folder import read_card
from harness.runs.schema import Image, Question, Sampling

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def lacking(tmp_path_factory) -> Path:
    return tiny.make_vlm(tiny.LACKING, tmp_path_factory.mktemp("lacking") / "model")


@pytest.fixture(scope="module", params=[*tiny.THREE, tiny.LACKING])
def any_family(request, checkpoints, lacking) -> HfEngine:
    name = request.param
    made = HfEngine(open_checkpoint(lacking if name == tiny.LACKING else checkpoints[f"{name}-a"]))
    made.start()
    return made


@pytest.fixture
def engine(checkpoints) -> HfEngine:
    made = HfEngine(open_checkpoint(checkpoints["qwen2_5_vl-a"]))
    made.start()
    return made


def requests(engine, questions, **settings) -> list[Request]:
    sampling = Sampling(**{"max_tokens": 16, **settings})
    return [
        Request(question=q, prompt=engine.render(q), sampling=sampling, key=q.id) for q in questions
    ]


def said(engine, wanted: list[Request]) -> dict[str, tuple]:
    return {
        r.key: (r.text, r.finish, r.tokens_in, r.tokens_image, r.tokens_out, r.reason)
        for r in engine.generate(wanted)
    }


def mixed(count: int) -> list[Question]:
    """Questions of all lengths, with none to two pictures of all shapes."""
    chance = random.Random(0)
    questions = []
    for number in range(count):
        pictures = tuple(
            Image("", ".png", tiny.picture(10 * number + n, (chance.randint(28, 80), 50)))
            for n in range(chance.choice([0, 1, 1, 2]))
        )
        prompt = "<image>" * len(pictures) + "w" * chance.randint(1, 60) + "?"
        questions.append(Question(task="pocket", id=str(number), prompt=prompt, images=pictures))
    return questions


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_answers_as_each_question_alone(any_family, temperature, monkeypatch):
    wanted = requests(any_family, mixed(12), temperature=temperature)
    widths = spied(any_family, monkeypatch)
    together = said(any_family, wanted)
    assert max(widths) > 4
    monkeypatch.setattr(any_family, "_rows", 1)
    alone = said(any_family, wanted)
    assert together == alone
    assert len({text for text, *_ in alone.values()}) > 2


def spied(engine, monkeypatch, fail=lambda rows: None) -> list[int]:
    """Return a list that gets the rows of each batch; `fail` may raise."""
    widths, generate = [], engine._model.generate

    def spy(**inputs):
        widths.append(len(inputs["input_ids"]))
        fail(len(inputs["input_ids"]))
        return generate(**inputs)

    monkeypatch.setattr(engine._model, "generate", spy)
    return widths


def test_too_little_memory_halves_the_batch_for_good(engine, monkeypatch):
    def fail(rows):
        if rows > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    wanted = requests(engine, [tiny.question(str(n), f"what is {n}?") for n in range(20)])
    expected = said(engine, wanted)
    widths = spied(engine, monkeypatch, fail)
    assert said(engine, wanted) == expected
    assert widths[:4] == [20, 10, 5, 2]
    assert said(engine, wanted) == expected
    assert max(widths[-10:]) <= 2


def test_memory_that_is_known_to_be_short_is_not_tried(engine, monkeypatch):
    wanted = requests(engine, [tiny.question(str(n), f"what is {n}?") for n in range(8)])
    expected = said(engine, wanted)
    widths = spied(engine, monkeypatch)
    longest = max(tokens_in for _, _, tokens_in, *_ in expected.values()) + 16
    of_a_token = 2 * 4 * 2 * 1 * 32  # keys and values, float32, two layers, one head of 32
    monkeypatch.setattr(hf, "_free_bytes", lambda device: 2 * 3 * longest * of_a_token)
    assert said(engine, wanted) == expected
    assert widths == [2, 2, 2, 2]


def test_one_bad_row_is_a_refusal_and_not_the_batchs(engine):
    good = [tiny.question(str(n), "<image>what?", 1) for n in range(5)]
    # Its text holds the family's own placeholder, for which there is no picture.
    bad = tiny.question("bad", f"<image>what is {tiny.mark('qwen2_5_vl')}?", 1)
    long = tiny.question("long", "<image>" + "x" * tiny.CONTEXT, 1)
    alone = said(engine, requests(engine, good))
    found = said(engine, requests(engine, [*good[:2], bad, *good[2:], long]))
    assert {key: found[key] for key in alone} == alone
    assert found["bad"][1] == found["long"][1] == "error"
    assert "context" in found["long"][-1]


def test_what_fails_for_everybody_is_not_the_questions_fault(engine, monkeypatch):
    def fail(rows):
        raise RuntimeError("device-side assert")

    spied(engine, monkeypatch, fail)
    wanted = requests(engine, [tiny.question(str(n)) for n in range(8)])
    with pytest.raises(UserError, match="transformers fails: device-side assert"):
        said(engine, wanted)


def test_rows_that_would_change_each_other_are_asked_alone(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["llava_next-text"], tmp_path / "stretching")
    config = json.loads((folder / "config.json").read_text())
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps({**config, "rope_parameters": rope}))
    engine = HfEngine(open_checkpoint(folder))
    engine.start()
    assert engine._rows == 1


def test_draws_follow_the_probabilities():
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 4000
    scores = chances.log().expand(rows, 4)
    settings = [
        ({"temperature": 1.0}, chances),
        ({"temperature": 0.5}, chances**2 / (chances**2).sum()),
        ({"temperature": 1.0, "top_k": 2}, torch.tensor([0.625, 0.375, 0, 0])),
        ({"temperature": 1.0, "top_p": 0.9}, torch.tensor([0.5, 0.3, 0.15, 0]) / 0.95),
    ]
    for setting, expected in settings:
        draw = hf._Draw(Sampling(**setting), list(range(rows)), "cpu")
        counts = collections.Counter(draw(None, scores).argmax(1).tolist())
        for token, chance in enumerate(expected.tolist()):
            deviation = math.sqrt(rows * chance * (1 - chance))
            assert abs(counts[token] - rows * chance) <= 4 * deviation


@pytest.mark.parametrize("kind", [HfEngine, VllmEngine])
def test_generation_defaults_of_a_checkpoint_do_not_leak(kind, checkpoints, tmp_path):
    said_by = []
    for name, defaults in {
        "plain": {},
        "odd": {
            "repetition_penalty": 9.0,
            "do_sample": True,
            "temperature": 5.0,
            "top_k": 1000,
            "min_p": 0.5,
            "max_new_tokens": 3,
        },
    }.items():
        folder = shutil.copytree(checkpoints["qwen2_5_vl-a"], tmp_path / name)
        ends = {"eos_token_id": 3, "pad_token_id": 0}
        (folder / "generation_config.json").write_text(json.dumps({**ends, **defaults}))
        engine = kind(open_checkpoint(folder))
        said_by.append(said(engine, requests(engine, mixed(6))))
        engine.close()
    assert said_by[0] == said_by[1]
    assert max(tokens_out for *_, tokens_out, _ in said_by[0].values()) > 3


def test_a_presence_penalty_falls_on_what_the_answer_has_and_not_on_the_prompt():
    import torch

    penalise = hf._Presence(1.5, width=3)
    ids = torch.tensor([[1, 2, 3, 5, 5], [1, 2, 3, 4, 0]])
    scores = penalise(ids, torch.zeros(2, 6))
    assert scores.tolist() == [[0, 0, 0, 0, 0, -1.5], [-1.5, 0, 0, 0, -1.5, 0]]


def test_under_a_large_penalty_no_token_comes_twice(checkpoints):
    engine = HfEngine(open_checkpoint(checkpoints["llava_next-a"]))
    wanted = requests(engine, mixed(3), presence_penalty=1e4)
    texts = [text for text, *_ in said(engine, wanted).values()]
    assert all(len({*text}) == len(text) for text in texts) and any(texts)


def test_a_family_that_vllm_lacks_is_answered_by_transformers_and_it_is_said(
    lacking, world, tmp_path, capsys
):
    assert not vllm.knows("Idefics2ForConditionalGeneration")
    opened = open_checkpoint(lacking)
    run([opened], [tasks.load("pocket")], tmp_path / "run", EvalConfig(data=world, max_tokens=8))
    sentence = "vLLM does not have Idefics2ForConditionalGeneration: transformers answers"
    assert sum(sentence in line for line in capsys.readouterr().err.splitlines()) == 1
    card = read_card(tmp_path / "run")
    assert card.engine == "hf"
    assert sentence in card.notes[0]


def test_a_chat_template_of_ones_choice_makes_the_prompts(checkpoints, tmp_path):
    (tmp_path / "template").write_text("{{ messages[0]['content'][0]['text'] }} GO")
    opened = open_checkpoint(checkpoints["qwen2_5_vl-a"], template=tmp_path / "template")
    assert HfEngine(opened).render(tiny.question("1", "what?")) == "what? GO"


def test_quantised_weights_are_left_to_vllm(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["qwen2_5_vl-text"], tmp_path / "packed")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    opened = open_checkpoint(folder)
    with pytest.raises(UserError, match=r"is quantised \(awq\).*use --engine vllm"):
        HfEngine(opened).start()
