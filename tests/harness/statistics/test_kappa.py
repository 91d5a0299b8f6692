import math

import pytest
from graded import verdict

from harness.statistics.agreement import agreement


def graded(words):
    known = {"r": True, "w": False, "o": None}
    return [verdict(i, known[word]) for i, word in enumerate(words)]


def test_kappa_by_hand():
    # 10 answers, 7 alike. Shares right 5, 6; wrong 4, 3; unparsed 1, 1: chance 0.30 + 0.12 + 0.01.
    found = agreement(graded("rrrrrwwwwo"), graded("rrrrwwwrro"))
    assert (found.n, found.share) == (10, 0.7)
    assert found.counts == {
        ("right", "right"): 4,
        ("right", "wrong"): 1,
        ("wrong", "wrong"): 2,
        ("wrong", "right"): 2,
        ("unparsed", "unparsed"): 1,
    }
    assert found.kappa == pytest.approx((0.7 - 0.43) / 0.57)
    assert (found.score_a, found.score_b) == (0.5, 0.6)


def test_kappa_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    a, b = "rwwrorrwrwrrwooorw" * 3, "rwwwrrrworrrwoorrw" * 3
    assert agreement(graded(a), graded(b)).kappa == pytest.approx(
        metrics.cohen_kappa_score(list(a), list(b))
    )


def test_one_word_alone_is_no_agreement_beyond_chance():
    assert math.isnan(agreement(graded("rrr"), graded("rrr")).kappa)


def test_nothing_in_common_is_refused():
    with pytest.raises(ValueError, match="no answer was graded by both"):
        agreement(graded("r"), [])
