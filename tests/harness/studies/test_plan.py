"""A study's plan, parts of it, its scales, and its GPUs, on steps that only write what they see."""

import subprocess
import sys
from dataclasses import replace

import pytest
from toys import install, step, study

from common.errors import UserError
from harness.studies import plan, process, runner
from harness.studies.step import ACCUMULATE, GPUS, room

TOY = """
import os, pathlib, sys, time
word, file = sys.argv[2:]
time.sleep(0.5)
pathlib.Path(file).write_text(f"{word} {os.environ.get('CUDA_VISIBLE_DEVICES', 'none')}")
"""
STUDY = study(
    step("start", "say real start", stage="first", download_gib=3, seconds=60),
    *(
        step(
            name,
            f"say {ACCUMULATE} {name}",
            reads="start",
            stage="second",
            gpu="one",
            seconds=1800,
            disk_gib=gib,
        )
        for name, gib in (("left", 1.5), ("right", 2))
    ),
    step("both", f"say {GPUS} both", reads="left right", stage="third", gpu="all", seconds=3600),
    *(step(way, f"say 7 {way}", stage="fourth") for way in ("up", "down")),
    global_batch=4,
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """`say WORD FILE` writes the word and the GPUs that it was given."""
    install(tmp_path, monkeypatch, TOY)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def names(steps):
    return [step.name for step in steps]


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
def test_parts_of_a_study(only, start, expected):
    assert names(plan.choose(STUDY, only, start)) == expected


@pytest.mark.parametrize(
    ("only", "start", "sentence"),
    [
        (["rihgt"], None, r"--only rihgt fits no step; did you mean right\? --plan"),
        ([], "secnd", r"--from secnd fits no step; did you mean second\?"),
        (["zzz"], None, "--only zzz fits no step; --plan lists them"),
        (["up"], "left", "nothing that --only names follows from left"),
    ],
)
def test_a_mistyped_part_is_told_the_nearest(only, start, sentence):
    with pytest.raises(UserError, match=sentence):
        plan.choose(STUDY, only, start)


def test_what_is_not_there_is_told_with_the_step_that_writes_it(tmp_path):
    part = plan.choose(STUDY, ["both"], None)
    with pytest.raises(
        UserError, match="step both reads left, which is not in .*; step left writes"
    ):
        plan.check_reads(STUDY, part, tmp_path)
    for name in ("left", "right"):
        (tmp_path / name).touch()
    plan.check_reads(STUDY, part, tmp_path)


def test_the_plan_adds_up(capsys):
    plan.show(STUDY, STUDY.steps, 2)
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "start 1 min 00 s 3.0" in said
    assert "second 1 h 00 min 3.5" in said  # two of half an hour, 1.5 + 2 GiB
    assert "left 30 min 00 s 1.5" in said
    assert "all 2 h 00 min 2 min 00 s 3.0 3.5" in said
    assert said[-1].startswith("6 steps; 2.0 GPU hours, so at least 1 h 00 min with --gpus 2")


def test_room_is_what_the_chosen_steps_take():
    assert room(STUDY.steps) == 6.5 * 2**30
    assert room(plan.choose(STUDY, ["right"], None)) == 2 * 2**30


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
        assert f"\n table-{stage} " in done.stdout


def test_gpus_are_shared_out(toy, tmp_path, monkeypatch):
    """Two steps that take one get one each at a time; one that takes all waits for both."""
    monkeypatch.setattr(runner, "visible", lambda: ["4", "6", "7"])
    out = tmp_path / "out"
    runner.run(STUDY, out, 3, gpus=2)
    seen = {name: (out / name).read_text().split() for name in ("left", "right", "both", "up")}
    assert {seen["left"][1], seen["right"][1]} == {"4", "6"}
    assert seen["left"][0] == seen["right"][0] == "4"  # 4 samples a step, on the one GPU of each
    assert sorted(seen["both"][1].split(",")) == ["4", "6"] and seen["both"][0] == "2"
    assert seen["up"] == ["7", "none"]
    stamp = (out / "both").stat().st_mtime_ns
    runner.run(STUDY, out, 3, gpus=1)
    assert (out / "both").stat().st_mtime_ns == stamp


def test_what_takes_all_gpus_waits_for_nothing_that_takes_one(toy, tmp_path, monkeypatch):
    """A sweep comes after all training that can do without it, and before what reads it."""
    monkeypatch.setattr(runner, "visible", lambda: ["0", "1"])
    order = ("trained", "merged", "trained_on", "sweep", "answers")
    asked = study(
        step("sweep", "say 1 sweep", gpu="one"),
        step("answers", "say 2 answers", reads="sweep", gpu="all"),
        step("trained", "say 2 trained", gpu="all"),
        step("merged", "say 0 merged", reads="trained"),
        step("trained_on", "say 2 trained_on", reads="merged", gpu="all"),
    )
    runner.run(asked, tmp_path / "out", 3, gpus=2)
    times = [(tmp_path / "out" / name).stat().st_mtime for name in order]
    assert times == sorted(times) and times[3] - times[2] >= 0.5
    monkeypatch.setattr(runner, "visible", list)
    runner.run(asked, tmp_path / "cpu", 3)  # where there is none, nothing gives way
    assert (tmp_path / "cpu" / "sweep").stat().st_mtime < min(
        (tmp_path / "cpu" / name).stat().st_mtime for name in ("merged", "answers")
    )


def test_too_many_gpus_are_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "visible", lambda: ["0"])
    with pytest.raises(UserError, match="--gpus 2, but 1 are visible"):
        runner.run(STUDY, tmp_path / "out", gpus=2)
    with pytest.raises(
        UserError, match="--gpus 3 does not divide .* batch of 4: give one of 1, 2, 4"
    ):
        runner.run(STUDY, tmp_path / "out", gpus=3)


def test_ranks_are_started_together():
    ranks = replace(next(step for step in STUDY.steps if step.name == "both"), gpu="ranks")
    together = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    assert process.command(ranks, STUDY, 1) == ["driftbench", "say", "1", "both"]
    assert process.command(ranks, STUDY, 2) == [*together, "driftbench", "say", "2", "both"]
