"""Labels of the curves of what was tried."""

import math

import pytest

from reports.plots import study_tuning


@pytest.mark.parametrize(
    "lines, expected",
    [
        ([""], ("", [""])),
        (["alpha 1", "alpha 0.5"], ("alpha", ["1", "0.5"])),
        (["alpha 1", "steps 400"], ("", ["alpha 1", "steps 400"])),
        (["alpha 1, steps 2", "alpha 1, steps 4"], ("", ["alpha 1, steps 2", "alpha 1, steps 4"])),
    ],
)
def test_lines_are_named_by_what_sets_them_apart(lines, expected):
    assert study_tuning._named(lines) == expected


def test_labels_that_would_touch_are_left_out():
    rates = [0.002, 0.0025, 0.003, 0.02]  # 10 %, 8 % and 82 % of the axis apart
    assert study_tuning._apart(rates, math.log) == [0.002, 0.0025, 0.02]
    assert study_tuning._apart(rates, float) == [0.002, 0.02]
    assert study_tuning._apart([1.0], float) == [1.0]
