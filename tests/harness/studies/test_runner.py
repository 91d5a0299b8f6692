"""Studies of small steps: `python -m toy copy IN OUT` appends its own line to what it copies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys import go, install

from common.errors import UserError
from harness.studies import recipe as study_recipe
from harness.studies import runner

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

RECIPE = """
about: a toy study
each: [{one: left}, {one: right}]
steps:
  - {name: "{one}", run: [toy, copy, start, "{one}"], reads: [start], writes: ["{one}"]}
  - {name: start, run: [toy, START, "-", start], writes: [start]}
  - {name: both, run: [toy, copy, left, both], reads: [left, right], writes: [both]}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The package of the steps, importable here and in their processes."""
    return install(tmp_path, monkeypatch, TOY)


def recipe(tmp_path: Path, text: str = RECIPE, start: str = "first") -> str:
    path = tmp_path / "study.yaml"
    path.write_text(text.replace("START", start))
    return str(path)


def ran(out: Path) -> list[str]:
    lines = (out / "ran").read_text().split()
    (out / "ran").unlink()
    return lines


def test_steps_run_after_what_they_read_and_once(toy, tmp_path):
    out = tmp_path / "out"
    go(recipe(tmp_path), out, jobs=2)
    order = ran(out)
    assert order[0] == "start" and order[-1] == "both" and set(order[1:3]) == {"left", "right"}
    assert (out / "both").read_text() == "first\ncopy\ncopy\n"
    go(recipe(tmp_path), out, jobs=2)
    assert not (out / "ran").exists()


MANY = """
about: a toy study
vars: {at: "seed-{seed}/{one}", word: copy, kinds: [a]}
each: [{one: left}, {one: right}]
steps:
  - {name: "seed-{seed}/start", run: [toy, "{seed}", "-", "{at}"], writes: ["seed-{seed}/start"]}
  - {name: "{at}", run: [toy, "{word}", x, "--of={at}-{kinds}"], reads: ["seed-{seed}/start"],
     writes: ["{at}-{kinds}"]}
  - {name: all, run: [toy, report], reads: ["{at}-{kinds}"], writes: [all]}
controls:
  vars: {kinds: [a, b]}
  steps:
    - {name: "{at}/more", where: {one: [right]}, run: [toy, more], writes: ["{at}/more"]}
"""


def test_a_study_is_written_out_for_each_seed_and_entry_and_its_controls(tmp_path):
    steps = {step.name: step for step in study_recipe.load(recipe(tmp_path, MANY), 2, True).steps}
    assert list(steps) == [
        "seed-0/start", "seed-0/left", "seed-0/right", "seed-0/right/more",
        "seed-1/start", "seed-1/left", "seed-1/right", "all", "seed-1/right/more",
    ]  # fmt: skip
    left = steps["seed-1/left"]
    assert left.run == ("toy", "copy", "x", "--of=seed-1/left-a", "--of=seed-1/left-b")
    assert left.reads == ("seed-1/start",)
    assert left.writes == ("seed-1/left-a", "seed-1/left-b")
    assert len(steps["all"].reads) == 2 * 2 * 2
    alone = study_recipe.load(recipe(tmp_path, MANY))
    assert [step.name for step in alone.steps] == [
        "seed-0/start", "seed-0/left", "seed-0/right", "all",
    ]  # fmt: skip
    assert alone.steps[-1].reads == ("seed-0/left-a", "seed-0/right-a")


@pytest.mark.parametrize(
    ("text", "asked", "sentence"),
    [
        (RECIPE, {"seeds": 2}, "has one seed"),
        (RECIPE, {"controls": True}, "has no controls"),
        (MANY.replace("one: [right]", "two: [right]"), {"controls": True}, "picks by two"),
        (MANY.replace("one: [right]", "one: up"), {"controls": True}, "no entry of the recipe"),
    ],
)
def test_seeds_and_controls_that_a_recipe_does_not_have(tmp_path, text, asked, sentence):
    with pytest.raises(UserError, match=sentence):
        study_recipe.load(recipe(tmp_path, text), **asked)


def test_a_changed_command_reruns_itself_and_what_follows_from_it(toy, tmp_path):
    out = tmp_path / "out"
    go(recipe(tmp_path), out)
    ran(out)
    go(recipe(tmp_path, start="second"), out)
    assert sorted(ran(out)) == ["both", "left", "right", "start"]
    assert (out / "both").read_text() == "second\ncopy\ncopy\n"


def test_a_spoilt_output_is_made_again_and_what_it_feeds_is_not_if_it_comes_out_the_same(
    toy, tmp_path
):
    out = tmp_path / "out"
    go(recipe(tmp_path), out)
    ran(out)
    (out / "right").write_text("spoilt")
    go(recipe(tmp_path), out)
    assert ran(out) == ["right"]


def test_changed_code_reruns_everything(toy, tmp_path):
    out = tmp_path / "out"
    go(recipe(tmp_path), out)
    ran(out)
    (toy / "__init__.py").write_text("# another version")
    go(recipe(tmp_path), out)
    assert len(ran(out)) == 4


def test_what_a_step_took_is_on_record(toy, tmp_path):
    out = tmp_path / "out"
    go(recipe(tmp_path), out)
    record = json.loads((out / "steps" / "both.json").read_text())
    assert record["command"] == ["python", "-m", "toy", "copy", "left", "both"]
    assert record["finished"] > record["started"] and record["seconds"] >= 0
    assert set(record["reads"]) == {"left", "right"}


def test_a_failed_step_says_why_and_the_rest_is_kept(toy, tmp_path):
    out = tmp_path / "out"
    broken = RECIPE.replace("copy, left, both", "fail, left, both")
    with pytest.raises(UserError, match="step both failed with exit status 2: the toy is broken"):
        go(recipe(tmp_path, broken), out)
    ran(out)
    go(recipe(tmp_path), out)
    assert ran(out) == ["both"]


def test_a_step_that_writes_nothing_is_an_error(toy, tmp_path):
    idle = RECIPE.replace("copy, left, both", "idle, left, both")
    with pytest.raises(UserError, match="step both ended well but did not write both"):
        go(recipe(tmp_path, idle), tmp_path / "out")


def test_killed_at_any_moment_it_goes_on_and_ends_the_same(toy, tmp_path):
    out = tmp_path / "out"
    slow = RECIPE.replace("copy, start, ", "slow, start, ").replace(
        '"{one}"], reads', '"{one}", 1.5], reads'
    )
    path = recipe(tmp_path, slow)
    code = (
        "from pathlib import Path\n"
        "from harness.studies import recipe, runner\n"
        f"runner.run(recipe.load({path!r}), Path({str(out)!r}), 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (out / "ran").exists() or "left" not in (out / "ran").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.3)
    assert not (out / "left").exists()  # the step did not outlive the study
    ran(out)
    go(path, out)
    assert sorted(ran(out)) == ["both", "left", "right"]
    assert (out / "both").read_text() == "first\nslow\ncopy\n"


def test_a_folder_of_something_else_is_left_alone(toy, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something other than a study"):
        go(recipe(tmp_path), out)
    other = tmp_path / "other"
    go(recipe(tmp_path), other)
    renamed = tmp_path / "another.yaml"
    renamed.write_text(RECIPE)
    with pytest.raises(UserError, match="holds the study 'study', not 'another'"):
        go(str(renamed), other)


def test_too_little_disk_is_said_before_anything_runs(toy, tmp_path):
    with pytest.raises(UserError, match="GiB free, the study needs 931322.6"):
        go(recipe(tmp_path, RECIPE + "disk_bytes: 1_000_000_000_000_000\n"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_at_once_in_one_folder_are_refused(toy, tmp_path):
    out = tmp_path / "out"
    go(recipe(tmp_path), out)
    with runner._locked(out):
        with pytest.raises(UserError, match="another process is running the study"):
            go(recipe(tmp_path), out)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (RECIPE + "step: []\n", "unknown field 'step'; did you mean 'steps'"),
        ("about: x\n", "lacks steps"),
        ("about: [\n", "is not YAML"),
        ("- a\n- b\n", "holds list"),
        (RECIPE.replace("reads: [start]", "read: [start]"), "unknown field 'read'; did you mean"),
        (RECIPE.replace('start, "{one}"]', 'start, "{two}"]'), "uses 'two', known: one"),
        (RECIPE.replace("name: both", "name: start"), "two steps of the same name"),
        (RECIPE.replace("[toy, copy, left", "[joy, copy, left"), "no package joy is installed"),
        (RECIPE.replace("reads: [start]", "reads: [nothing]"), "which no step has written"),
        (
            RECIPE.replace("start], writes: [start]", "start], reads: [both], writes: [start]"),
            "these steps wait for one another: left, right, start, both",
        ),
    ],
)
def test_a_wrong_recipe_is_one_sentence(toy, tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        go(recipe(tmp_path, text), tmp_path / "out")


def test_who_waits_for_whom_is_what_every_pair_of_paths_says():
    steps = study_recipe.load("pocket", 2, True).steps
    found = study_recipe.after(steps)
    for step in steps[::7]:
        assert found[step.name] == {
            other.name
            for other in steps
            if other is not step
            and any(study_recipe.within(r, w) for r in step.reads for w in other.writes)
        }
    nested = [
        study_recipe.Step("inside", ("toy",), writes=("a/b/c",)),
        study_recipe.Step("around", ("toy",), writes=("a",)),
        study_recipe.Step("reader", ("toy",), reads=("a/b",)),
    ]
    assert study_recipe.after(nested)["reader"] == {"inside", "around"}


def test_an_unknown_recipe_names_the_known():
    with pytest.raises(UserError, match="no recipe 'poket'; did you mean pocket.*pocket, or"):
        study_recipe.load("poket")


def test_the_pocket_recipe_reads_only_what_its_steps_write():
    steps = study_recipe.load("pocket").steps
    written = {path for step in steps for path in step.writes}
    assert len(steps) == 26
    for step in steps:
        assert all(any(study_recipe.within(read, path) for path in written) for read in step.reads)
