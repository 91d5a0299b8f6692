"""The flat rows of a study: a method by one seed on one group of questions, and a trial.

All that a report says of a study is made from these rows and from its claims (`reports.study`), so
that the same can be made again from the CSV files that hold them (`reports.study_csv`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SETTLED = 0.1
"""A training has converged where the second half of its steps brought less than this share of all
that its loss fell."""


@dataclass(frozen=True)
class Mean:
    """A number over seeds."""

    values: tuple[float, ...]
    """By seed."""
    mean: float
    stderr: float
    """Over seeds; nan for a single one."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a checkpoint was trained, and what it took; None: nothing tells."""

    loss: float | None = None
    """Mean of the last tenth of its steps."""
    converged: bool | None = None
    """See `SETTLED`."""
    rho: float | None = None
    """Displacement along Δ, ⟨w − w₀, Δ⟩ / ‖Δ‖²."""
    flops: float | None = None
    """Floating point operations, those of what it was made from and of sampling included."""
    processor_seconds: float | None = None
    """Likewise."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A method of one family and seed on one group of questions: a line of study_scores.csv."""

    family: str
    title: str
    """Of the family, in tables."""
    method: str
    label: str
    seed: int
    group: str
    n: int
    """Questions."""
    answers: int
    """Several of a question where it was asked several times; what follows counts these."""
    correct: int
    unparsed: int
    truncated: int
    error: int
    score: float
    floor: float | None
    """What always the same answer scores on these questions."""
    alpha: float | None
    """Share of the reasoner, of the merge that was chosen."""
    moved: float | None
    """‖w − w₀‖ / ‖Δ‖."""
    training: Training = field(default_factory=Training)

    @property
    def readable(self) -> float:
        """Share of right ones among the answers that could be read; nan where none could."""
        read = self.answers - self.unparsed - self.truncated - self.error
        return self.correct / read if read else math.nan


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial, scored on the questions that choose: a line of study_trials.csv."""

    family: str
    title: str
    method: str
    label: str
    seed: int
    settings: Mapping[str, float | str]
    score: float
    """On the group whose score is to be high."""
    kept: float | None
    """Score on the group that is to be kept."""
    training: Training = field(default_factory=Training)


def converged(losses: Sequence[float]) -> bool | None:
    """Whether a training's second half brought less than `SETTLED` of all that the loss fell.

    Compared are the means of the first, the middle and the last tenth. The last tenth against the
    one before would tell nothing: the step size has gone to zero by then, and every loss is flat.

    Returns:
        None for fewer than 30 steps.
    """
    if len(losses) < 30:
        return None
    tenth, middle = len(losses) // 10, len(losses) // 2
    first, last = mean(losses[:tenth]), mean(losses[-tenth:])
    half = mean(losses[middle - tenth // 2 : middle + (tenth + 1) // 2])
    return first > last and half - last < SETTLED * (first - last)


def mean(values: Sequence[float]) -> float:
    """Return Σ x / n."""
    return math.fsum(values) / len(values)


def over_seeds(values: Iterable[float]) -> Mean:
    """Mean and its standard error, √(Σ (x − mean)² / (n − 1) / n).

    >>> round(over_seeds([0.4, 0.6]).stderr, 3)
    0.1
    """
    found = tuple(values)
    middle = math.fsum(found) / len(found)
    if len(found) < 2:
        return Mean(found, middle, math.nan)
    squares = math.fsum((value - middle) ** 2 for value in found)
    return Mean(found, middle, math.sqrt(squares / (len(found) - 1) / len(found)))


def known(values: Iterable[float | None]) -> Mean | None:
    """Mean of what is known; None where nothing is."""
    there = [value for value in values if value is not None]
    return over_seeds(there) if there else None
