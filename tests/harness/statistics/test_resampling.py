import itertools
import math
import random

import numpy as np
import pytest
from scipy import optimize, stats

from harness.statistics import resampling


def brute_sign_flip(values):
    observed = abs(sum(values)) - 1e-9
    flips = list(itertools.product((-1, 1), repeat=len(values)))
    return sum(
        abs(sum(s * v for s, v in zip(f, values, strict=True))) >= observed for f in flips
    ) / len(flips)


@pytest.mark.parametrize("b, c", [(0, 0), (1, 0), (3, 4), (0, 2000), (400, 333), (990, 1010)])
def test_mcnemar_equals_scipy(b, c):
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert resampling.mcnemar(b, c) == pytest.approx(expected, rel=1e-9)
    assert resampling.sign_flip([1.0] * b + [-1.0] * c + [0.0]) == (resampling.mcnemar(b, c), True)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, -3, 1, 1, -2, 4, 0, 1],
        [1 / 3, 1 - 2 / 3, -2 / 3, 1, 1, -1 / 3, 2 / 3],
        [0.25, -0.5, 0.75, 1.0, 0.25, 0.5, -0.25, 0.5, 1.0, 1.0],
        [2, -1, -1],
        [math.e, -0.1 * math.pi, 0.3, math.sqrt(2), 0, -1.7],
    ],
)
def test_sign_flip_counts_every_pattern(values):
    p, exact = resampling.sign_flip(values)
    assert exact and p == pytest.approx(brute_sign_flip(values), rel=1e-12)


def test_sign_flip_equals_scipys_permutation_test():
    generator = np.random.default_rng(2)
    values = generator.integers(-4, 6, 15)
    found = stats.permutation_test(
        (values, np.zeros(15)),
        lambda x, y, axis: (x - y).sum(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert resampling.sign_flip(values.tolist())[0] == pytest.approx(found.pvalue, rel=1e-9)


def test_sign_flip_of_values_without_a_unit_draws_patterns():
    generator = random.Random(0)
    values = [math.exp(generator.gauss(0, 1)) * generator.choice((-1, 1, 1)) for _ in range(21)]
    p, exact = resampling.sign_flip(values)
    every = sum_of_every_pattern(values)
    expected = (np.abs(every) >= abs(sum(values)) - 1e-9).mean()
    assert not exact and p == pytest.approx(expected, abs=0.012)
    assert resampling.sign_flip(values) == (p, False)
    # One part fewer, and every pattern is counted.
    half = sum_of_every_pattern(values[:20])
    expected = (np.abs(half) >= abs(sum(values[:20])) - 1e-9).mean()
    assert resampling.sign_flip(values[:20]) == (pytest.approx(expected, rel=1e-12), True)


def sum_of_every_pattern(values):
    signs = (np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1
    return (2 * signs - 1) @ np.array(values)


def test_sign_flip_of_many_clusters_stays_exact_and_near_the_normal():
    generator = random.Random(1)
    values = [float(generator.choice((-3, -2, -1, 0, 1, 2, 3))) for _ in range(3000)]
    values += [1.0] * 60
    p, exact = resampling.sign_flip(values)
    z = (abs(sum(values)) - 0.5) / math.sqrt(sum(v * v for v in values))
    assert exact and p == pytest.approx(2 * stats.norm.sf(z), rel=0.01)


def test_sign_flip_takes_what_is_left_of_rounding_for_nothing():
    """Three answers to each of three questions of a cluster: 1 − 2/3 and 0 − 1/3, 1 − 1."""
    left = math.fsum([1 - 2 / 3, 0 - 1 / 3, 0.0])
    moved = [1 / 3] * 15 + [2 / 3] * 10
    assert left and resampling.sign_flip([*moved, left]) == resampling.sign_flip(moved)
    assert resampling.sign_flip([left]) == (1.0, True)


def constrained(b, c, n, delta):
    """Score statistic of Tango, with the nuisance share found by maximising the likelihood."""

    def loss(q):
        p12, p21 = q + delta, q
        rest = 1 - p12 - p21
        terms = [(b, p12), (c, p21), (n - b - c, rest)]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in terms if k)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(loss, bounds=(low, high), options={"xatol": 1e-12}).x
    return (b - c - n * delta) / math.sqrt(n * (2 * q + delta - delta**2))


@pytest.mark.parametrize("b, c, n", [(12, 3, 60), (4, 1, 20), (30, 55, 400), (7, 7, 100)])
def test_score_interval_inverts_the_score_test(b, c, n):
    low, high = resampling.score_interval(b, c, n)
    assert low < (b - c) / n < high
    assert constrained(b, c, n, low) == pytest.approx(1.959964, abs=1e-3)
    assert constrained(b, c, n, high) == pytest.approx(-1.959964, abs=1e-3)
    back = resampling.score_interval(c, b, n)
    assert back == pytest.approx((-high, -low), abs=1e-9)


def test_score_interval_without_a_difference_is_no_certainty():
    z2 = 1.959964**2
    assert resampling.score_interval(0, 0, 40) == pytest.approx((-z2 / (40 + z2), z2 / (40 + z2)))
    low, high = resampling.score_interval(5, 0, 5)
    assert 0 < low < high == pytest.approx(1.0)


def column(values):
    return np.array(values, dtype=float).reshape(-1, 1)


def test_bootstrap_equals_scipys_of_single_questions():
    generator = np.random.default_rng(4)
    values = generator.choice([-1, -0.5, 0, 0.5, 1], 400, p=[0.1, 0.1, 0.5, 0.1, 0.2])
    low, high = resampling.bootstrap(column(values), np.ones((400, 1)))
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=generator
    ).confidence_interval
    spread = values.std() / 20
    assert (low, high) == pytest.approx(
        tuple(expected), abs=0.12 * spread
    )  # the means lie on a grid


def test_bootstrap_resamples_whole_clusters():
    generator = np.random.default_rng(5)
    sizes = generator.integers(1, 9, 80)
    sums = np.array([generator.integers(-size, size + 1) for size in sizes])
    draws = generator.integers(0, 80, (20_000, 80))
    ratios = sums[draws].sum(1) / sizes[draws].sum(1)
    low, high = resampling.bootstrap(column(sums), column(sizes))
    # Percentiles farther out by t(79) / z and by the root of 80 / 79.
    tail = stats.norm.cdf(stats.t.ppf(0.025, 79) * math.sqrt(80 / 79))
    expected = np.quantile(ratios, [tail, 1 - tail])
    assert (low, high) == pytest.approx(expected, abs=0.06 * ratios.std())
    assert resampling.bootstrap(column(sums), column(sizes)) == (low, high)


def test_bootstrap_of_a_mean_over_groups_draws_each_group_by_itself():
    generator = np.random.default_rng(6)
    one, two = generator.normal(0, 1, 60).round(1), generator.normal(1, 3, 30).round(1)
    sums, counts = np.zeros((90, 2)), np.zeros((90, 2))
    sums[:60, 0], sums[60:, 1], counts[:60, 0], counts[60:, 1] = one, two, 1, 1
    low, high = resampling.bootstrap(sums, counts)
    means = [x[generator.integers(0, len(x), (20_000, len(x)))].mean(1) for x in (one, two)]
    expected = np.quantile(np.mean(means, axis=0), [0.025, 0.975])
    assert (low, high) == pytest.approx(expected, abs=0.02)


def test_bootstrap_covers_the_truth_with_few_clusters():
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        sizes = generator.integers(1, 6, 25)
        lean = generator.choice([-1, 0, 1], 25, p=[0.15, 0.6, 0.25])  # 0.1 on average
        own = [np.where(generator.random(n) < 0.7, x, 0) for n, x in zip(sizes, lean, strict=True)]
        sums = [float(x.sum()) for x in own]
        low, high = resampling.bootstrap(column(sums), column(sizes), draws=1000)
        covered += low <= 0.07 <= high
    assert 0.92 < covered / 400 < 0.98


def test_bootstrap_without_variation_says_nothing():
    zeros = column([0, 0, 0])
    assert all(map(math.isnan, resampling.bootstrap(zeros, column([1, 2, 3]))))
    assert all(map(math.isnan, resampling.bootstrap(column([2]), column([3]))))
