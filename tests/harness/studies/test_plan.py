"""A study's plan, parts of it, its scales, and its GPUs, on steps that only write what they see."""

import subprocess
import sys

import pytest
from toys import install

from common.errors import UserError
from harness.evaluate import data_parallel
from harness.studies import plan, recipe, runner

TOY = """
import os, pathlib, sys, time
word, file = sys.argv[1:]
time.sleep(0.5)
pathlib.Path(file).write_text(f"{word} {os.environ.get('CUDA_VISIBLE_DEVICES', 'none')}")
"""

RECIPE = """
about: a study of stages
global_batch: 4
vars: {source: real, size: 7}
each: [{one: left, gib: 1.5}, {one: right, gib: 2}]
steps:
  - {name: start, stage: first, run: [toy, "{source}", start], writes: [start], download_gib: 3,
     seconds: 60}
  - {name: "{one}", stage: second, run: [toy, "{accumulate}", "{one}"], reads: [start],
     writes: ["{one}"], gpu: true, seconds: 1800, disk_gib: "{gib}"}
  - {name: both, stage: third, run: [toy, "{gpus}", both], reads: [left, right], writes: [both],
     gpu: all, seconds: 3600}
  - {name: "{way}", stage: fourth, over: [{way: up, word: "{size}"}, {way: down, word: "8"}],
     run: [toy, "{word}", "{way}"], writes: ["{way}"], seconds: 30}
controls:
  steps:
    - {name: more, run: [toy, more, more], reads: [both], writes: [more], gpu: true}
scales:
  small:
    about: the same on a stand-in
    seconds: 2
    vars: {source: standin}
    each: [{one: left, gib: 0}]
    steps:
      - {name: standin, run: [toy, made, standin], writes: [standin]}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """`python -m toy WORD FILE` writes the word and the GPUs that it was given."""
    install(tmp_path, monkeypatch, TOY)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(RECIPE)
    return str(path)


def names(study):
    return [step.name for step in study.steps]


@pytest.mark.parametrize(
    ("only", "start", "expected"),
    [
        ([], None, ["start", "left", "right", "both", "up", "down"]),
        (["l*", "both"], None, ["left", "both"]),
        (["second"], None, ["left", "right"]),
        ([], "left", ["left", "both"]),
        ([], "first", ["start", "left", "right", "both"]),
        (["third", "fourth"], "right", ["both"]),
    ],
)
def test_parts_of_a_study(path, only, start, expected):
    assert names(plan.choose(recipe.load(path), only, start)) == expected


@pytest.mark.parametrize(
    ("only", "start", "sentence"),
    [
        (["rihgt"], None, r"--only rihgt fits no step; did you mean right\? --plan"),
        ([], "secnd", r"--from secnd fits no step; did you mean second\?"),
        (["zzz"], None, "--only zzz fits no step; --plan lists them"),
        (["up"], "left", "nothing that --only names follows from left"),
    ],
)
def test_a_mistyped_part_is_told_the_nearest(path, only, start, sentence):
    with pytest.raises(UserError, match=sentence):
        plan.choose(recipe.load(path), only, start)


def test_what_is_not_there_is_told_with_the_step_that_writes_it(path, tmp_path):
    study = recipe.load(path)
    part = plan.choose(study, ["both"], None)
    with pytest.raises(
        UserError, match="step both reads left, which is not in .*; step left writes"
    ):
        plan.check_reads(study, part, tmp_path)
    for name in ("left", "right"):
        (tmp_path / name).touch()
    plan.check_reads(study, part, tmp_path)


def test_the_plan_adds_up(path, capsys):
    plan.show(recipe.load(path), 2)
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "start 1 min 00 s 3.0" in said
    assert "second 1 h 00 min 3.5" in said  # two of half an hour, 1.5 + 2 GiB
    assert "left 30 min 00 s 1.5" in said
    assert "all 2 h 00 min 2 min 00 s 3.0 3.5" in said
    assert said[-1].startswith("6 steps; 2.0 GPU hours, so at least 1 h 00 min with --gpus 2")


def test_room_is_what_the_chosen_steps_take(path):
    study = recipe.load(path)
    assert study.disk_bytes == 6.5 * 2**30
    assert plan.choose(study, ["right"], None).disk_bytes == 2 * 2**30


def test_the_papers_plan_touches_nothing_and_loads_nothing_heavy(tmp_path):
    code = (
        "import sys, socket\n"
        "def no(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket.connect = no\n"
        "sys.argv[1:] = ['reproduce', 'paper', '--plan', '--controls', '--seeds', '3']\n"
        "from driftbench.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'vllm', 'datasets', 'huggingface_hub'}\n"
        "print(*(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "" and not list(tmp_path.iterdir())
    for stage in (1, 2, 3, 4, 5, 7, 10):
        assert f"\ntable-{stage} " in done.stdout


def test_a_scale_puts_stand_ins_in_place_and_keeps_the_steps(path):
    whole, small = recipe.load(path, controls=True), recipe.load(path, 1, True, "small")
    assert small.name == "study at small scale"
    kept = [name for name in names(whole) if name != "right"]
    assert names(small) == ["standin", *kept]
    assert small.steps[1].run == ("toy", "standin", "start")
    assert {step.seconds for step in small.steps[1:]} == {2.0}
    assert not any(step.download_gib or step.disk_gib for step in small.steps)
    with pytest.raises(UserError, match="no scale 'smal'; did you mean small"):
        recipe.load(path, scale="smal")


def test_entries_of_one_step_win_over_all_others(path):
    steps = {step.name: step for step in recipe.load(path).steps}
    assert steps["up"].run == ("toy", "7", "up") and steps["down"].run == ("toy", "8", "down")


def test_gpus_are_shared_out(toy, path, tmp_path, monkeypatch):
    """Two steps that take one get one each at a time; one that takes all waits for both."""
    monkeypatch.setattr(data_parallel, "visible", lambda: ["4", "6", "7"])
    out = tmp_path / "out"
    runner.run(recipe.load(path), out, 3, gpus=2)
    seen = {name: (out / name).read_text().split() for name in ("left", "right", "both", "up")}
    assert {seen["left"][1], seen["right"][1]} == {"4", "6"}
    assert seen["left"][0] == seen["right"][0] == "2"  # 4 samples a step on 2 GPUs
    assert sorted(seen["both"][1].split(",")) == ["4", "6"] and seen["both"][0] == "2"
    assert seen["up"] == ["7", "none"]
    stamp = (out / "both").stat().st_mtime_ns
    runner.run(recipe.load(path), out, 3, gpus=1)
    assert (out / "both").stat().st_mtime_ns == stamp


def test_too_many_gpus_are_refused(toy, path, tmp_path, monkeypatch):
    monkeypatch.setattr(data_parallel, "visible", lambda: ["0"])
    with pytest.raises(UserError, match="--gpus 2, but 1 are visible"):
        runner.run(recipe.load(path), tmp_path / "out", gpus=2)
    with pytest.raises(
        UserError, match="--gpus 3 does not divide .* batch of 4: give one of 1, 2, 4"
    ):
        runner.run(recipe.load(path), tmp_path / "out", gpus=3)


def test_ranks_are_started_together(path, tmp_path):
    text = RECIPE.replace("gpu: all", "gpu: ranks").replace(
        "global_batch: 4", "global_batch: 4\nsharding: {ACCELERATE_USE_FSDP: 'true'}"
    )
    (tmp_path / "study.yaml").write_text(text)
    study = recipe.load(path)
    step = next(step for step in study.steps if step.name == "both")
    assert study.sharding == (("ACCELERATE_USE_FSDP", "true"),)
    for gpus, launched in (
        (1, ["toy", "1", "both"]),
        (
            2,
            ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
            + ["toy", "2", "both"],
        ),
    ):
        words = runner.command(step, study, gpus)
        assert words == launched
    (tmp_path / "study.yaml").write_text(RECIPE.replace("gpu: all", "gpu: some"))
    with pytest.raises(UserError, match="says gpu: some; it is one of true, all, ranks"):
        recipe.load(path)
