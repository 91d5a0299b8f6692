"""Rows written by hand: each protocol judges them as written."""

import published
import pytest

import tasks
from tasks.judging import settle

CASES = [
    pytest.param(task, case, id=f"{task}: {case['kind']}")
    for task, cases in published.golden().items()
    for case in cases
]


@pytest.mark.parametrize(("task", "case"), CASES)
def test_golden_rows(task, case):
    for protocol, expected in case["verdicts"].items():
        verdict = tasks.load(task, protocol).verdict
        found, _ = settle(verdict, case["row"], case["text"], case.get("replies", ()))
        assert list(found) == expected, protocol


def test_every_benchmark_has_some():
    variants = {"mathverse_text_only", "mathverse_vision_only", "mathvision_testmini",
                "mathvista_test", "gsm8k_train", "emma_mini", "infovqa", "pocket",
                "pocket_validation", "pocket_text"}  # fmt: skip
    assert set(published.golden()) == set(tasks.names()) - variants
    assert len(CASES) > 110
