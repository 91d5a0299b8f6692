"""A look before a run: what it would ask, counted as the engines count it."""

import re

import pytest
import tiny_models as tiny
from pretend import Pretend
from scripted import Script, evaluate

import tasks
from common.errors import UserError
from harness.checkpoints.preflight import open_checkpoint
from harness.engines import vllm
from harness.engines.hf import HfEngine
from harness.evaluate.config import Shard
from harness.evaluate.run import EvalConfig, plans, run
from harness.runs import log
from harness.runs.folder import read_card
from harness.runs.schema import Sampling


def tree(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(autouse=True)
def no_engine_starts(monkeypatch):
    def start(*_):
        raise AssertionError("an engine starts")

    monkeypatch.setattr(HfEngine, "start", start)
    monkeypatch.setattr(vllm.VllmEngine, "start", start)


@pytest.mark.parametrize("family", tiny.THREE)
@pytest.mark.parametrize("budget", [{}, {"max_pixels": 3136, "min_pixels": 3136}])
def test_tokens_are_those_that_the_engine_counts(
    tmp_path, world, checkpoints, family, budget, monkeypatch
):
    checkpoint = open_checkpoint(checkpoints[f"{family}-a"])
    wanted, before = [tasks.load("pocket")], tree(tmp_path)
    (plan,) = plans(
        [checkpoint], wanted, tmp_path / "vlm", EvalConfig(data=world, **budget), engine="hf"
    )
    assert tree(tmp_path) == before
    monkeypatch.undo()
    run(
        [checkpoint],
        wanted,
        tmp_path / "vlm",
        EvalConfig(data=world, max_tokens=1, **budget),
        engine="hf",
    )
    told = [r.tokens_in for r in log.read_responses(tmp_path / "vlm")]
    (part,) = plan.parts
    assert (part.tokens, part.longest, plan.estimated) == (sum(told), max(told), False)
    assert (part.questions, part.answers, part.there) == (7, 7, 0)


def test_where_the_processor_does_not_tell_it_is_an_estimate(
    tmp_path, world, checkpoints, monkeypatch
):
    checkpoint = open_checkpoint(checkpoints["qwen2_5_vl-a"])
    asked = EvalConfig(data=world)
    wanted, out = [tasks.load("pocket")], tmp_path / "vlm"
    (exact,) = plans([checkpoint], wanted, out, asked, engine="hf")
    import transformers

    monkeypatch.delattr(transformers.Qwen2_5_VLProcessor, "_get_num_multimodal_tokens")
    (plan,) = plans([checkpoint], wanted, out, asked, engine="hf")
    assert (plan.estimated, plan.parts) == (True, exact.parts)
    from harness.evaluate import dry_run as room

    monkeypatch.setattr(room, "SAMPLE", 1)
    (plan,) = plans([checkpoint], wanted, out, asked, engine="hf")
    # The first picture, enlarged to 3 x 2 tokens, stands for all 6.
    assert (plan.estimated, plan.parts[0].tokens_image) == (True, 36)


def test_what_is_there_and_how_fast_it_went(tmp_path, world, driftbench):
    drawn = {"sampling": Sampling(temperature=1.0, n=2)}
    with Pretend() as pretend:
        words = f"eval vlm --tasks pocket --data {world} --temperature 1 --n 2"
        driftbench(words, "--endpoint", pretend.url, "--out", tmp_path / "a")
        driftbench(words, "--endpoint", pretend.url, "--out", tmp_path / "b", "--shard 1/2")
        before, asked = tree(tmp_path), len(pretend.bodies)
        from harness.commands.serve_check import at_endpoints

        found, maker = at_endpoints(["vlm"], [pretend.url], None, None, 10.0)
        settings = EvalConfig(data=world, **drawn)
        (plan,) = plans(found, [tasks.load("pocket")], tmp_path / "b", settings, engine=maker)
        (other,) = plans(found, [tasks.load("pocket")], tmp_path / "c", settings, engine=maker)
    assert (tree(tmp_path), len(pretend.bodies)) == (before, asked)
    (part,) = plan.parts
    assert (part.answers, part.there, part.tokens) == (14, 8, None)
    card = read_card(tmp_path / "b")
    assert plan.pace.run == tmp_path / "b"
    assert plan.pace.tokens_per_second == pytest.approx(8 / card.seconds)  # a token an answer
    assert plan.pace.seconds == pytest.approx(6 * card.seconds / 8)
    longer = max((tmp_path / "a", tmp_path / "b"), key=lambda run: read_card(run).seconds)
    assert other.pace.run == longer


def test_the_command_prints_it_and_writes_nothing(tmp_path, world, checkpoints, driftbench):
    words = f"--tasks pocket --data {world} --engine hf --out {tmp_path / 'vlm'} --dry-run"
    printed = driftbench("eval", checkpoints["qwen2_5_vl-a"], words).out.splitlines()
    assert printed[1].split()[:6] == ["vlm", "pocket", "7", "7", "0", "7"]
    assert re.fullmatch(r"vlm: no run beside it by hf .* on this device tells .*", printed[2])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_run_is_refused_before_too(tmp_path, world):
    evaluate(tmp_path / "vlm", world, Script(), shard=Shard(1, 2))
    from scripted import checkpoint

    with pytest.raises(UserError, match="holds another run"):
        plans([checkpoint(fingerprint="g")], [tasks.load("pocket")], tmp_path / "vlm",
              EvalConfig(data=world), engine=Script())  # fmt: skip
