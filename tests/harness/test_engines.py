"""vLLM and transformers give the same answers, token for token; new weights are really new."""

from pathlib import Path

import pytest
import tiny

import tasks
from harness import records
from harness.checkpoint import open_checkpoint
from harness.run import run

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
    run(opened, task, out / "vllm", data=world, engine="vllm")
    run(opened, task, out / "hf", data=world, engine="hf")
    for family in tiny.FAMILIES:
        fresh = open_checkpoint(checkpoints[f"{family}-b"])
        run([fresh], task, out / "fresh" / fresh.name, data=world, engine="vllm")
    return {
        engine.name: {folder.name: _said(folder) for folder in engine.iterdir() if folder.is_dir()}
        for engine in out.iterdir()
    }


def _said(folder: Path) -> list:
    responses = sorted(records.read_responses(folder), key=lambda r: r.id)
    return [(r.id, r.text, r.finish, r.tokens_in, r.tokens_image, r.tokens_out) for r in responses]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("which", ["a", "b", "text"])
def test_vllm_and_transformers_agree_token_for_token(answers, family, which):
    name = f"{family}-{which}"
    assert answers["vllm"][name] == answers["hf"][name]
    assert len(answers["vllm"][name]) == (2 if which == "text" else 7)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_swapped_weights_answer_like_a_fresh_engine(answers, family):
    swapped = answers["vllm"][f"{family}-b"]
    assert swapped == answers["fresh"][f"{family}-b"]
    assert swapped != answers["vllm"][f"{family}-a"]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_answers_depend_on_the_picture(answers, family):
    texts = {id: text for id, text, *_ in answers["vllm"][f"{family}-a"]}
    assert len({texts["q0"], texts["q1"], texts["q2"]}) == 3
