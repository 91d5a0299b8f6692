import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from graded import verdict

from common.errors import UserError
from harness.statistics import pass_at_k, scores
from harness.statistics.paired import paired


def answers(id, *given):
    """Verdicts of one question; the answer 7 is right, None could not be read."""
    right = {None: None, "7": True}
    how = {None: "unparsed"}
    return [
        verdict(id, right.get(a, False), answer=a, how=how.get(a, "rule"), sample=k)
        for k, a in enumerate(given)
    ]


@pytest.mark.parametrize("n, right, k", [(5, 2, 1), (5, 2, 3), (6, 6, 2), (6, 0, 2), (4, 3, 4)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(n, right, k):
    graded = answers("q", *["7"] * right, *["1"] * (n - right))
    subsets = list(itertools.combinations([v.correct for v in graded], k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    assert pass_at_k.pass_at(k, graded) == pytest.approx(expected)
    assert pass_at_k.score_of(f"pass@{k}")[0](graded) == pytest.approx(expected)


def test_pass_at_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="pass@3 takes 3 answers to a question, and there are 2"):
        pass_at_k.pass_at(3, answers("q", "7", "7"))


@pytest.mark.parametrize(
    "given, score",
    [
        (["7", "7", "1"], 1.0),
        (["7", "1", "1"], 0.0),
        (["7", "1", "2"], 1 / 3),
        (["7", "1", None, None, None], 1 / 2),
        ([None, None], 0.0),
        (["7", "B", " b"], 0.0),
        (["7", "7", "1", "1"], 1 / 2),
    ],
)
def test_majority_votes_over_answers(given, score):
    assert pass_at_k.majority(answers("q", *given)) == pytest.approx(score)


def test_right_answers_are_one_however_written():
    graded = [
        verdict("q", right, answer=text, sample=k)
        for k, (text, right) in enumerate([("0.5", True), ("1/2", True), ("2", False)])
    ]
    assert pass_at_k.majority(graded) == 1.0


@pytest.mark.parametrize("metric", ["pass@0", "pass@", "median", "pass@x", ""])
def test_unknown_metrics_are_refused(metric):
    with pytest.raises(UserError, match="expected mean, maj, or pass@k"):
        pass_at_k.score_of(metric)


def test_both_variances_by_hand():
    # Shares 1, 1/2, 0 of 2 answers: within 0, 1/2, 0; variance of the shares 1/4.
    graded = answers(1, "7", "7") + answers(2, "7", "1") + answers(3, "1", "1")
    found = pass_at_k.spread(graded)
    assert (found.questions, found.answers) == (3, 2)
    assert found.within == pytest.approx(1 / 6)
    assert found.between == pytest.approx(1 / 4 - 1 / 12)
    [cell] = scores.cells("r", graded)
    parts = found.stderr_between**2 + found.stderr_within**2
    assert parts == pytest.approx(cell.stderr**2)


def test_both_variances_are_found_again():
    generator = random.Random(3)
    chances = [generator.betavariate(2, 3) for _ in range(4000)]
    graded = [
        v
        for i, p in enumerate(chances)
        for v in answers(i, *("7" if generator.random() < p else "1" for _ in range(6)))
    ]
    found = pass_at_k.spread(graded)
    assert found.between == pytest.approx(np.var(chances), rel=0.1)
    assert found.within == pytest.approx(np.mean([p * (1 - p) for p in chances]), rel=0.05)


def test_one_answer_a_question_has_no_variance_within():
    assert pass_at_k.spread(answers(1, "7") + answers(2, "1")) is None
    assert pass_at_k.spread(answers(1, "7", "1")) is None


def test_paired_by_majority_is_a_test_of_right_or_wrong():
    a = [v for i in range(9) for v in answers(i, "7", "7", "1")]
    b = [v for i in range(9) for v in answers(i, "1", "1", "7" if i < 8 else "1")]
    found = paired(a, b, score=pass_at_k.majority)
    assert (found.test, found.only_a, found.p) == ("exact McNemar", 9, 2 / 2**9)
    assert math.isclose(found.difference, 1.0)


def test_the_parts_of_the_error_make_up_that_of_clusters():
    """Versions of a problem that are right or wrong together: it is problems that are few."""
    generator = random.Random(0)
    graded = [
        verdict(
            f"{problem}/{version}", generator.random() < ease, sample=sample, cluster=f"{problem}"
        )
        for problem, ease in enumerate(generator.choice((0.05, 0.95)) for _ in range(60))
        for version in range(5)
        for sample in range(4)
    ]
    found = pass_at_k.spread(graded)
    _, stderr = scores.score_and_error(graded)
    assert found.stderr_between**2 + found.stderr_within**2 == pytest.approx(stderr**2)
    assert found.stderr_between > 5 * found.stderr_within
    assert pass_at_k.spread([replace(one, cluster="one") for one in graded]) is None
