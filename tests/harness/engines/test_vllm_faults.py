"""vLLM that fails in the middle costs at most the questions that make it fail."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import tiny_models as tiny

from common.errors import UserError
from harness.checkpoints.preflight import open_checkpoint
from harness.engines import Request, rendering
from harness.engines.vllm import MOST_FAILURES, Room, VllmEngine
from harness.runs import log
from harness.runs.schema import Sampling

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def engine(checkpoints):
    made = VllmEngine(open_checkpoint(checkpoints["qwen2_5_vl-a"]), Room(context=64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "LONGEST_CONTEXT", 32)  # what the user allows stands over it
        yield made
    made.close()


@pytest.fixture
def poisonous(engine, monkeypatch):
    """vLLM runs out of memory while it holds a question about poison."""
    engine.start()
    from vllm.v1.engine.llm_engine import LLMEngine

    held = set()
    add, step = LLMEngine.add_request, LLMEngine.step

    def add_poison(self, name, prompt, params, **rest):
        if "poison" in prompt["prompt"]:
            held.add((id(self), name))
        return add(self, name, prompt, params, **rest)

    def step_or_fail(self):
        if any(owner == id(self) for owner, _ in held):
            raise RuntimeError("out of memory: 3 GiB asked for")
        return step(self)

    monkeypatch.setattr(LLMEngine, "add_request", add_poison)
    monkeypatch.setattr(LLMEngine, "step", step_or_fail)


def requests(engine, prompts):
    sampling = Sampling(max_tokens=4)
    for number, prompt in enumerate(prompts):
        question = tiny.question(str(number), prompt)
        yield Request(
            question=question, prompt=engine.render(question), sampling=sampling, key=str(number)
        )


def test_the_rest_is_answered_when_one_question_makes_it_fail(engine, poisonous, capsys):
    prompts = [f"what is {n}?" for n in range(6)]
    expected = {r.id: r.text for r in engine.generate(requests(engine, prompts))}
    prompts[3] = "drink the poison"
    found = {r.id: r for r in engine.generate(requests(engine, prompts))}
    assert {id: found[id].text for id in "01245"} == {id: expected[id] for id in "01245"}
    assert {found[id].finish for id in "01245"} == {"length"}
    assert (found["3"].finish, found["3"].text) == ("error", "")
    assert "out of memory" in found["3"].reason
    assert not found["3"].lasting
    assert "is started again" in capsys.readouterr().err


def test_it_stops_when_every_question_makes_it_fail(engine, poisonous):
    with pytest.raises(UserError, match="out of memory.*--context"):
        list(engine.generate(requests(engine, ["poison"] * (MOST_FAILURES + 1))))


def test_a_prompt_beyond_the_given_context_is_refused_alone(engine):
    long, short = (r for r in engine.generate(requests(engine, ["x" * 100, "x"])))
    assert (long.finish, long.lasting) == ("error", True)
    assert "64" in long.reason
    assert short.finish == "length"


def test_settings_that_vllm_refuses_end_the_run_and_are_held_against_no_question(engine):
    asked = [
        dataclasses.replace(request, sampling=Sampling(temperature=3.0))
        for request in requests(engine, ["x", "y"])
    ]
    with pytest.raises(
        UserError, match=r"vLLM refuses the sampling: .* must be in \[0, 2\], got 3"
    ):
        list(engine.generate(asked))
    assert len(list(engine.generate(requests(engine, ["x", "y"])))) == 2


STARVED = """
import sys
from driftbench import __main__ as cli
from harness.engines import vllm

vllm.CACHE = (1 << 50, 1 << 50)
sys.exit(cli.run(sys.argv[1:]))
"""


def test_too_little_memory_at_the_start_says_what_to_lower(tmp_path, checkpoints, world):
    words = ["eval", str(checkpoints["qwen2_5_vl-text"]), "--tasks", "pocket", "--data", str(world)]
    words += ["--engine", "vllm", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", STARVED, *words], capture_output=True, text=True)
    sentence = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert "vLLM does not start with Qwen2ForCausalLM: " in sentence
    assert "memory" in sentence.split("Qwen2ForCausalLM: ")[1].split(";")[0]
    assert sentence.endswith(
        "ask for less with --context or --max-pixels, or give it more GPUs with --tensor-parallel"
    )
    assert not log.read_responses(tmp_path / "run")


def test_what_vllm_cannot_run_names_who_may(tmp_path, checkpoints, world):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints["qwen2_5_vl-text"], broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 3}))
    words = ["eval", str(broken), "--tasks", "pocket", "--data", str(world), "--engine", "vllm"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "driftbench", *words, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("; try --engine hf, which is slower")
