"""Running studies of small steps: `copy IN OUT` appends its own line to what it copies."""

import json
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import toys as toy_module
from toys import install, step, study

from common.errors import UserError
from harness.studies import folder, record, runner, tuning
from harness.studies.fingerprints import Fingerprints
from harness.studies.step import Claim, Design, Method, MethodRun, Trial

TOY = """
import pathlib, sys, time
verb, source, target, *rest = sys.argv[1:]
text = pathlib.Path(source).read_text() if source != "-" else ""
with open("ran", "a") as ran:
    ran.write(target + "\\n")
if verb == "slow":
    time.sleep(float(rest[0]))
if verb == "fail":
    print("driftbench: the toy is broken", file=sys.stderr)
    sys.exit(2)
if verb != "idle":
    pathlib.Path(target).write_text(text + verb + "\\n")
"""


def toys(start="first", left="copy start left", right="copy start right", both="copy left both"):
    return study(
        step("left", left, reads="start"),
        step("right", right, reads="start"),
        step("start", f"{start} - start"),
        step("both", both, reads="left right"),
    )


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The package of the steps, importable here and in their processes."""
    return install(tmp_path, monkeypatch, TOY)


@pytest.fixture
def out(toy, tmp_path) -> Path:
    return tmp_path / "out"


def ran(out: Path) -> list[str]:
    lines = (out / "ran").read_text().split()
    (out / "ran").unlink()
    return lines


def test_steps_run_after_what_they_read_and_once(out):
    runner.run(toys(), out, 2)
    order = ran(out)
    assert order[0] == "start" and order[-1] == "both" and set(order[1:3]) == {"left", "right"}
    assert (out / "both").read_text() == "first\ncopy\ncopy\n"
    runner.run(toys(), out, 2)
    assert not (out / "ran").exists()


def test_a_changed_command_reruns_itself_and_what_follows_from_it(out):
    runner.run(toys(), out)
    ran(out)
    runner.run(toys(start="second"), out)
    assert sorted(ran(out)) == ["both", "left", "right", "start"]
    assert (out / "both").read_text() == "second\ncopy\ncopy\n"


def test_a_spoilt_output_is_made_again_and_what_it_feeds_is_not_if_it_comes_out_the_same(out):
    runner.run(toys(), out)
    ran(out)
    (out / "right").write_text("spoilt")
    runner.run(toys(), out)
    assert ran(out) == ["right"]


def test_changed_code_reruns_everything(toy, out):
    runner.run(toys(), out)
    ran(out)
    (toy / "__init__.py").write_text("# another version")
    runner.run(toys(), out)
    assert len(ran(out)) == 4


def test_steps_compile_what_they_import_once_where_no_bytecode_may_lie(toy, out, monkeypatch):
    """Python itself compiles beside the sources, or with this flag each time anew."""
    (toy / "big.py").write_text("")
    (toy / "__main__.py").write_text(
        "import sys, toy.big; print(sys.dont_write_bytecode, toy.big.__cached__)\n" + TOY
    )
    for flag in (True, False):
        monkeypatch.setattr(sys, "dont_write_bytecode", flag)
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1" if flag else "")
        runner.run(study(step("start", "first - start"), name="study"), out / str(flag))
        written, place = (out / str(flag) / "steps" / "start.log").read_text().split()
        assert written == "False"
        beside = Path(place).is_relative_to(toy)
        assert beside is not flag
        assert Path(place).exists() is beside  # the folder has gone with its runner
        assert (toy / "__pycache__").exists() is not flag


def test_what_a_step_took_is_on_record(out):
    runner.run(toys(), out)
    record = json.loads((out / "steps" / "both.json").read_text())
    assert record["command"] == ["python", "-P", "-m", "toy", "copy", "left", "both"]
    assert record["finished"] > record["started"] and record["seconds"] >= 0
    assert set(record["reads"]) == {"left", "right"}


def test_a_failed_step_says_why_and_the_rest_is_kept(out):
    with pytest.raises(UserError, match="step both failed with exit status 2: the toy is broken"):
        runner.run(toys(both="fail left both"), out)
    ran(out)
    runner.run(toys(), out)
    assert ran(out) == ["both"]


def test_a_step_that_writes_nothing_is_an_error(out, tmp_path):
    with pytest.raises(UserError, match="step both ended well but did not write both"):
        runner.run(toys(both="idle left both"), tmp_path / "out")


def test_one_that_fails_stops_only_what_needs_it_and_all_that_failed_are_named(out):
    steps = [
        step("bad", "fail - bad"),
        step("worse", "idle - worse"),
        step("good", "slow - good 1"),
        step("after_bad", "copy bad after_bad", reads="bad"),
        step("last", "copy after_bad last", reads="after_bad good"),
        step("after_good", "copy good after_good", reads="good"),
    ]
    with pytest.raises(UserError) as caught:
        runner.run(study(*steps), out, 3)
    said = str(caught.value)
    assert "step bad failed with exit status 2: the toy is broken" in said
    assert "step worse ended well but did not write worse" in said
    assert "not run, as they need these: after_bad, last" in said and "\n" not in said
    assert sorted(ran(out)) == ["after_good", "bad", "good", "worse"]
    mended = [step("bad", "first - bad"), step("worse", "first - worse"), *steps[2:]]
    runner.run(study(*mended), out, 3)
    assert sorted(ran(out)) == ["after_bad", "bad", "last", "worse"]


def test_a_step_whose_setting_was_not_chosen_fails_alone(out):
    wanting = step("wanting", "copy - wanting")
    wanting = replace(wanting, run=(*wanting.run, tuning.word("tuned.json", "sft", "f", "lr")))
    steps = [
        wanting,
        step("after", "copy wanting after", reads="wanting"),
        step("other", "slow - other 0.5"),
    ]
    runner.run(study(step("wanting", "copy - wanting")), out, 1)
    held = (out / "wanting").read_bytes()
    with pytest.raises(UserError) as caught:
        runner.run(study(*steps), out, 1)
    assert (out / "wanting").read_bytes() == held
    said = str(caught.value)
    assert said.startswith(f"step wanting cannot start: there is no {out / 'tuned.json'}")
    assert "not run, as they need these: after" in said
    assert ran(out) == ["wanting", "other"] and (out / "other").exists()


def test_the_study_is_on_record_before_its_first_step_ends(out):
    methods = (Method(name="m", label="M", runs=(MethodRun("f", 0, "f/runs/m"),)),)
    with pytest.raises(UserError, match="step left failed"):
        runner.run(replace(toys(left="fail start left"), methods=methods, baseline="m"), out)
    held = json.loads((out / "steps" / "study.json").read_text())
    assert held["recipe"] == "study" and [one["name"] for one in held["steps"]] == [
        "left", "right", "start", "both",
    ]  # fmt: skip
    assert record.read(out) == Design(methods=methods, baseline="m")


def test_nothing_is_removed_behind_a_link_out_of_the_study(out, tmp_path):
    victim = tmp_path / "victim"
    (victim / "kept").mkdir(parents=True)
    runner.run(toys(), out)
    (out / "away").symlink_to(victim)
    with pytest.raises(UserError, match="step thief .* away/kept, which lies behind a link"):
        runner.run(study(step("thief", "say x away/kept", writes="away/kept")), out)
    assert (victim / "kept").is_dir()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_any_moment_it_goes_on_and_ends_the_same(toy, out, how):
    slow = toys(left="slow start left 1.5", right="slow start right 1.5")
    code = (
        "import pathlib, pickle, sys; sys.path.insert(0, sys.argv[2]); import toys\n"
        "from common import processes; processes.end_on_sigterm()\n"
        "from harness.studies import process, runner\n"
        "process.DOOR = 'toy'\n"
        "runner.run(pickle.load(sys.stdin.buffer), pathlib.Path(sys.argv[1]), 1)"
    )
    words = [sys.executable, "-c", code, str(out), str(Path(toy_module.__file__).parent)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(pickle.dumps(slow))
    process.stdin.close()
    deadline = time.monotonic() + 30
    while not (out / "ran").exists() or "left" not in (out / "ran").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    process.wait()
    time.sleep(0.3)
    assert not (out / "left").exists()  # the step did not outlive the study
    ran(out)
    runner.run(slow, out)
    assert sorted(ran(out)) == ["both", "left", "right"]
    assert (out / "both").read_text() == "first\nslow\ncopy\n"


def test_a_folder_of_something_else_is_left_alone(out, tmp_path):
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something other than a study"):
        runner.run(toys(), out)
    other = tmp_path / "other"
    runner.run(toys(), other)
    with pytest.raises(UserError, match="holds the study 'study', not 'another'"):
        runner.run(replace(toys(), name="another"), other)


def test_a_folder_that_was_left_before_the_study_was_on_record_is_taken_up(out):
    (out / "steps").mkdir(parents=True)
    (out / "steps" / "lock").touch()
    (out / "steps" / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds something other than a study"):
        runner.run(toys(), out)
    (out / "steps" / "thesis.txt").unlink()
    runner.run(toys(), out)
    assert len(ran(out)) == 4


def test_too_many_gpus_touch_nothing(out, monkeypatch):
    monkeypatch.setattr(runner, "visible", lambda: ["0", "1"])
    with pytest.raises(UserError, match="--gpus 3, but 2 are visible"):
        runner.run(toys(), out, gpus=3)
    assert not out.exists()


def test_what_a_stopped_step_left_serves_where_it_begins_in_the_same_way_alone(out, monkeypatch):
    monkeypatch.setattr(runner, "visible", lambda: ["0", "1"])
    left = out / "left.partial" / "checkpoint"

    def stopped(words="fail start left {gpus}", start="first", gpus=2):
        """Run it, and tell whether it found what one before had left."""
        with pytest.raises(UserError, match="step left failed"):
            runner.run(toys(left=words, start=start), out, gpus=gpus)
        found = left.exists()
        left.parent.mkdir(exist_ok=True)
        left.touch()
        return found

    assert not stopped() and stopped()
    assert not stopped(gpus=1) and stopped(gpus=1)
    assert not stopped("fail start left 7") and stopped("fail start left 7", gpus=2)
    assert not stopped("fail start left 7", start="second")
    monkeypatch.setattr(Fingerprints, "code", lambda *_: "0" * 64)
    assert stopped("fail start left 7", start="second")  # whether other code fits, training tells
    (out / "steps" / "left.begun").unlink()  # of an older version: nothing tells
    assert stopped("fail start left 8")


def test_files_outside_the_study_count_by_their_content(out, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("1\n2\n")
    outer = study(step("left", f"copy {rows} left"), step("right", "copy left right", reads="left"))
    runner.run(outer, out)
    assert ran(out) == ["left", "right"]
    runner.run(outer, out)
    assert not (out / "ran").exists()
    rows.write_text("1\n")
    runner.run(outer, out)
    assert ran(out) == ["left", "right"] and (out / "left").read_text() == "1\ncopy\n"
    place = out / "steps" / "left.json"
    held = json.loads(place.read_text())
    del held["outside"]  # as in older versions: nothing is run for its lack, and it counts then
    place.write_text(json.dumps(held))
    runner.run(outer, out)
    assert not (out / "ran").exists()
    rows.write_text("3\n")
    runner.run(outer, out)
    assert ran(out) == ["left", "right"]


def test_another_global_batch_is_another_training_and_another_number_of_gpus_is_none(
    out, monkeypatch
):
    monkeypatch.setattr(runner, "visible", lambda: ["0", "1"])
    steps = [step("start", "first - start"), step("trained", "first - trained {accumulate}")]
    for batch, gpus, again in ((4, 2, 2), (4, 1, 0), (8, 2, 1), (8, 1, 0)):
        runner.run(study(*steps, global_batch=batch), out, gpus=gpus)
        assert (len(ran(out)) if (out / "ran").exists() else 0) == again


def test_what_is_made_from_the_record_follows_it(out):
    claim = Claim(text="M helps", method="m", against="n", group="g")
    methods = [Method(name=name, label=name, runs=()) for name in ("m", "n")]
    made = replace(
        study(
            *(step("start", "first - start"), step("tuned", "tune - tuned", reads="start")),
            step("report", "report - report", reads="start"),
        ),
        methods=methods,
        claims=(claim,),
    )
    trial = Trial(method="m", family="f", seed=0, folder="m-0", settings={"lr": 0.1})
    relabelled = [replace(methods[0], label="M"), methods[1]]
    for change, again in (
        ({}, ["report", "start", "tuned"]),
        ({}, []),
        ({"methods": relabelled}, ["report"]),
        ({"claims": [replace(claim, text="M hurts", sign=-1)]}, ["report"]),
        ({"baseline": "n"}, ["report"]),
        ({"floors": {"g": 0.5}}, ["report"]),
        ({"trials": [trial]}, ["report", "tuned"]),
    ):
        made = replace(made, **change)
        runner.run(made, out)
        assert (sorted(ran(out)) if (out / "ran").exists() else []) == again
    for name in ("report", "tuned"):
        place = out / "steps" / f"{name}.json"
        held = json.loads(place.read_text())
        del held["design"]
        place.write_text(json.dumps(held))
    runner.run(replace(made, baseline="m"), out)  # older records do not tell
    assert not (out / "ran").exists()
    runner.run(made, out)
    assert ran(out) == ["report"]


def test_too_little_disk_is_said_before_anything_runs(out, tmp_path):
    with pytest.raises(UserError, match="GiB free, the study needs 931322.6"):
        runner.run(study(step("start", "first - start", disk_gib=931322.6)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_at_once_in_one_folder_are_refused(out):
    runner.run(toys(), out)
    with folder.locked(out):
        with pytest.raises(UserError, match="another process is running the study"):
            runner.run(toys(), out)
