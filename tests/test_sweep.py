"""Merges that are poured into a running engine answer like the same merges loaded from disk."""

import subprocess
import sys

import pytest
import torch

import tasks
from common.errors import UserError
from drift.merge import Recipe, merge
from drift.pocket import models, world
from harness.checkpoints.preflight import open_checkpoint
from harness.evaluate.merge_sweep import Method, best, merges
from harness.evaluate.run import EvalConfig, run
from harness.runs import log
from harness.runs.folder import read_card

ALPHAS = (0.0, 0.3, 1.0)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    world.write(folder / "world", seed=5, train=1, validation=1, test=4)
    for seed, name, make in ((0, "vlm", models.vlm), (1, "llm", models.text_model)):
        torch.manual_seed(seed)
        models.save(make("llava_next", 1000.0), "llava_next", folder / name)
    return folder


def said(folder):
    return {r.id: r.text for r in log.read_responses(folder)}


@pytest.mark.slow
def test_poured_merges_answer_like_loaded_ones(here):
    vlm, llm = str(here / "vlm"), str(here / "llm")
    points = merges(vlm, llm, Method("slerp", modules=("attention", "mlp")), ALPHAS)
    recipes = {
        here / f"merge-{alpha:.2f}": Recipe("slerp", alpha, modules=("attention", "mlp"))
        for alpha in ALPHAS
    }
    loaded = [open_checkpoint(out) for out, _ in merge(vlm, llm, recipes)]
    for name, checkpoints in (("poured", points), ("loaded", loaded)):
        asked = EvalConfig(data=here / "world")
        run(checkpoints, [tasks.load("pocket")], here / name, asked, engine="vllm")
    answers = [said(here / "poured" / point.name) for point in points]
    assert answers == [said(here / "loaded" / point.name) for point in points]
    assert answers[0] != answers[1] != answers[2]
    cards = [read_card(here / "poured" / point.name) for point in points]
    assert [card.made["settings"]["alpha"] for card in cards] == list(ALPHAS)
    assert len({card.fingerprint for card in cards}) == len(ALPHAS)
    chosen, scores = best([here / "poured" / point.name for point in points], ALPHAS)
    assert scores[ALPHAS.index(chosen)] == max(scores)


def test_models_that_do_not_merge_are_refused_before_any_engine_starts(here):
    vlm, llm = str(here / "vlm"), str(here / "llm")
    for method, said_so in ((Method("lerp"), "no merge is called"), (Method("ties"), "base")):
        with pytest.raises(UserError, match=said_so):
            merges(vlm, llm, method, (0.1,))
    with pytest.raises(UserError, match="the VLM first"):
        merges(llm, vlm, Method(), (0.1,))


@pytest.mark.parametrize(
    ("words", "said_so"),
    [
        (["--alphas", "0,x"], "--alphas takes numbers"),
        (["--alphas", ","], "names no share"),
        (["--alphas", "0.101,0.102"], "the same to two digits"),
    ],
)
def test_a_slip_is_one_sentence(here, words, said_so):
    command = ["sweep", here / "vlm", here / "llm", "--tasks", "pocket", "--out", here / "runs"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "driftbench", *map(str, command), *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said_so in done.stderr
    assert len(done.stderr.splitlines()) == 1
