import itertools
import math
import random
import time

import pytest

from harness import tally
from harness.records import Verdict


def verdict(id, correct, *, sample=0, how="rule", groups=("all",), task="t"):
    return Verdict(task, str(id), sample, correct, None, how, groups)


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
        verdict(3, None, how="open"),
        verdict(4, None, how="truncated"),
        verdict(5, None, how="truncated"),
        verdict(6, None, how="error"),
    ]
    [cell] = tally.cells("r", verdicts)
    assert (cell.n, cell.correct, cell.open, cell.truncated, cell.error) == (6, 1, 1, 2, 1)
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


def test_mean_cell_weighs_groups_alike():
    verdicts = run_of([1, 1, 0, 0], groups=("a",)) + [
        verdict(f"b{i}", i < 1, groups=("b",)) for i in range(2)
    ]
    a, b = tally.cells("r", verdicts)
    mean = tally.mean_cell([a, b])
    assert (mean.group, mean.n, mean.correct, mean.score) == ("mean", 6, 3, 0.5)
    # Variances of the means: (1/4)/3 and (1/4)/1.
    assert mean.stderr == pytest.approx(math.sqrt(1 / 12 + 1 / 4) / 2)


def test_paired_by_hand():
    a = run_of([1, 1, 1, 1, 1, 0, 1, 0, 0, 0])
    b = run_of([1, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    found = tally.paired(a, reversed(b))  # matched by id, not by position
    assert (found.n, found.only_a, found.only_b, found.test) == (10, 4, 1, "exact McNemar")
    assert found.difference == pytest.approx(0.3)
    assert found.p == 2 * (1 + 5) / 2**5  # P(X ≤ 1) of Binomial(5, ½), doubled
    # Differences: four +1, one −1, five 0: Σx = 3, Σx² = 5.
    assert found.stderr == pytest.approx(math.sqrt((5 - 0.9) / 9 / 10))
    back = tally.paired(b, a)
    assert (back.difference, back.only_a, back.p) == (-found.difference, 1, found.p)


@pytest.mark.parametrize("b, c", [(0, 0), (1, 0), (6, 0), (3, 4), (30, 55), (400, 333), (0, 2000)])
def test_mcnemar_equals_scipy(b, c):
    from scipy.stats import binomtest

    found = tally.paired(run_of([1] * b + [0] * c + [1]), run_of([0] * b + [1] * c + [1]))
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_twenty_thousand_discordant_pairs_is_exact_and_fast():
    started = time.perf_counter()
    p = tally._mcnemar(9_900, 10_100)
    assert time.perf_counter() - started < 1
    exact = 2 * sum(math.comb(2_000, k) for k in range(991)) / 2**2_000
    assert tally._mcnemar(990, 1_010) == exact
    assert p == pytest.approx(0.159383435985, rel=1e-9)


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
    found = tally.paired(a, b)
    assert found.test == "sign flip"
    assert found.difference == pytest.approx(sum(differences) / 12)
    assert found.p == pytest.approx(exact_sign_flip(differences), abs=0.01)
    assert tally.paired(a, b) == found  # nothing random in the result


def test_differences_of_one_size_are_exact_whatever_their_size():
    # 1 − 2/3 and 1/3 − 0 differ in the last bit only.
    def thirds(counts):
        return [verdict(i, k < n, sample=k) for i, n in enumerate(counts) for k in range(3)]

    found = tally.paired(thirds([3, 1, 1, 2]), thirds([2, 0, 0, 1]))
    assert (found.test, found.p) == ("exact McNemar", 2 / 2**4)


def test_different_questions_are_refused_unless_asked_for_the_intersection():
    a, b = run_of([1, 1, 0, 1]), run_of([1, 0, 0, 1, 1, 1])[1:]
    with pytest.raises(
        tally.Unpairable, match="3 in common, 1 only in the first, 2 only in the sec"
    ):
        tally.paired(a, b)
    found = tally.paired(a, b, intersection=True)
    assert (found.n, found.only_a, found.only_b) == (3, 1, 0)
    with pytest.raises(tally.Unpairable, match="no question in common"):
        tally.paired(a[:1], b, intersection=True)


def test_paired_mean_of_equal_groups_pools_the_discordant_pairs():
    a1, b1 = run_of([1, 1, 1, 0]), run_of([0, 0, 1, 0])
    a2, b2 = run_of([1, 0, 1, 1], task="u"), run_of([0, 1, 0, 0], task="u")
    found = tally.paired_mean([(a1, b1), (a2, b2)])
    assert found.difference == pytest.approx((2 / 4 + 2 / 4) / 2)
    assert (found.n, found.only_a, found.only_b, found.test) == (8, 5, 1, "exact McNemar")
    assert found.p == 2 * (1 + 6) / 2**6
    one, two = tally.paired(a1, b1), tally.paired(a2, b2)
    assert found.stderr == pytest.approx(math.hypot(one.stderr, two.stderr) / 2)


def test_paired_mean_of_unequal_groups_weighs_their_questions():
    a1, b1 = run_of([1, 1, 0]), run_of([0, 0, 0])
    a2, b2 = run_of([0, 0, 1, 0, 1], task="u"), run_of([1, 1, 0, 1, 1], task="u")
    found = tally.paired_mean([(a1, b1), (a2, b2)])
    assert found.difference == pytest.approx((2 / 3 - 2 / 5) / 2)
    assert found.test == "sign flip"
    weighted = [1 / 3, 1 / 3, 0, -1 / 5, -1 / 5, 1 / 5, -1 / 5, 0]
    assert found.p == pytest.approx(exact_sign_flip(weighted), abs=0.01)


def test_paired_mean_refuses_overlapping_groups():
    a = run_of([1, 0])
    with pytest.raises(tally.Unpairable, match="two of the groups"):
        tally.paired_mean([(a, a), (a, a)])


def test_holm_by_hand():
    assert tally.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert tally.holm([0.5, 0.9]) == [1.0, 1.0]
    assert tally.holm([]) == []


def test_minimal_detectable_and_questions_needed_are_inverse():
    for n, discordance in [(100, 0.3), (1000, 0.1), (1000, 0.2), (20_000, 0.05)]:
        delta = tally.minimal_detectable(n, discordance)
        assert tally.questions_needed(delta * (1 + 1e-9), discordance) == n
    # Connor's formula by hand: ψ = 0.2, δ = 0.1: (1.959964·√0.2 + 0.841621·√0.19)² / 0.01.
    assert tally.questions_needed(-0.1, 0.2) == math.ceil((0.876523 + 0.366854) ** 2 / 0.01)
    assert tally.minimal_detectable(5, 0.2) == math.inf
    assert tally.minimal_detectable(100, 0.0) == math.inf


@pytest.mark.parametrize("difference, discordance", [(0, 0.2), (0.3, 0.2), (0.1, 1.2)])
def test_questions_needed_refuses_the_impossible(difference, discordance):
    with pytest.raises(ValueError, match="cannot come from"):
        tally.questions_needed(difference, discordance)


def test_the_detectable_difference_is_found_about_four_times_in_five():
    generator = random.Random(0)
    n, discordance = 400, 0.2
    delta = tally.minimal_detectable(n, discordance)
    up = (discordance + delta) / 2
    found = 0
    for _ in range(1000):
        draws = [generator.random() for _ in range(n)]
        b = sum(x < up for x in draws)
        c = sum(up <= x < discordance for x in draws)
        found += tally._mcnemar(b, c) < 0.05
    assert 0.74 < found / 1000 < 0.84  # the exact test is a little stricter than the formula
