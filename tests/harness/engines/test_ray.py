"""Engines in a local Ray: the same answers as vLLM in this process, whoever gives them."""

from pathlib import Path

import pytest

import tasks
from common.errors import UserError
from harness.checkpoints.preflight import open_checkpoint
from harness.engines.ray import RayEngine
from harness.evaluate.run import EvalConfig, run
from harness.runs import log

ray = pytest.importorskip("ray", reason="ray is not installed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def two(checkpoint):
    return RayEngine(checkpoint, workers=2)


def said(folder: Path) -> dict[str, tuple]:
    responses = log.read_responses(folder)
    return {r.id: (r.key, r.text, r.finish, r.tokens_in, r.tokens_out) for r in responses}


@pytest.fixture(scope="module")
def in_process(tmp_path_factory, checkpoints, world) -> Path:
    out = tmp_path_factory.mktemp("in_process")
    opened = [open_checkpoint(checkpoints[f"qwen2_5_vl-{which}"]) for which in "ab"]
    run(opened, [tasks.load("pocket")], out, EvalConfig(data=world), engine="vllm")
    return out


def test_workers_answer_like_vllm_in_process(tmp_path, checkpoints, world, in_process):
    opened = [open_checkpoint(checkpoints[f"qwen2_5_vl-{which}"]) for which in "ab"]
    cards = run(opened, [tasks.load("pocket")], tmp_path, EvalConfig(data=world), engine=two)
    assert [card.device for card in cards] == ["ray: 2 x cpu"] * 2
    for card in cards:
        assert said(tmp_path / card.name) == said(in_process / card.name)
        assert len(said(tmp_path / card.name)) == 7


def test_a_run_begun_in_a_cluster_goes_on_in_this_process(tmp_path, checkpoints, world):
    one = [open_checkpoint(checkpoints["qwen2_5_vl-a"])]
    run(one, [tasks.load("pocket")], tmp_path / "vlm", EvalConfig(data=world, limit=3), engine=two)
    kept = said(tmp_path / "vlm")
    run(one, [tasks.load("pocket")], tmp_path / "vlm", EvalConfig(data=world), engine="vllm")
    lines = (tmp_path / "vlm" / "responses.jsonl").read_bytes().count(b"\n")
    assert (len(kept), lines) == (3, 7)


def test_what_a_lost_worker_had_is_asked_of_the_other(tmp_path, checkpoints, world, in_process):

    class Lost(RayEngine):
        def _round(self, feeder):
            for number, response in enumerate(super()._round(feeder)):
                if number == 0 and len(self._workers) == 2:
                    ray.kill(self._workers[0])
                yield response

    one = [open_checkpoint(checkpoints["qwen2_5_vl-a"])]
    run(one, [tasks.load("pocket")], tmp_path / "qwen2_5_vl-a", EvalConfig(data=world),
        engine=lambda checkpoint: Lost(checkpoint, workers=2))  # fmt: skip
    assert said(tmp_path / "qwen2_5_vl-a") == said(in_process / "qwen2_5_vl-a")


def test_trouble_in_a_worker_is_told_in_its_own_words(tmp_path, checkpoints):
    one = open_checkpoint(checkpoints["qwen2_5_vl-a"])
    engine = RayEngine(one, workers=1)
    engine.version = "0.1"
    with pytest.raises(UserError, match=r"a node of Ray has vLLM .*, not 0\.1"):
        engine.start()
    engine.close()
