import pytest

from harness.statistics import claims, seeds
from harness.statistics.resampling import holm

LOW, HIGH = [0.30 + 0.01 * i for i in range(10)], [0.42 + 0.011 * i for i in range(10)]


def asked(a, b, *, sign=1, primary=True, floor=None):
    found = seeds.over_seeds(a, b)
    return claims.Asked(found=found, sign=sign, primary=primary, floor=floor)


def words(*tests):
    return [one and one.verdict for one in claims.judge(tests)]


def test_primary_claims_are_one_family_and_the_others_stay_raw():
    tests = [
        asked(HIGH, LOW),
        asked([0.1, 0.5, 0.5], [0.2, 0.3, 0.4], primary=False),
        asked(HIGH[:6], LOW[:6]),
        asked([0.1, 0.5, 0.5], [0.2, 0.3, 0.4]),
    ]
    found = claims.judge(tests)
    raw = [one.found.p for one in tests]
    assert raw == pytest.approx([2 / 1024, 3 / 4, 2 / 64, 3 / 4])
    expected = holm([raw[0], raw[2], raw[3]])
    assert [one.p for one in found] == pytest.approx([expected[0], raw[1], *expected[1:]])
    assert [one.p for one in found] == pytest.approx([6 / 1024, 3 / 4, 4 / 64, 3 / 4])


def test_a_declared_test_that_was_not_made_makes_no_other_easier():
    missing = claims.Asked(found=None, sign=1, primary=True)
    alone, nothing = claims.judge([asked(HIGH[:6], LOW[:6])]), claims.judge([missing])
    assert alone[0].verdict == "supported" and nothing == [None]
    beside = claims.judge([asked(HIGH[:6], LOW[:6]), missing])
    assert beside[1] is None and beside[0].p == pytest.approx(4 / 64)
    # A test that is not of the family does not count.
    other = claims.Asked(found=None, sign=1, primary=False)
    assert claims.judge([asked(HIGH[:6], LOW[:6]), other])[0].p == pytest.approx(2 / 64)


def test_which_way_a_claim_points():
    assert words(asked(HIGH, LOW)) == ["supported"]
    assert words(asked(LOW, HIGH)) == ["contradicted"]
    assert words(asked(LOW, HIGH, sign=-1)) == ["supported"]
    assert words(asked(HIGH, LOW, sign=-1)) == ["contradicted"]
    assert words(asked(LOW, HIGH, sign=0)) == ["supported"]


def test_nothing_is_supported_where_the_better_score_is_that_of_partial_knowledge():
    better = sum(HIGH) / 10
    assert words(asked(HIGH, LOW, floor=better - 0.001)) == ["supported"]
    for floor in (better, 0.9):
        assert words(asked(HIGH, LOW, floor=floor)) == ["below the floor"]
        assert words(asked(LOW, HIGH, floor=floor)) == ["below the floor"]
    # What is inside the noise is so anywhere.
    assert words(asked(LOW, [*LOW[1:], LOW[0]], floor=0.9)) == ["inside the noise"]


def test_five_seeds_that_all_agree_cannot_tell():
    assert words(asked(HIGH[:5], LOW[:5], primary=False)) == ["cannot be told"]
    # Ten reach p = .00195, which is too much for a family of 26 tests.
    many = [claims.Asked(found=None, sign=1, primary=True)] * 25
    assert words(asked(HIGH, LOW), *many[:24])[0] == "supported"
    assert words(asked(HIGH, LOW), *many)[0] == "cannot be told"
