import pytest

from harness.statistics.choice import best, best_keeping, keeping


@pytest.mark.parametrize(
    "kept, least, able, chosen",
    [
        ({"mild": 0.95, "mid": 0.91, "strong": 0.60}, 0.90, ["mild", "mid"], "mid"),
        ({"mild": 0.95, "mid": 0.89, "strong": 0.60}, 0.90, ["mild"], "mild"),
        # Nothing keeps enough: what loses least.
        ({"mild": 0.70, "mid": 0.80, "strong": 0.60}, 0.90, [], "mid"),
        # Exactly as much as may be lost, but for rounding: 0.95 − 0.05 is below 0.9.
        ({"mild": 0.95, "mid": 0.95 - 0.05, "strong": 0.60}, 0.90, ["mild", "mid"], "mid"),
    ],
)  # fmt: skip
def test_the_best_of_those_that_keep_enough(kept, least, able, chosen):
    scores = {"mild": 0.3, "mid": 0.5, "strong": 0.7}
    assert keeping(scores, kept, least) == able
    assert best_keeping(scores, kept, least) == chosen


def test_of_equals_the_first():
    assert best({"a": 0.5, "b": 0.5}) == "a"
    assert best_keeping({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 1.0}, 0.9) == "a"
