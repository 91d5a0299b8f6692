"""vLLM and transformers give the same answers, token for token; new weights are really new."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models as tiny

import tasks
from common.errors import UserError
from harness.checkpoints.preflight import open_checkpoint
from harness.engines import Request
from harness.engines.hf import HfEngine
from harness.engines.vllm import VllmEngine
from harness.evaluate.run import EvalConfig, run
from harness.runs import log
from harness.runs.schema import Image, Question, Sampling

# Third-party packages, imported here for the first time, warn about each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory, checkpoints, world) -> dict[str, dict[str, list]]:
    """Engine → checkpoint → responses.

    One vLLM engine a family, filled with a's and then b's weights, all in this process; then a
    fresh one for each b.
    """
    out = tmp_path_factory.mktemp("runs")
    opened = [open_checkpoint(path) for path in checkpoints.values()]
    task = [tasks.load("pocket")]
    run(opened, task, out / "vllm", EvalConfig(data=world), engine="vllm")
    run(opened, task, out / "hf", EvalConfig(data=world), engine="hf")
    for family in tiny.THREE:
        fresh = open_checkpoint(checkpoints[f"{family}-b"])
        run([fresh], task, out / "fresh" / fresh.name, EvalConfig(data=world), engine="vllm")
    return {
        engine.name: {folder.name: _said(folder) for folder in engine.iterdir() if folder.is_dir()}
        for engine in out.iterdir()
    }


def _said(folder: Path) -> list:
    responses = sorted(log.read_responses(folder), key=lambda r: r.id)
    return [(r.id, r.text, r.finish, r.tokens_in, r.tokens_image, r.tokens_out) for r in responses]


@pytest.mark.parametrize("family", tiny.THREE)
@pytest.mark.parametrize("which", ["a", "b", "text"])
def test_vllm_and_transformers_agree_token_for_token(answers, family, which):
    name = f"{family}-{which}"
    assert answers["vllm"][name] == answers["hf"][name]
    assert len(answers["vllm"][name]) == (2 if which == "text" else 7)


@pytest.mark.parametrize("family", tiny.THREE)
def test_swapped_weights_answer_like_a_fresh_engine(answers, family):
    swapped = answers["vllm"][f"{family}-b"]
    assert swapped == answers["fresh"][f"{family}-b"]
    assert swapped != answers["vllm"][f"{family}-a"]


@pytest.mark.parametrize("family", tiny.THREE)
def test_answers_depend_on_the_picture(answers, family):
    texts = {id: text for id, text, *_ in answers["vllm"][f"{family}-a"]}
    assert len({texts["q0"], texts["q1"], texts["q2"]}) == 3


@pytest.fixture(scope="module", params=[VllmEngine, HfEngine])
def engine(request, checkpoints, answers):
    """One engine over a Qwen2.5-VL, after those of `answers` are closed."""
    made = request.param(open_checkpoint(checkpoints["qwen2_5_vl-a"]))
    yield made
    made.close()


def requests(engine, questions: list, samples: int = 1, **settings) -> list[Request]:
    sampling = Sampling(**{"max_tokens": 12, **settings})
    return [
        Request(
            question=question,
            prompt=engine.render(question),
            sampling=sampling,
            sample=sample,
            key=f"{question.id}/{sample}",
        )
        for question in questions
        for sample in range(samples)
    ]


def said(engine, wanted: list[Request]) -> dict[str, str]:
    return {response.key: response.text for response in engine.generate(wanted)}


def test_what_cannot_be_answered_is_an_error_with_its_reason_and_holds_up_nothing(engine):
    broken = Question(
        task="pocket",
        id="broken",
        prompt="<image>what?",
        images=(Image("0", ".png", b"no picture"),),
    )
    long = tiny.question("long", "x" * tiny.CONTEXT)
    questions = [tiny.question("1"), broken, tiny.question("2"), long, tiny.question("3")]
    found = {response.id: response for response in engine.generate(requests(engine, questions))}
    assert {id for id, response in found.items() if response.finish == "error"} == {
        "broken",
        "long",
    }
    assert "a picture cannot be decoded" in found["broken"].reason
    assert "context" in found["long"].reason
    for id in ("broken", "long"):
        assert (found[id].text, found[id].tokens_out, found[id].lasting) == ("", 0, True)


def test_an_answer_ends_at_the_context(engine):
    question = tiny.question("1", "x" * (tiny.CONTEXT - 40))
    (response,) = engine.generate(requests(engine, [question], max_tokens=100))
    assert response.tokens_in + response.tokens_out <= tiny.CONTEXT
    assert response.finish in ("length", "stop")


def test_drawn_answers_differ_by_sample_and_repeat_in_any_order(engine):
    questions = [tiny.question(str(n), "<image>" * (n % 2) + "what?", n % 2) for n in range(4)]
    wanted = requests(engine, questions, samples=3, temperature=1.0)
    first = said(engine, wanted)
    assert said(engine, wanted[::-1]) == first
    assert said(engine, wanted[5:6]) == {wanted[5].key: first[wanted[5].key]}
    assert len(set(first.values())) == 12
    other = said(engine, requests(engine, questions, samples=3, temperature=1.0, seed=1))
    assert all(first[key] != text for key, text in other.items())


def test_an_engine_left_in_the_middle_can_be_asked_again(engine):
    wanted = requests(engine, [tiny.question(str(n), f"what is {n}?") for n in range(5)])
    whole = said(engine, wanted)
    begun = engine.generate(wanted)
    next(begun)
    begun.close()
    assert said(engine, wanted) == whole


@pytest.mark.parametrize("engine", ["hf", "vllm"])
def test_a_finished_run_is_recognised_without_loading_anything(
    tmp_path, checkpoints, world, engine, driftbench
):
    data = shutil.copytree(world, tmp_path / "world")
    (data / "images" / "broken.png").write_bytes(b"no picture")
    row = {"answer": "7", "group": "perception"}
    unanswerable = [
        {**row, "id": "broken", "question": "<image>what?", "images": ["images/broken.png"]},
        {**row, "id": "long", "question": "x" * tiny.CONTEXT, "images": []},
    ]
    with (data / "test.jsonl").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in unanswerable)
    words = f"eval {checkpoints['qwen2_5_vl-a']} --tasks pocket --data {data} --out"
    words = [*words.split(), str(tmp_path / "run")]
    driftbench(*words, "--engine", engine)
    assert {r.id for r in log.errors(tmp_path / "run")} == {"broken", "long"}
    code = f"""
import sys
from driftbench import __main__ as cli
assert cli.run({words!r}) == 0
print(sorted({{"torch", "transformers", "vllm", "PIL"}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert result.stderr == ""


def test_missing_weights_are_not_made_up(checkpoints, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(checkpoints["qwen2_5_vl-text"], tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    for kind in (HfEngine, VllmEngine):
        with pytest.raises(UserError, match=r"model\.norm\.weight"):
            kind(open_checkpoint(broken)).start()
