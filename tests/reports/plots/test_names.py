"""Names beside points: none over a point or another name, none outside."""

import random

import pytest

from reports.plots import names, style
from reports.plots.names import Box, Named


def drawn(points, log=False, line=()):
    """Draw named points; where the points and their names are, and the frame."""
    from matplotlib.figure import Figure

    with style._settings():
        figure = Figure(figsize=(style.INCHES, 2.3), layout="constrained")
        axis = figure.subplots()
        if log:
            axis.set_xscale("log")
        axis.set_xlim(1, 100)
        axis.set_ylim(0, 100)
        given = [Named(name, x, y, style.INK) for name, x, y in points]
        boxes = names.put(axis, given, [(x, y, 2.0) for _, x, y in points], line)
        scale = axis.transData + figure.dpi_scale_trans.inverted()
        middles = [72 * scale.transform((x, y)) for _, x, y in points]
        ends = [72 * scale.transform(corner) for corner in ((1, 0), (100, 100))]
    reach = names.REACH
    dots = [Box(x - reach, y - reach, x + reach, y + reach) for x, y in middles]
    return boxes, dots, Box(*ends[0], 72 * style.INCHES, ends[1][1]), axis


CROWDS = {
    "one": [("VLM", 50, 50)],
    "in the corners": [("merge then SFT", 1, 0), ("merge then SFT", 100, 100)],
    "on one height": [(f"SFT {i}", 20 + 15 * i, 50) for i in range(5)],
    "one under another": [(f"DRIFT, form {i}", 90, 50 + 4 * i) for i in range(5)],
    "on one spot": [(f"DRIFT {i}", 60, 50) for i in range(5)],
}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("crowd", CROWDS)
def test_no_name_lies_over_anything_or_outside(crowd, log):
    boxes, dots, frame, axis = drawn(CROWDS[crowd], log)
    assert [text.get_text() for text in axis.texts] == [name for name, _, _ in CROWDS[crowd]]
    for i, box in enumerate(boxes):
        assert not any(box.shared(dot) for dot in dots)
        assert not any(box.shared(other) for other in boxes[:i])
        assert box.shared(frame) == pytest.approx(box.area())


def test_points_at_random_have_names_that_can_be_read():
    numbers = random.Random(0)
    for _ in range(3):
        points = [(f"method {i}", numbers.uniform(5, 95), numbers.uniform(5, 95)) for i in range(9)]
        boxes, dots, _, _ = drawn(points)
        assert not any(box.shared(dot) for box in boxes for dot in dots)
        assert not any(a.shared(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_name_stands_right_of_its_point_where_nothing_is_in_the_way():
    (box,), (dot,), _, _ = drawn([("VLM", 50, 50)])
    assert box.left == pytest.approx(dot.right + names.GAP)
    assert (box.bottom + box.top) / 2 == pytest.approx((dot.bottom + dot.top) / 2)


def test_names_stand_beside_the_stairs_that_lead_through_their_points():
    points = [("VLM", 10, 20), ("SFT", 40, 50), ("DRIFT", 70, 80)]
    stairs = [(10, 20), (40, 20), (40, 50), (70, 50), (70, 80), (100, 80)]
    boxes, dots, _, _ = drawn(points, line=stairs)
    for box, dot in zip(boxes, dots, strict=True):
        assert box.right < dot.left


def test_the_best_of_places_is_taken_by_hand():
    whole = Box(0, 0, 100, 100)
    first = [Box(0, 0, 10, 10), Box(20, 0, 30, 10)]
    second = [Box(5, 0, 15, 10), Box(50, 0, 60, 10)]
    assert names.places([first, second], [], [], whole) == [first[0], second[1]]
    in_the_way = [Box(0, 0, 1, 1)]
    assert names.places([first, second], in_the_way, [], whole) == [first[1], second[0]]
    assert names.places([first, second], [], in_the_way, whole) == [first[1], second[0]]
    assert Box(0, 0, 4, 4).shared(Box(2, 3, 9, 9)) == 2.0
