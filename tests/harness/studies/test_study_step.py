"""What a study is: mistakes are told while it is built, and what waits for what."""

import math
from dataclasses import replace

import pytest
from toys import step, study

from common.errors import UserError
from harness.studies import load
from harness.studies.step import COMMANDS, Claim, Method, MethodRun, Step, after, within


@pytest.mark.parametrize(
    "path",
    ["../victim", "a/../../victim", "/tmp/victim", ".", "./", "", "steps", "steps/x", "./steps/a"],
)
@pytest.mark.parametrize("field", ["reads", "writes"])
def test_a_path_that_leaves_the_study_is_told_when_it_is_built(path, field):
    with pytest.raises(UserError, match="step x names the path .* expected one inside the study's"):
        Step(name="x", run=("say", "a"), **{field: (path,)})
    with pytest.raises(UserError, match="method m names the path"):
        Method(name="m", label="M", runs=(MethodRun("f", 0, path),))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"run": "say a"}, r"step 'x' has run = 'say a'; expected tuple\[str, ...\]"),
        ({"run": ("say", 3)}, "has run"),
        ({"run": ()}, "runs `driftbench `, which no study can"),
        ({"run": ("tran", "a")}, "runs `driftbench tran`, .* did you mean train"),
        ({"seconds": "soon"}, "has seconds = 'soon'; expected float"),
        ({"seconds": math.nan}, "has seconds = nan"),
        ({"seconds": -1}, "has seconds = -1"),
        ({"disk_gib": math.inf}, "has disk_gib = inf"),
        ({"gpu": "some"}, r"has gpu = 'some'; expected Literal\['', 'one', 'all', 'ranks'\]"),
        ({"gpu": True}, "has gpu = True"),
        ({"resumes": 1}, "has resumes = 1; expected bool"),
        ({"name": 5}, "has name = 5; expected str"),
        ({"name": "a\x1b[2Jb"}, "has name"),
        ({"name": "study"}, "no step can have the name 'study'"),
        ({"name": ""}, "no step can have the name ''"),
        ({"writes": ("a\0b",)}, "has writes"),
        ({"stage": ["x"] * 1000}, r"has stage = \['x', 'x', .*\.\.\.\]; expected str"),
    ],
)
def test_a_field_of_the_wrong_kind_is_one_sentence(fields, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        Step(**{"name": "x", "run": ("say", "a"), **fields})
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def two(**fields):
    return study(step("a", "say x a"), step("b", "say x b", reads="a"), **fields)


M, N = (Method(name=name, label=name, runs=()) for name in "mn")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"steps": ()}, "study study has no steps"),
        ({"steps": 3}, "has steps = 3"),
        ({"threads": "two"}, "has threads = 'two'; expected int"),
        ({"threads": True}, "has threads = True"),
        ({"global_batch": 2.5}, "has global_batch"),
        ({"sharding": {"a": 1}}, "has sharding"),
        ({"steps": (step("a", "say x a"), step("a", "say x b"))}, "two steps of the name a"),
        ({"steps": (step("a/b", "say x a"), step("a--b", "say x b"))}, "two steps of the name"),
        ({"methods": (M, M)}, "two methods of the name m"),
        ({"steps": (step("a", "say x a", reads="z"),)}, "step a reads z, which no step writes"),
        ({"baseline": "sft"}, "the baseline names the method 'sft', .* it has none"),
        (
            {"methods": (M, N), "claims": (Claim(text="t", method="m", against="o", group="g"),)},
            "claim 't' names the method 'o', which the study does not have; it has m, n",
        ),
    ],
)
def test_a_study_that_does_not_fit_together_is_one_sentence(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        replace(two(), **fields)


def test_methods_and_claims_are_checked():
    runs = MethodRun("f", 0, "a"), MethodRun("f", 0, "b")
    with pytest.raises(UserError, match="method m has two runs of one family and seed: give"):
        Method(name="m", label="M", runs=runs)
    assert Method(name="m", label="M", runs=runs, chosen_on="t").runs == runs
    with pytest.raises(UserError, match="a run of method m has seed = '0'; expected int"):
        Method(name="m", label="M", runs=(MethodRun("f", "0", "a"),))
    with pytest.raises(UserError, match="has the sign 2; it is one of 1, 0, −1"):
        Claim(text="t", method="m", against="n", group="g", sign=2)


def test_who_waits_for_whom_is_what_every_pair_of_paths_says():
    steps = load.load("pocket", seeds=2, controls=True).steps
    found = after(steps)
    for one in steps[::7]:
        assert found[one.name] == {
            other.name
            for other in steps
            if other is not one and any(within(r, w) for r in one.reads for w in other.writes)
        }
    nested = [
        step("inside", "say x y", writes="a/b/c"),
        step("around", "say x y", writes="a"),
        step("reader", "say x y", reads="a/b", writes=""),
    ]
    assert after(nested)["reader"] == {"inside", "around"}


def test_commands_are_the_doors_and_made_by_the_package_that_is_named_last():
    from driftbench.__main__ import app

    known = {command.name: command.callback for command in app.registered_commands}
    for command, packages in COMMANDS.items():
        if command in known:
            assert known[command].__module__.split(".")[0] == packages[-1], command
        else:
            assert command == "pocket" or packages == ("toy",)
