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
        ({"run": "say a"}, "step 'x': run is a list, not 'say a'; write"),
        ({"run": ("say", None)}, r"run\[1\] is of type str, not None"),
        ({"run": ()}, "runs `driftbench `, which no study can"),
        ({"run": ("tran", "a")}, "runs `driftbench tran`, .* did you mean train"),
        ({"seconds": "soon"}, "seconds is of type float, not 'soon'"),
        ({"seconds": math.nan}, "seconds is a finite number, not nan"),
        ({"seconds": -1}, "step x takes less than no time"),
        ({"disk_gib": math.inf}, "disk_gib is a finite number"),
        ({"gpu": "some"}, "gpu is one of , one, all, ranks, not 'some'"),
        ({"gpu": True}, "gpu is one of"),
        ({"resumes": 1}, "resumes is of type bool, not 1"),
        ({"name": ["x"]}, r"name is of type str, not \['x'\]"),
        ({"name": "a\x1b[2Jb"}, "name has control characters"),
        ({"name": "study"}, "no step can have the name 'study'"),
        ({"name": ""}, "no step can have the name ''"),
        ({"writes": ("a\0b",)}, r"writes\[0\] has control characters"),
        ({"stage": ["x"] * 1000}, r"stage is of type str, not \['x', 'x', .*\.\.\.\]"),
    ],
)
def test_a_field_of_the_wrong_kind_is_one_sentence(fields, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        Step(**{"name": "x", "run": ("say", "a"), **fields})
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_lists_and_numbers_do_for_tuples_and_texts():
    made = Step(name=5, run=["say", 3], reads=[], seconds=2)
    assert (made.name, made.run, made.reads, made.seconds) == ("5", ("say", "3"), (), 2.0)


def two(**fields):
    return study(step("a", "say x a"), step("b", "say x b", reads="a"), **fields)


M, N = (Method(name=name, label=name, runs=()) for name in "mn")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"steps": ()}, "study study has no steps"),
        ({"steps": 3}, "steps is a list, not 3"),
        ({"steps": (3,)}, r"steps\[0\] is an object, not 3"),
        ({"threads": "two"}, "threads is of type int, not 'two'"),
        ({"threads": True}, "threads is of type int, not True"),
        ({"global_batch": 2.5}, "global_batch is of type int, not 2.5"),
        ({"sharding": {"a": None}}, "sharding: a is of type str, not None"),
        ({"sharding": ["a"]}, "sharding is a table of names and values"),
        ({"steps": (step("a", "say x a"), step("a", "say x b"))}, "two steps of the name a"),
        ({"steps": (step("a/b", "say x a"), step("a--b", "say x b"))}, "two steps of the name"),
        ({"methods": (M, M)}, "two methods of the name m"),
        ({"steps": (step("a", "say x a", reads="z"),)}, "step a reads z, which no step writes"),
        (
            {"steps": (step("a", "say x a", reads="b"), step("b", "say x b", reads="a"))},
            "steps of the study wait for one another: [ab], [ab], [ab]",
        ),
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
    with pytest.raises(UserError, match="seed is of type int, not '0'"):
        Method(name="m", label="M", runs=(MethodRun("f", "0", "a"),))
    with pytest.raises(UserError, match="sign is one of -1, 0, 1, not 2"):
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
    from driftbench.__main__ import application

    known = {command.name: command.callback for command in application().registered_commands}
    for command, packages in COMMANDS.items():
        if command in known:
            assert known[command].__module__.split(".")[0] == packages[-1], command
        else:
            assert command == "pocket" or packages == ("toy",)
