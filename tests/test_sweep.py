"""Merges that are loaded into a running engine answer like the same merges loaded from disk."""

import json
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
import typer

import tasks
from common.errors import UserError
from drift import delta
from drift.merge import merge
from drift.merge_methods import Recipe
from drift.pocket import models, world
from driftbench import __main__
from harness.checkpoints.preflight import open_checkpoint
from harness.commands.options import RunOptions
from harness.evaluate import data_parallel
from harness.evaluate.merge_sweep import best, merges, write
from harness.evaluate.run import EvalConfig, run
from harness.runs import log
from harness.runs.folder import read_card

ALPHAS = (0.0, 0.3, 1.0)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    world.write(folder / "world", seed=5, train=1, validation=1, test=4)
    made = (("vlm", models.vlm), ("llm", models.text_model), ("other", models.vlm))
    for family in models.FAMILIES:
        for seed, (name, make) in enumerate(made):
            torch.manual_seed(seed)
            models.save(make(family, 1000.0), family, folder / family / name)
    return folder


def read_made(folder):
    return json.loads((folder / "made.json").read_text())


def said(folder):
    return {r.id: r.text for r in log.read_responses(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("family", models.FAMILIES)
def test_merges_in_a_running_engine_answer_like_loaded_ones(here, family):
    folder = here / family
    vlm, llm = folder / "vlm", folder / "llm"
    how = Recipe(method="slerp", modules=("attention", "mlp"))
    points = merges(str(vlm), str(llm), how, ALPHAS)
    recipes = {folder / f"merge-{alpha:.2f}": replace(how, alpha=alpha) for alpha in ALPHAS}
    loaded = [open_checkpoint(out) for out, _ in merge(vlm, llm, recipes)]
    # After another VLM a merge brings what lies outside the decoder, too.
    after = [open_checkpoint(folder / "other"), replace(points[1], name="again")]
    for name, checkpoints in (("streamed", [*points, *after]), ("loaded", loaded)):
        config = EvalConfig(data=here / "world")
        run(checkpoints, [tasks.load("pocket")], folder / name, config, engine="vllm")
    answers = [said(folder / "streamed" / point.name) for point in points]
    assert answers == [said(folder / "loaded" / point.name) for point in points]
    assert answers[0] != answers[1] != answers[2]
    assert said(folder / "streamed" / "again") == answers[1] != said(folder / "streamed" / "other")
    cards = [read_card(folder / "streamed" / point.name) for point in points]
    assert [card.made.settings["alpha"] for card in cards] == list(ALPHAS)
    written = [read_made(out)["reached"] for out in recipes]
    assert [card.made.reached for card in cards] == written
    assert len({card.fingerprint for card in cards}) == len(ALPHAS)
    chosen, scores = best([folder / "streamed" / point.name for point in points], ALPHAS)
    assert scores[ALPHAS.index(chosen)] == max(scores)
    write(points[1], folder / "best")
    assert open_checkpoint(folder / "best").fingerprint == loaded[1].fingerprint


def test_models_that_do_not_merge_are_refused_before_any_engine_starts(here):
    vlm, llm = (str(here / "llava_next" / name) for name in ("vlm", "llm"))
    for recipe, said_so in (
        (Recipe(method="lerp"), "no merge is called"),
        (Recipe(method="ties"), "base"),
        (Recipe(method="layer_swap", swap_layers=(99,)), "the decoder has no layers 99"),
    ):
        with pytest.raises(UserError, match=said_so):
            merges(vlm, llm, recipe, (0.1,))
    with pytest.raises(UserError, match="between 0 and 1"):
        merges(vlm, llm, Recipe(), (2.0,))
    with pytest.raises(UserError, match="the VLM first"):
        merges(llm, vlm, Recipe(), (0.1,))


@pytest.mark.parametrize(
    ("words", "said_so"),
    [
        (["--alphas", "0,x"], "--alphas takes numbers"),
        (["--alphas", ","], "--alphas takes numbers"),
        (["--alphas", "0.1,0.10"], "0.1, 0.1 names a share twice"),
        (["--alphas", "0", "--engine", "hf"], "merges are loaded into vLLM alone"),
        (["--alphas", "0", "--best", "b", "--shard", "1/2"], "--best compares whole runs"),
    ],
)
def test_a_slip_is_one_sentence(here, words, said_so):
    pair = (here / "llava_next" / name for name in ("vlm", "llm"))
    command = ["sweep", *pair, "--tasks", "pocket", "--out", here / "runs"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "driftbench", *map(str, command), *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert said_so in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_sweep_takes_all_options_of_eval_but_for_those_that_find_a_model():
    commands = typer.main.get_command(__main__.application()).commands
    ours, theirs = ({p.name: p for p in commands[name].params} for name in ("sweep", "eval"))
    finding = {"checkpoints", "endpoint", "key_env", "checkpoint", "timeout", "base", "trust_code"}
    shared = set(theirs) - finding
    assert shared == {field.name for field in fields(RunOptions)}
    for name in shared:
        of = [(p.opts, p.default, p.help) for p in (ours[name], theirs[name])]
        assert of[0] == of[1]


def test_the_options_of_a_sweep_reach_its_runs(here, tmp_path, capsys):
    pair = [str(here / "llava_next" / name) for name in ("vlm", "llm")]
    words = "--limit 2 --n 3 --temperature 1 --top-k 5 --seed 7 --max-tokens 9 --dry-run"
    places = ["--data", str(here / "world"), "--out", str(tmp_path / "runs")]
    command = ["sweep", *pair, "--alphas", "0,0.5", "--tasks", "pocket", *places, *words.split()]
    assert __main__.run(command) == 0
    rows = [line.split()[:5] for line in capsys.readouterr().out.splitlines()[1:3]]
    assert rows == [[name, "pocket", "2", "6", "0"] for name in ("merge-0.00", "merge-0.50")]
    assert not (tmp_path / "runs").exists()


def test_replicas_of_a_sweep_choose_no_best(here, tmp_path, monkeypatch, capsys):
    def replicas(words, count, each):
        raise UserError(f"{count} x {each}: {' '.join(words)}")

    pair = [str(here / "llava_next" / name) for name in ("vlm", "llm")]
    rest = ["--alphas", "0,0.5", "--tasks", "pocket", "--out", str(tmp_path / "runs")]
    command = ["sweep", *pair, *rest, "--best", "best", "--data-parallel", "2"]
    monkeypatch.setattr(sys, "argv", ["driftbench", *command])
    monkeypatch.setattr(data_parallel, "run", replicas)
    assert __main__.run(command) == 2
    left = ["sweep", *pair, *rest, "--data-parallel", "2"]
    assert capsys.readouterr().err.strip() == f"driftbench: 2 x 1: {' '.join(left)}"


def test_a_sweep_takes_another_vlm_and_a_prior_and_tells_them_apart(here, tmp_path):
    folder = here / "llava_next"
    vlm, llm, other = (str(folder / name) for name in ("vlm", "llm", "other"))
    delta.save(delta.build(vlm, llm, "random"), tmp_path / "prior")
    found = {
        role: merges(vlm, where, Recipe(), (0.1,))[0]
        for role, where in (("reasoner", llm), ("other", other), ("prior", str(tmp_path / "prior")))
    }
    assert len({point.fingerprint for point in found.values()}) == 3
    for role, point in found.items():
        assert [one.role for one in point.made.parents] == ["vlm", role]
    (layered,) = merges(vlm, llm, Recipe(by_layer=(0.1,) * 4), (0.1,))
    assert layered.fingerprint != found["reasoner"].fingerprint
