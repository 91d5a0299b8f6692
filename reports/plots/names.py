"""Names beside points: over no point and no other name while there is room, and not outside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

SIZE = 6
"""Of a name, in points, as everything below."""
HEIGHT = 1.15 * SIZE
REACH = 2.5
"""From the middle of a point to its edge."""
GAP = 2.5
"""Between a point and its name."""
STEPS = 4
"""How many heights a name may stand above or below its point."""
PASSES = 6
"""In which names may still change place."""


@dataclass(frozen=True)
class Named:
    """A point with its name."""

    text: str
    """As matplotlib reads it."""
    x: float
    y: float
    color: str


@dataclass(frozen=True)
class Box:
    """A rectangle on the figure."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: "Box") -> float:
        """Area that two have in common."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(wide, 0.0) * max(high, 0.0)

    def area(self) -> float:
        """Width × height."""
        return (self.right - self.left) * (self.top - self.bottom)


def put(
    axis: Any,
    names: Sequence[Named],
    points: Sequence[tuple[float, float, float]],
    line: Sequence[tuple[float, float]] = (),
) -> list[Box]:
    """Write names beside their points.

    Args:
        axis: With its limits set and everything else drawn.
        names: To be written.
        points: x, y and error of all points, with names or without.
        line: x, y of the corners of stairs that go up to the right.

    Returns:
        Where each name is.
    """
    axis.figure.draw_without_rendering()  # lays the figure out
    to_points = axis.transData + axis.figure.dpi_scale_trans.inverted()

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = to_points.transform((x, y))
        return 72 * across, 72 * up

    dots, errors = [], []
    for x, y, error in points:
        across, up = at(x, y)
        dots.append(Box(across - REACH, up - REACH, across + REACH, up + REACH))
        errors.append(Box(across - 0.5, at(x, y - error)[1], across + 0.5, at(x, y + error)[1]))
    for (x, y), (end, top) in pairwise(at(*corner) for corner in line):
        errors.append(Box(x - 0.5, y - 0.5, end + 0.5, top + 0.5))
    corners = [at(x, y) for x, y in zip(axis.get_xlim(), axis.get_ylim(), strict=True)]
    # Beyond the right end of the axis the figure has some room.
    frame = Box(*corners[0], 72 * axis.figure.get_figwidth() - GAP, corners[1][1])
    ways = [list(_ways(*at(one.x, one.y), _width(one.text), frame)) for one in names]
    chosen = places(ways, dots, errors, frame)
    for one, box in zip(names, chosen, strict=True):
        across, up = at(one.x, one.y)
        middle = (box.bottom + box.top) / 2 - up
        far = abs(middle) > 1.5 * HEIGHT
        axis.annotate(
            one.text,
            (one.x, one.y),
            xytext=(box.left - across, middle),
            textcoords="offset points",
            va="center",
            fontsize=SIZE,
            color=one.color,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": one.color} if far else None,
        ).set_in_layout(False)
    return chosen


def places(
    ways: Sequence[Sequence[Box]], dots: Sequence[Box], errors: Sequence[Box], frame: Box
) -> list[Box]:
    """Choose a place for each name: one at a time, and again while that frees anything.

    Args:
        ways: For each name where it may stand, the best first.
        dots: What no name should lie over.
        errors: What names had better not lie over.
        frame: What they should lie within.
    """
    fixed = [
        [
            rank + 4 * _over(box, dots) + _over(box, errors) + 4 * _outside(box, frame)
            for rank, box in enumerate(own)
        ]
        for own in ways
    ]
    chosen: dict[int, Box] = {}
    for _ in range(PASSES):
        before = dict(chosen)
        for i, own in enumerate(ways):
            others = [box for place, box in chosen.items() if place != i]
            costs = [cost + 4 * _over(box, others) for cost, box in zip(fixed[i], own, strict=True)]
            chosen[i] = own[costs.index(min(costs))]
        if chosen == before:
            break
    return list(chosen.values())


def _over(box: Box, others: Sequence[Box]) -> float:
    """How bad it is that a box lies over others: each counts, and how much of it."""
    return sum(10 + shared for other in others if (shared := box.shared(other)))


def _outside(box: Box, frame: Box) -> float:
    rest = box.area() - box.shared(frame)
    return 10 + rest if rest > 0.01 else 0.0


def _ways(x: float, y: float, width: float, frame: Box) -> Iterator[Box]:
    """Where the name of a point may stand: right, left, above, below, then further off."""
    last = frame.right - width
    half, off = HEIGHT / 2, REACH + GAP
    for left, middle in ((x + off, y), (x - off - width, y)):
        yield Box(left, middle - half, left + width, middle + half)
    for step in range(1, STEPS + 1):
        for up in (step, -step):
            middle = y + up * HEIGHT + (GAP if up > 0 else -GAP)
            for wanted in (x + REACH, x - width / 2, x - REACH - width):
                left = min(max(wanted, frame.left), last)
                yield Box(left, middle - half, left + width, middle + half)


def _width(text: str) -> float:
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), text, size=SIZE).get_extents().width if text.strip() else 0.0
