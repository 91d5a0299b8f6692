"""Which of several candidates is kept: merges by their share, trials by their settings."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def best(scores: Mapping[T, float]) -> T:
    """Choose the candidate of the highest score; of equals, the first.

    Merges are given by growing share of the reasoner: of equals, the least merged is kept.

    >>> best({0.0: 0.5, 0.1: 0.75, 0.3: 0.75})
    0.1
    """
    return max(scores, key=scores.__getitem__)
