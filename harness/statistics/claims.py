"""What the claims of a study turn out to be: p over one family of tests, and a word for each.

The family of tests is declared before anything is counted: each primary claim in each family of
models for which it is asked. All of it is corrected together (Holm 1979), and a test that could not
be made counts as p = 1, so that what is missing makes no other easier. Every other claim is
exploratory: its p is as the test gave it, and its word is no more than a hint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.statistics import compare
from harness.statistics.resampling import LEVEL, holm
from harness.statistics.seeds import SeedDifference

Verdict = Literal[
    "supported", "contradicted", "below the floor", "inside the noise", "cannot be told"
]
"""Of a claim. Contradicted: as sure as `supported`, the other way round. Below the floor: as sure,
but the better of the two scores no more than who knows part of an answer and guesses the rest."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A claim in one family of models."""

    found: SeedDifference | None
    """None: it could not be made."""
    sign: int
    """1: the first method is to score higher; −1: lower; 0: the two are to differ."""
    primary: bool
    """Of the declared family of tests."""
    floor: float | None = None
    """Score that needs no more than partial knowledge; None: there is no such."""


@dataclass(frozen=True)
class Judged:
    """What became of a test."""

    p: float
    """Corrected for the others where it is primary."""
    verdict: Verdict


def judge(tests: Sequence[Asked]) -> list[Judged | None]:
    """Judge the tests of a study, in their order; None for those that could not be made."""
    declared = [place for place, one in enumerate(tests) if one.primary]
    raw = [one.found.p if one.found else 1.0 for one in tests]
    corrected = dict(zip(declared, holm([raw[place] for place in declared]), strict=True))
    found: list[Judged | None] = []
    for place, one in enumerate(tests):
        p = corrected.get(place, raw[place])
        level = LEVEL / len(declared) if one.primary else LEVEL
        found.append(Judged(p, _verdict(one, one.found, p, level)) if one.found else None)
    return found


def _verdict(test: Asked, found: SeedDifference, p: float, level: float) -> Verdict:
    word = compare.finding(found, p, level)
    if word != "supported":
        return word
    if test.floor is not None and max(found.score_a, found.score_b) <= test.floor:
        return "below the floor"
    return "contradicted" if test.sign * found.difference < 0 else "supported"
