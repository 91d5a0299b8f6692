import pytest

from harness.studies.forecast import kind, left
from harness.studies.step import Step


def step(name, *run, seconds=10.0):
    return Step(name=name, run=run, seconds=seconds)


def test_what_waits_for_another_begins_after_it():
    figures = {"a": 10, "b": 20, "c": 5, "d": 1}.items()
    a, b, c, d = (step(name, "train", name, seconds=s) for name, s in figures)
    # Two jobs: a 0–10, b 0–20; c, which waits for a, 10–15; d, which waits for b, 20–21.
    assert left([a, b, c, d], {}, {}, {"c": ["a"], "d": ["b"]}, jobs=2) == 21
    assert left([a, b, c, d], {}, {}, {"c": ["a"], "d": ["b"]}, jobs=1) == 36
    assert left([a, b], {}, {}, {"b": ["a"]}, jobs=8) == 30
    assert left([], {}, {}, {}, jobs=2) == 0


def test_figures_are_corrected_by_what_became_of_their_kind():
    done = {step("x", "train", "sft"): 30.0, step("y", "eval", "a/x", seconds=100): 50.0}
    assert left([step("z", "train", "sft")], {}, done, {}, jobs=1) == 30, "its own kind"
    assert left([step("z", "train", "drift")], {}, done, {}, jobs=1) == 30, "its command"
    assert left([step("z", "eval", "b/x")], {}, done, {}, jobs=1) == 5, "paths make no kind"
    assert left([step("z", "merge", "b/x")], {}, done, {}, jobs=1) == pytest.approx(80 / 11)


def test_a_step_that_runs_has_gone_a_part_of_its_way():
    run, next_ = step("a", "train", "sft"), step("b", "train", "sft")
    assert left([next_], {run: 4.0}, {}, {}, jobs=1) == 16
    # Overdue: its kind takes at least 20 s, and another 15 % of it.
    assert left([next_], {run: 20.0}, {}, {}, jobs=1) == pytest.approx(20 * 0.15 + 20)


def test_the_kind_is_the_command_and_what_it_makes():
    assert kind(step("a", "pocket", "base", "--out", "x")) == ("pocket", "base")
    assert kind(step("a", "distance", "a/vlm", "a/llm")) == ("distance",)


def test_ten_seeds_of_a_study_are_told_at_once():
    chain = [step(f"{i}", "train", "sft", seconds=1) for i in range(3000)]
    after = {f"{i}": [f"{i - 3}"] for i in range(3, 3000)} | {"2999": [f"{i}" for i in range(2999)]}
    assert left(chain, {}, {}, after, jobs=3) == 1001
