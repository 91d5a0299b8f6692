import itertools
import math

import numpy as np
import pytest
from graded import verdict
from scipy import stats

from harness.statistics import power, seeds
from harness.statistics.paired import Unpairable, paired


def run_of(bits, cluster=lambda i: ""):
    return [verdict(i, bool(bit), answer="x", cluster=cluster(i)) for i, bit in enumerate(bits)]


def table(generator, runs, questions, base, seed_spread):
    """[runs, questions] of right answers: questions vary in difficulty, seeds in ability."""
    chance = base + generator.normal(0, seed_spread, (runs, 1))
    return generator.random((runs, questions)) < np.clip(chance, 0, 1)


def test_paired_seeds_by_hand():
    # Differences by seed and question: rows 1, 1, 0, 0 | 1, 0, 0, 0; means 1/2 and 1/4.
    a = [run_of([1, 1, 1, 0]), run_of([1, 1, 0, 0])]
    b = [run_of([0, 0, 1, 0]), run_of([0, 1, 0, 0])]
    found = seeds.compare(a, b, paired=True)
    assert (found.n, found.clusters, found.test) == (4, 4, "t over 2 and 2 paired seeds")
    assert (found.score_a, found.score_b) == (5 / 8, 1 / 4)
    assert found.difference == pytest.approx(3 / 8)
    assert found.stderr_seeds**2 == pytest.approx((2 * (1 / 8) ** 2) / 2)
    # Question means 1, 1/2, 0, 0: variance 11/48, over four questions.
    assert found.stderr_questions**2 == pytest.approx(11 / 48 / 4)
    total = found.stderr_seeds**2 + found.stderr_questions**2
    assert found.stderr == pytest.approx(math.sqrt(total))
    freedom = total**2 / (found.stderr_seeds**4 / 1 + found.stderr_questions**4 / 3)
    assert found.freedom == pytest.approx(freedom)
    t = found.difference / found.stderr
    assert found.p == pytest.approx(2 * stats.t.sf(t, freedom))
    reach = stats.t.ppf(0.975, freedom) * found.stderr
    assert found.high == pytest.approx(min(1, 3 / 8 + reach))


def test_one_question_asked_in_effect_is_a_t_test_over_seeds():
    # No question differs from another within a run, so that only seeds vary.
    a = [run_of([1, 1, 1]), run_of([1, 1, 1]), run_of([0, 0, 0])]
    b = [run_of([0, 0, 0]), run_of([1, 1, 1]), run_of([0, 0, 0]), run_of([0, 0, 0])]
    found = seeds.compare(a, b, paired=False)
    expected = stats.ttest_ind([1, 1, 0], [0, 1, 0, 0], equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.freedom == pytest.approx(expected.df)
    assert found.stderr_questions == 0


def test_a_method_with_one_checkpoint_does_not_vary():
    a = [run_of([1, 0, 1, 1]), run_of([1, 0, 0, 1])]
    found = seeds.compare(a, [run_of([0, 0, 1, 0])], paired=False)
    assert found.stderr_seeds**2 == pytest.approx(np.var([3 / 4, 1 / 2], ddof=1) / 2)


def test_clusters_of_copies_tell_no_more_than_one():
    generator = np.random.default_rng(1)
    a, b = table(generator, 3, 50, 0.6, 0.05), table(generator, 3, 50, 0.5, 0.05)
    plain = seeds.compare([run_of(r) for r in a], [run_of(r) for r in b], paired=True)
    repeated = [[run_of(np.repeat(r, 3), lambda i: f"c{i // 3}") for r in side] for side in (a, b)]
    copies = seeds.compare(*repeated, paired=True)
    assert (copies.n, copies.clusters) == (150, 50)
    assert (copies.stderr, copies.p) == pytest.approx((plain.stderr, plain.p))


def test_the_level_holds_where_seeds_vary_and_questions_alone_would_break_it():
    generator = np.random.default_rng(2)
    false, naive = 0, 0
    for _ in range(250):
        a, b = (table(generator, 3, 300, 0.5, 0.06) for _ in "ab")
        runs = [[run_of(r) for r in side] for side in (a, b)]
        false += seeds.compare(*runs, paired=False).p < 0.05
        naive += paired(runs[0][0], runs[1][0]).p < 0.05
    assert false / 250 < 0.09
    assert naive / 250 > 0.2


def test_what_cannot_be_compared_is_refused():
    one, other = [run_of([1, 0])], [run_of([1, 1])]
    with pytest.raises(Unpairable, match="neither method has runs of two training seeds"):
        seeds.compare(one, other, paired=False)
    apart = [verdict("z", True, answer="x")]
    with pytest.raises(Unpairable, match="no question in common"):
        seeds.compare([*one, apart], other, paired=False)
    with pytest.raises(ValueError, match="2 runs cannot be paired with 1"):
        seeds.compare(one * 2, other, paired=True)


def test_no_spread_at_all_proves_nothing():
    same = seeds.compare([run_of([1, 1]), run_of([1, 1])], [run_of([0, 0])], paired=False)
    assert (same.difference, same.p) == (1.0, 1.0)
    assert math.isnan(same.low)


def test_seeds_with_their_own_questions_are_tested_by_their_signs():
    generator = np.random.default_rng(3)
    a, b = table(generator, 5, 40, 0.6, 0.1), table(generator, 5, 40, 0.5, 0.1)
    found = seeds.replicated([(run_of(x), run_of(y)) for x, y in zip(a, b, strict=True)])
    difference = a.mean(1) - b.mean(1)
    assert found.differences == pytest.approx(tuple(difference))
    flips = np.array(list(itertools.product((1, -1), repeat=5)))
    extreme = np.abs(flips @ difference) >= abs(difference.sum()) - 1e-9
    assert found.p == extreme.mean() and found.least == 1 / 16
    assert found.test == "exact sign flip over 5 paired seeds, each with questions of its own"
    # The interval is that of the paired t test.
    expected = stats.ttest_rel(a.mean(1), b.mean(1))
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    within = np.var(a.astype(float) - b, axis=1, ddof=1) / 40
    assert found.stderr_questions == pytest.approx(math.sqrt(within.sum()) / 5)
    assert (found.score_a, found.score_b) == pytest.approx((a.mean(), b.mean()))
    assert found.stderr_b == pytest.approx(stats.sem(b.mean(1)))
    assert found.stderr_seeds**2 == pytest.approx(found.stderr**2 - within.sum() / 25)
    assert (found.n, found.clusters) == (200, 200)
    # Scores alone tell the same, but for the part of the questions.
    alone = seeds.over_seeds(a.mean(1).tolist(), b.mean(1).tolist())
    assert (alone.p, alone.low, alone.difference) == (found.p, found.low, found.difference)
    assert math.isnan(alone.stderr_questions) and math.isnan(alone.stderr_seeds)


@pytest.mark.parametrize(
    "differences, p",
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2 / 32),
        ([0.1] * 10, 2 / 1024),
        # Of 32 patterns 1 + 2 + 3 + 4 + 5 = ±15 and −1 + 2 + … = ±13 lie as far out as 13.
        ([-0.1, 0.2, 0.3, 0.4, 0.5], 4 / 32),
        # A seed without a difference says nothing either way.
        ([0.0, 0.2, 0.3, 0.4, 0.5], 2 / 16),
        ([0.1, -0.1], 1.0),
    ],
)
def test_the_sign_flip_over_seeds_by_hand(differences, p):
    found = seeds.over_seeds(differences, [0.0] * len(differences))
    assert found.p == pytest.approx(p, rel=1e-12)
    assert found.least == pytest.approx(2 / 2 ** sum(map(bool, differences)))


def test_nothing_is_said_of_what_an_exact_test_over_seeds_would_find():
    found = seeds.over_seeds([0.5, 0.52, 0.6, 0.4, 0.55, 0.5, 0.51], [0.1] * 7)
    assert found.p < 0.05 and power.detectable(found) == math.inf and power.settling(found) is None


def test_the_sign_flip_keeps_its_level_where_seeds_are_not_normal():
    generator = np.random.default_rng(4)
    draws = generator.choice([-0.4, -0.01, 0.01, 0.4], (600, 8), p=[0.1, 0.4, 0.4, 0.1])
    false = [seeds.over_seeds(draw, np.zeros(8)).p < 0.05 for draw in draws]
    assert np.mean(false) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_one_seed_and_seeds_that_agree():
    right, wrong = run_of([1, 1, 0]), run_of([1, 0, 0])
    alone = seeds.replicated([(right, wrong)])
    assert math.isnan(alone.stderr) and alone.p == alone.least == 1.0
    few = seeds.replicated([(run_of([1, 1, 1]), run_of([0, 0, 0])), (right, right)])
    assert (few.low, few.high) == (-1.0, 1.0)  # t with one degree of freedom reaches much further
    alike = seeds.replicated([(right, wrong)] * 3)
    assert (alike.difference, alike.p) == (pytest.approx(1 / 3), 1 / 4)
    assert math.isnan(alike.low)  # without any spread there is no t
    with pytest.raises(Unpairable):
        seeds.replicated([(right, run_of([1, 0]))])
