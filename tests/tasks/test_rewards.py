"""Rewards of sampled answers are the verdicts of the tasks."""

import doctest
from typing import get_args, get_type_hints

import pytest

from drift.training.config import TrainConfig
from tasks import math500, pocket, rewards


def test_examples():
    assert doctest.testmod(rewards) == (0, 3)


def test_every_reward_of_a_recipe_has_its_rule():
    (names,) = (get_args(one) for one in get_args(get_type_hints(TrainConfig)["reward"])[:1])
    assert {name for name in names if callable(getattr(rewards, name))} == {"word", "math"}


@pytest.mark.parametrize(
    "text",
    ["<think> 3 + 4 = 7 </think> 7", "7", "<think> 3 </think> 8", "<think> 7", "so 7 .", ""],
)
def test_word_is_the_verdict_of_the_pocket(text):
    _, verdict = pocket.verdict({"answer": "7"}, text)
    for truth in ("7", "<think> 1 + 6 = 7 </think> 7"):
        assert rewards.word(truth, text) is verdict


@pytest.mark.parametrize(
    ("stated", "text", "verdict"),
    [
        ("12", r"Hence \boxed{12}.", True),
        ("12", "The answer is 13.", False),
        ("12", "I cannot tell.", None),
        (r"\frac{3}{4}", "so it is 0.75", True),
        ("(3, 4)", r"\boxed{(4, 3)}", False),
    ],
)
def test_math_is_the_verdict_of_math500(stated, text, verdict):
    assert math500.robust({"answer": stated}, text)[1] is verdict
    worked = f"<think> What is it? </think> We find \\boxed{{{stated}}}."
    for truth in (stated, worked, f"Some steps.\nThe answer is {stated}."):
        assert rewards.math(truth, text) is verdict


@pytest.mark.parametrize("truth", ["B", "(B)", "The answer is B.", r"\boxed{B}"])
def test_letters_are_read_as_choices(truth):
    assert rewards.math(truth, "<think> A? </think> The answer is (B).") is True
    assert rewards.math(truth, "Answer: C") is False
    assert rewards.math(truth, "A or B") is None


def test_a_truth_that_says_nothing_is_matched_by_nothing():
    for truth in ("<think> 7", ""):
        assert rewards.word(truth, "7") is None and rewards.math(truth, "7") is None
