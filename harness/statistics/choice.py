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


def keeping(scores: Mapping[T, float], kept: Mapping[T, float], least: float) -> list[T]:
    """Return the candidates of which enough is kept.

    Args:
        scores: Of the candidates.
        kept: Their scores on what is to be kept.
        least: That these may not fall below. Equal means of shares differ by rounding: that much
            below is not below.
    """
    return [one for one in scores if kept[one] >= least - 1e-12]


def best_keeping(scores: Mapping[T, float], kept: Mapping[T, float], least: float) -> T:
    """Choose the best of those that keep enough; where none does, the one that keeps most.

    >>> best_keeping({"mild": 0.5, "strong": 0.7}, {"mild": 0.95, "strong": 0.6}, 0.9)
    'mild'
    """
    able = keeping(scores, kept, least)
    return best({one: scores[one] for one in able} or kept)
