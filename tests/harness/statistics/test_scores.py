import itertools
import math
import random

import pytest
from graded import verdict
from scipy import stats

from harness.statistics import power, resampling
from harness.statistics import scores as tally
from harness.statistics.paired import Unpairable, paired, paired_mean


def run_of(bits, **kwargs):
    return [verdict(i, bool(bit), **kwargs) for i, bit in enumerate(bits)]


def test_binary_cell_has_the_binomial_standard_error():
    [cell] = tally.cells("sft", run_of([1] * 7 + [0] * 3))
    assert (cell.run, cell.task, cell.group, cell.n, cell.correct) == ("sft", "t", "all", 10, 7)
    assert cell.score == 0.7
    assert cell.stderr == pytest.approx(math.sqrt(0.7 * 0.3 / 9))


def test_what_could_not_be_scored_is_counted_and_is_not_correct():
    verdicts = [
        verdict(1, True),
        verdict(2, False),
        verdict(3, None, how="unparsed"),
        verdict(4, None, how="truncated"),
        verdict(5, None, how="truncated"),
        verdict(6, None, how="error"),
    ]
    [cell] = tally.cells("r", verdicts)
    assert (cell.n, cell.correct, cell.unparsed, cell.truncated, cell.error) == (6, 1, 1, 2, 1)
    assert cell.score == pytest.approx(1 / 6)


def test_groups_and_tasks_keep_their_first_appearance():
    verdicts = [
        verdict(1, True, groups=("all", "b")),
        verdict(2, False, groups=("all", "a", "b")),
        verdict(1, True, task="u"),
    ]
    found = [(c.task, c.group, c.n, c.score) for c in tally.cells("r", verdicts)]
    assert found == [
        ("t", "all", 2, 0.5),
        ("t", "b", 2, 0.5),
        ("t", "a", 1, 0.0),
        ("u", "all", 1, 1.0),
    ]


def test_several_samples_are_averaged_within_their_question():
    # Question scores 1, 1/2, 0, 1/4: mean 7/16; squared deviations 81 + 1 + 49 + 9 over 256.
    answers = {"1": "1111", "2": "1010", "3": "0000", "4": "0001"}
    verdicts = [
        verdict(i, bit == "1", sample=k)
        for i, bits in answers.items()
        for k, bit in enumerate(bits)
    ]
    [cell] = tally.cells("r", verdicts)
    assert (cell.n, cell.correct) == (4, 7)
    assert cell.score == 7 / 16
    assert cell.stderr == pytest.approx(math.sqrt(140 / 256 / 3 / 4))


def test_one_question_has_no_error_to_show():
    [cell] = tally.cells("r", [verdict(1, True)])
    assert cell.score == 1 and math.isnan(cell.stderr)
    assert tally.cells("r", []) == []


def test_a_verdict_given_twice_is_refused():
    with pytest.raises(ValueError, match="answer 0 to question 7 of t has two verdicts"):
        tally.cells("r", [verdict(7, True), verdict(7, False)])


def test_a_mean_over_groups_weighs_groups_alike():
    verdicts = run_of([1, 1, 0, 0], groups=("a",)) + [
        verdict(f"b{i}", i < 1, groups=("b",)) for i in range(2)
    ]
    mean = tally.cell("r", ("t", "mean"), verdicts[:4], verdicts[4:])
    assert (mean.group, mean.n, mean.correct, mean.score) == ("mean", 6, 3, 0.5)
    # Variances of the means: (1/4)/3 and (1/4)/1.
    assert mean.stderr == pytest.approx(math.sqrt(1 / 12 + 1 / 4) / 2)


def test_paired_by_hand():
    a = run_of([1, 1, 1, 1, 1, 0, 1, 0, 0, 0])
    b = run_of([1, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    found = paired(a, reversed(b))  # matched by id, not by position
    assert (found.n, found.only_a, found.only_b, found.test) == (10, 4, 1, "exact McNemar")
    assert found.difference == pytest.approx(0.3)
    assert found.p == 2 * (1 + 5) / 2**5  # P(X ≤ 1) of Binomial(5, ½), doubled
    # Differences: four +1, one −1, five 0: Σx = 3, Σx² = 5.
    assert found.stderr == pytest.approx(math.sqrt((5 - 0.9) / 9 / 10))
    back = paired(b, a)
    assert (back.difference, back.only_a, back.p) == (-found.difference, 1, found.p)


@pytest.mark.parametrize("b, c", [(0, 0), (1, 0), (6, 0), (3, 4), (30, 55), (400, 333), (0, 2000)])
def test_mcnemar_equals_scipy(b, c):
    from scipy.stats import binomtest

    found = paired(run_of([1] * b + [0] * c + [1]), run_of([0] * b + [1] * c + [1]))
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)


def exact_sign_flip(differences):
    observed = abs(sum(differences)) - 1e-9
    flips = list(itertools.product((-1, 1), repeat=len(differences)))
    extreme = sum(
        abs(sum(s * d for s, d in zip(f, differences, strict=True))) >= observed for f in flips
    )
    return extreme / len(flips)


def test_sampled_answers_are_tested_by_flipping_signs():
    generator = random.Random(3)
    a, b, differences = [], [], []
    for i in range(12):
        first = [generator.random() < 0.7 for _ in range(3)]
        second = [generator.random() < 0.4 for _ in range(3)]
        a += [verdict(i, bit, sample=k) for k, bit in enumerate(first)]
        b += [verdict(i, bit, sample=k) for k, bit in enumerate(second)]
        differences.append((sum(first) - sum(second)) / 3)
    found = paired(a, b)
    assert (found.test, found.interval) == ("exact sign flip", "bootstrap")
    assert found.difference == pytest.approx(sum(differences) / 12)
    assert found.p == pytest.approx(exact_sign_flip(differences), rel=1e-12)
    assert paired(a, b) == found  # nothing random in the result


def test_differences_of_one_size_are_exact_whatever_their_size():
    # 1 − 2/3 and 1/3 − 0 differ in the last bit only.
    def thirds(counts):
        return [verdict(i, k < n, sample=k) for i, n in enumerate(counts) for k in range(3)]

    found = paired(thirds([3, 1, 1, 2]), thirds([2, 0, 0, 1]))
    assert (found.test, found.p) == ("exact sign flip", 2 / 2**4)


def test_different_questions_are_refused_unless_asked_for_the_intersection():
    a, b = run_of([1, 1, 0, 1]), run_of([1, 0, 0, 1, 1, 1])[1:]
    with pytest.raises(Unpairable, match="3 in common, 1 only in the first, 2 only in the sec"):
        paired(a, b)
    found = paired(a, b, intersection=True)
    assert (found.n, found.only_a, found.only_b) == (3, 1, 0)
    with pytest.raises(Unpairable, match="no question in common"):
        paired(a[:1], b, intersection=True)


def test_paired_mean_of_equal_groups_pools_the_discordant_pairs():
    a1, b1 = run_of([1, 1, 1, 0]), run_of([0, 0, 1, 0])
    a2, b2 = run_of([1, 0, 1, 1], task="u"), run_of([0, 1, 0, 0], task="u")
    found = paired_mean([(a1, b1), (a2, b2)])
    assert found.difference == pytest.approx((2 / 4 + 2 / 4) / 2)
    assert (found.n, found.only_a, found.only_b, found.test) == (8, 5, 1, "exact McNemar")
    assert found.p == 2 * (1 + 6) / 2**6
    one, two = paired(a1, b1), paired(a2, b2)
    assert found.stderr == pytest.approx(math.hypot(one.stderr, two.stderr) / 2)


def test_paired_mean_of_unequal_groups_weighs_their_questions():
    a1, b1 = run_of([1, 1, 0]), run_of([0, 0, 0])
    a2, b2 = run_of([0, 0, 1, 0, 1], task="u"), run_of([1, 1, 0, 1, 1], task="u")
    found = paired_mean([(a1, b1), (a2, b2)])
    assert found.difference == pytest.approx((2 / 3 - 2 / 5) / 2)
    assert found.test == "exact sign flip"
    weighted = [1 / 3, 1 / 3, 0, -1 / 5, -1 / 5, 1 / 5, -1 / 5, 0]
    assert found.p == pytest.approx(exact_sign_flip(weighted), rel=1e-12)


def test_paired_mean_refuses_overlapping_groups():
    a = run_of([1, 0])
    with pytest.raises(Unpairable, match="two of the groups"):
        paired_mean([(a, a), (a, a)])


def test_holm_by_hand():
    assert resampling.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert resampling.holm([0.5, 0.9]) == [1.0, 1.0]
    assert resampling.holm([]) == []


def test_minimal_detectable_and_questions_needed_are_inverse():
    for n, discordance in [(100, 0.3), (1000, 0.1), (1000, 0.2), (20_000, 0.05)]:
        delta = power.minimal_detectable(n, discordance)
        assert power.questions_needed(delta * (1 + 1e-9), discordance) == n
    # Connor's formula by hand: ψ = 0.2, δ = 0.1: (1.959964·√0.2 + 0.841621·√0.19)² / 0.01.
    assert power.questions_needed(-0.1, 0.2) == math.ceil((0.876523 + 0.366854) ** 2 / 0.01)
    assert power.minimal_detectable(5, 0.2) == math.inf
    assert power.minimal_detectable(100, 0.0) == math.inf


@pytest.mark.parametrize("difference, discordance", [(0, 0.2), (0.3, 0.2), (0.1, 1.2)])
def test_questions_needed_refuses_the_impossible(difference, discordance):
    with pytest.raises(ValueError, match="cannot come from"):
        power.questions_needed(difference, discordance)


def test_the_detectable_difference_is_found_about_four_times_in_five():
    generator = random.Random(0)
    n, discordance = 400, 0.2
    delta = power.minimal_detectable(n, discordance)
    up = (discordance + delta) / 2
    found = 0
    for _ in range(1000):
        draws = [generator.random() for _ in range(n)]
        b = sum(x < up for x in draws)
        c = sum(up <= x < discordance for x in draws)
        found += resampling.mcnemar(b, c) < 0.05
    assert 0.74 < found / 1000 < 0.84  # the exact test is a little stricter than the formula


# Clusters


def clustered(sizes, chance, seed):
    """Verdicts of clusters of these sizes; each cluster has its own chance."""
    generator = random.Random(seed)
    found = []
    for cluster, size in enumerate(sizes):
        own = chance(generator)
        for place in range(size):
            right = generator.random() < own
            found.append(verdict(f"{cluster}/{place}", right, cluster=str(cluster)))
    return found


def test_the_error_of_a_clustered_score_by_hand():
    # Scores 1, 1 | 0, 0 | 1, 0: mean 1/2, deviations by cluster 1, −1, 0.
    bits = [1, 1, 0, 0, 1, 0]
    verdicts = [verdict(i, bool(bit), cluster=f"c{i // 2}") for i, bit in enumerate(bits)]
    [cell] = tally.cells("r", verdicts)
    assert cell.stderr == pytest.approx(math.sqrt(3 / 2 * 2) / 6)
    alone = [verdict(i, bool(bit)) for i, bit in enumerate(bits)]
    assert tally.cells("r", alone)[0].stderr == pytest.approx(math.sqrt(0.25 / 5))


def test_the_error_of_a_clustered_score_is_millers():
    # Miller 2024, section 2.2, without its missing factor G / (G − 1): the sum over all pairs of
    # questions of one cluster.
    verdicts = clustered([3, 4, 1, 2, 6, 3, 3], random.Random.random, 1)
    scores = [float(v.correct) for v in verdicts]
    n, middle = len(scores), sum(scores) / len(scores)
    pairs = sum(
        (x - middle) * (y - middle)
        for x, v in zip(scores, verdicts, strict=True)
        for y, w in zip(scores, verdicts, strict=True)
        if v.cluster == w.cluster
    )
    [cell] = tally.cells("r", verdicts)
    assert cell.stderr == pytest.approx(math.sqrt(7 / 6 * pairs) / n)


def test_one_cluster_has_no_error_to_show():
    [cell] = tally.cells("r", clustered([5], random.Random.random, 0))
    assert math.isnan(cell.stderr)


def test_the_mean_of_groups_that_share_clusters_moves_with_them():
    # The same four problems in two versions, answered alike: no more is known than from one.
    parts = [
        [verdict(f"{version}{i}", i < 2, groups=(version,), cluster=str(i)) for i in range(4)]
        for version in "ab"
    ]
    cells = [tally.cells("r", part)[0] for part in parts]
    assert tally.cell("r", ("t", "mean"), *parts).stderr == pytest.approx(cells[0].stderr)


def test_a_cluster_is_flipped_as_a_whole():
    first = clustered([1, 2, 3, 4, 2, 3, 1, 2, 5, 2], lambda g: g.random() ** 0.5, 1)
    second = clustered([1, 2, 3, 4, 2, 3, 1, 2, 5, 2], lambda g: g.random() ** 2, 2)
    found = paired(first, second)
    sums = {}
    for a, b in zip(first, second, strict=True):
        sums[a.cluster] = sums.get(a.cluster, 0) + a.correct - b.correct
    assert (found.n, found.clusters) == (25, 10)
    assert found.moved == sum(x != 0 for x in sums.values())
    assert found.p == pytest.approx(exact_sign_flip(list(sums.values())), rel=1e-12)
    middle = found.difference
    deviations = {c: x - middle * sum(v.cluster == c for v in first) for c, x in sums.items()}
    squares = sum(x**2 for x in deviations.values())
    assert found.stderr == pytest.approx(math.sqrt(10 / 9 * squares) / 25)


def test_clusters_that_only_one_run_knows_count():
    a, b = run_of([1, 1, 0, 1]), run_of([0, 0, 0, 0])
    told = [verdict(i, v.correct, cluster=str(i // 2)) for i, v in enumerate(b)]
    assert paired(a, told).clusters == paired(told, a).clusters == 2


def test_under_the_null_clusters_keep_the_level_that_questions_would_break():
    # Whole problems come out right or wrong for both runs alike in chance.
    generator = random.Random(5)
    false, naive = 0, 0
    for _ in range(300):
        a, b, flat_a, flat_b = [], [], [], []
        for cluster in range(30):
            shift = [generator.random() < 0.5 for _ in "ab"]
            for place in range(4):
                noise = [generator.random() < 0.1 for _ in "ab"]
                bits = [s != x for s, x in zip(shift, noise, strict=True)]
                for run, flat, bit in ((a, flat_a, bits[0]), (b, flat_b, bits[1])):
                    run.append(verdict(f"{cluster}/{place}", bit, cluster=str(cluster)))
                    flat.append(verdict(f"{cluster}/{place}", bit))
        false += paired(a, b).p < 0.05
        naive += paired(flat_a, flat_b).p < 0.05
    assert false / 300 < 0.08
    assert naive / 300 > 0.2


def test_what_a_comparison_can_tell_follows_the_design_effect():
    bits_a = [random.Random(i).random() < 0.5 for i in range(200)]
    bits_b = [random.Random(i + 1000).random() < 0.4 for i in range(200)]
    flat = paired(run_of(bits_a), run_of(bits_b))
    assert power.detectable(flat) == power.minimal_detectable(200, flat.discordance)
    assert power.settling(flat) == power.questions_needed(flat.difference, flat.discordance)
    # Every question four times: four times the questions, nothing more is known.
    copies = [
        [
            verdict(f"{i}/{copy}", bool(bit), cluster=str(i))
            for i, bit in enumerate(bits)
            for copy in range(4)
        ]
        for bits in (bits_a, bits_b)
    ]
    four = paired(*copies)
    assert (four.difference, four.stderr) == pytest.approx((flat.difference, flat.stderr))
    errors = power.detectable(four) / four.stderr
    assert errors == pytest.approx(power.reach(199)) == pytest.approx(2.8016, rel=0.01)
    assert power.settling(four) == math.ceil(800 * (errors * flat.stderr / flat.difference) ** 2)


@pytest.mark.parametrize("freedom", [2, 4, 8.5, 999])
def test_a_t_test_finds_what_it_is_said_to_find_four_times_in_five(freedom):
    far, end = power.reach(freedom), stats.t.ppf(0.975, freedom)
    assert stats.nct.sf(end, freedom, far) == pytest.approx(0.8, abs=1e-4)
    assert power.reach(math.inf) == pytest.approx(1.959964 + 0.841621, rel=1e-6)


def test_runs_that_never_differ_tell_nothing():
    found = paired(run_of([1, 0, 1]), run_of([1, 0, 1]))
    assert (found.p, found.moved, power.settling(found)) == (1.0, 0, None)
    assert power.detectable(found) == math.inf
    # Tango: z² / (n + z²).
    assert found.high == pytest.approx(1.959964**2 / (3 + 1.959964**2), rel=1e-6)
    alike = [verdict(i, True, cluster=str(i // 2)) for i in range(6)]
    same = paired(alike, alike)
    assert (same.clusters, same.interval, same.high) == (3, "score", found.high)
    one = paired(alike, [verdict(i, False, cluster=str(i // 2)) for i in range(6)])
    assert math.isnan(one.low) and math.isnan(one.high)  # all alike, without being certain
