"""MATH-500 against lm-eval's copy of MATH's own rule."""

import itertools
import json
import warnings

import pytest

import tasks
from tasks import math500

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its escapes, when it is compiled
    from lm_eval.tasks.hendrycks_math import utils

ANSWERS = [
    "\\frac{1}{2}", "\\dfrac12", "\\tfrac{1}{2}", "1/2", "0.5", ".5", " .5", "x=5", "5", "5.0",
    "xyz = 5", "a=b=5", "\\sqrt3", "\\sqrt{3}", "2\\sqrt 3", "\\frac1{72}", "\\frac12x",
    "\\frac1", "5\\text{ cm}", "5\\text{ cm}\\text{ or}", "90^\\circ", "90^{\\circ}", "90",
    "\\left(1,2\\right)", "(1,2)", "(1, 2)", "10\\%", "10", "\\$10", "1\\!000", "-3/4",
    "\\frac{-3}{4}", "-\\frac{3}{4}", "\\sqrt", "\\frac", "{.5}", "", "05/10", "12/3",
]  # fmt: skip


def test_the_comparison_is_the_official_one():
    for first, second in itertools.product(ANSWERS, ANSWERS):
        expected = utils.is_equiv(first, second)
        assert math500.equivalent(first, second) == expected, (first, second)


def test_what_lm_evals_copy_lacks():
    # modeling/math_equivalence.py drops every per cent sign, and lets a fraction of letters be.
    assert math500.equivalent("10%", "10")
    assert math500.equivalent("x / y", "x/y")


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("so \\boxed{1} and \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed 5$ as asked", "5"),
        ("\\boxed{1", None),
        ("\\fbox{1}", None),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_box_counts(text, inside):
    assert math500._boxed(text) == inside


def test_prompt_byte_for_byte():
    assert math500.to_prompt({"problem": "Solve."}) == (
        "Solve.\nPlease reason step by step, and put your final answer within \\boxed{}."
    )


def test_it_loads_from_its_own_file(tmp_path):
    row = {"problem": "Solve.", "solution": "s", "answer": "5", "subject": "Algebra", "level": 2,
           "unique_id": "test/algebra/1.json"}  # fmt: skip
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    task = tasks.load("math500")
    (found,) = task.rows(tmp_path)
    assert found["id"] == "test/algebra/1.json"
    assert task.groups(found) == ("subject: Algebra", "level: 2")
    assert task.to_images(found) == []
