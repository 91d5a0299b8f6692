"""The time that a running study still takes, by its figures and how they came true."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

from harness.studies.step import Step

OVERDUE = 0.15
"""Share of its time so far that a step still takes which has taken longer than expected."""


def kind(step: Step) -> tuple[str, ...]:
    """What a step has in common with others of its kind: its command, and what it is told to make.

    >>> kind(Step(name="a/sft", run=("train", "pocket_sft", "--out", "a/sft")))
    ('train', 'pocket_sft')
    >>> kind(Step(name="a/merges", run=("merge", "a/vlm", "a/reasoner")))
    ('merge',)
    """
    return tuple(word for word in step.run[:2] if "/" not in word)


def left(
    waiting: Sequence[Step],
    running: Mapping[Step, float],
    done: Mapping[Step, float],
    after: Mapping[str, Iterable[str]],
    *,
    jobs: int,
) -> float:
    """Seconds until the last step ends, each begun in turn as soon as a job is free for it.

    A step takes what its figure says, times what became of the figures of its kind; where none has
    ended, of its command; else of all.

    Args:
        waiting: Steps that have not begun.
        running: Step → seconds for which it has run.
        done: Step → seconds that it took.
        after: Name of a step → names of those that it waits for.
        jobs: Steps at a time.
    """
    ratio = _Ratios(done, running)
    ends: dict[str, float] = {}
    for step, seconds in running.items():
        expected = ratio.of(step) * step.seconds
        ends[step.name] = expected - seconds if expected > seconds else OVERDUE * seconds
    free = sorted([*ends.values(), *[0.0] * (jobs - len(ends))])
    steps = {step.name: step for step in waiting}
    turns = {name: turn for turn, name in enumerate(steps)}
    order = TopologicalSorter(
        {name: [other for other in after.get(name, ()) if other in steps] for name in steps}
    )
    order.prepare()
    ready: list[tuple[float, int, str]] = []
    while order.is_active():
        for name in order.get_ready():
            begin = max(
                (ends[other] for other in after.get(name, ()) if other in ends), default=0.0
            )
            heapq.heappush(ready, (begin, turns[name], name))
        begin, _, name = heapq.heappop(ready)
        start = max(begin, heapq.heappop(free))
        ends[name] = start + ratio.of(steps[name]) * steps[name].seconds
        heapq.heappush(free, ends[name])
        order.done(name)
    return max(ends.values(), default=0.0)


class _Ratios:
    """Seconds taken over seconds expected, of kinds and commands."""

    def __init__(self, done: Mapping[Step, float], running: Mapping[Step, float]) -> None:
        self.sums: dict[tuple[str, ...], tuple[float, float]] = {}
        for step, seconds in done.items():
            self._add(step, seconds)
        for step, seconds in running.items():
            if seconds > self.of(step) * step.seconds:  # it will take longer still
                self._add(step, seconds)

    def _add(self, step: Step, seconds: float) -> None:
        for key in {kind(step), step.run[:1], ()}:
            taken, expected = self.sums.get(key, (0.0, 0.0))
            self.sums[key] = taken + seconds, expected + step.seconds

    def of(self, step: Step) -> float:
        for key in (kind(step), step.run[:1], ()):
            taken, expected = self.sums.get(key, (0.0, 0.0))
            if expected:
                return taken / expected
        return 1.0
