import dataclasses

import graded
import pytest

from reports import load, tables
from reports.plots import pareto, style
from reports.plots.pareto import Point


def points(*pairs):
    look = {"stderr": 1.0, "kind": "trained"}
    return [Point(label=str(i), cost=x, score=y, **look) for i, (x, y) in enumerate(pairs)]


@pytest.mark.parametrize(
    "pairs, expected",
    [
        ([(1, 10), (2, 20), (3, 15)], ["0", "1"]),
        ([(2, 20), (1, 10), (3, 30)], ["1", "0", "2"]),  # by growing cost
        ([(0, 50), (1, 40), (2, 50)], ["0"]),  # as good for more is beaten
        ([(1, 10), (1, 30), (1, 20)], ["1"]),  # the best of the cheapest alone
        ([(5, 5)], ["0"]),
    ],
)
def test_the_front_by_hand(pairs, expected):
    assert [point.label for point in pareto.front(points(*pairs))] == expected


def test_no_point_of_the_front_is_beaten_and_every_other_is():
    import random

    generator = random.Random(0)
    found = points(*((generator.randrange(9), generator.randrange(9)) for _ in range(60)))
    front = pareto.front(found)

    def beaten(point):
        return any(
            other.cost <= point.cost
            and other.score >= point.score
            and (other.cost < point.cost or other.score > point.score)
            for other in found
        )

    assert not any(map(beaten, front))
    best = {(point.cost, point.score) for point in front}
    assert all(beaten(p) or (p.cost, p.score) in best for p in found)


def test_of_many_points_those_of_the_front_alone_are_named():
    falling = points(*((x, 90 - x) for x in range(pareto.MOST_NAMES + 1)))
    assert pareto._named(falling[:-1]) == falling[:-1]
    assert pareto._named(falling) == falling[:1]


def test_a_logarithmic_axis_of_few_decades_has_labels_that_can_be_read():
    found = points((1.5e11, 40), (4e11, 50), (1.4e12, 60))
    figure = pareto._figure("computation", found, found)
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    labels = [label.get_text() for label in axis.get_majorticklabels()]
    assert {"100 G", "200 G", "500 G", "1 T", "2 T"} <= set(labels)
    assert not any(label.get_text() for label in axis.get_minorticklabels())


def test_points_of_a_study(study):
    table = tables.compare(load.collect([study]).blocks[0])
    block = table.block
    found = pareto.points(table, pareto.AXES[0])
    by_label = {point.label: point for point in found}
    # The reasoner reads text only, so that it has no score of all; α = 0 is the VLM.
    assert set(by_label) == {"VLM", "SFT", "DRIFT"} | {
        row.label for row in (*block.sweep, *block.rows) if row.alpha and row in block.rows
    } | {row.label for row in block.sweep if row.alpha and row.alpha != block.choice.alpha}
    assert (by_label["VLM"].cost, by_label["VLM"].kind) == (0, "given")
    assert (by_label["DRIFT"].cost, by_label["DRIFT"].kind) == (2.4e12, "trained")
    assert {point.cost for point in found if point.kind == "merge"} == {2.4e12}, "as on record"
    untold = tuple(
        dataclasses.replace(c, made=dataclasses.replace(c.made, cost={})) for c in block.costs
    )
    free = dataclasses.replace(table, block=dataclasses.replace(block, costs=untold))
    kinds = {point.kind: point.cost for point in pareto.points(free, pareto.AXES[0])}
    assert kinds == {"given": 0, "merge": 0}, (
        "a merge computes next to nothing; of SFT nothing is known"
    )
    assert by_label["DRIFT"].score == 100 * table.line("drift").entries[0].cell.score


def test_a_merge_without_a_share_is_no_training(study):
    table = tables.compare(load.collect([study]).blocks[0])
    row = next(row for row in table.block.rows if row.run.name == "drift")
    made = dataclasses.replace(row.run.card.made, method="merge", settings={"method": "ties"})
    run = dataclasses.replace(row.run, card=dataclasses.replace(row.run.card, made=made))
    ties = dataclasses.replace(row, run=run)
    assert pareto._point(table.block, row, 1.0).kind == "trained"
    assert pareto._point(table.block, ties, 1.0).kind == "merge"


def test_what_a_checkpoint_was_made_from_counts_too(study):
    table = tables.compare(load.collect([study]).blocks[0])
    before = {"name": "sft", "method": "sft", "fingerprint": "f", "flops": 1e12}
    costs = []
    for one in table.block.costs:
        cost = one.made.cost | {"before": [before]}
        costs.append(dataclasses.replace(one, made=dataclasses.replace(one.made, cost=cost)))
    block = dataclasses.replace(table.block, costs=tuple(costs))
    table = dataclasses.replace(table, block=block)
    flops, processor = (pareto.points(table, axis) for axis in pareto.AXES)
    assert {point.cost for point in flops if point.label == "DRIFT"} == {3.4e12}
    assert "DRIFT" not in {point.label for point in processor}, "what SFT took is not known"


def test_families_are_on_one_scale_and_no_clock_is_an_axis(study):
    counted = [tables.compare(block) for block in load.collect([study]).blocks]
    for found in zip(*pareto.plots(counted), strict=True):  # one for FLOPs, one for processor time
        drawn = [style.figure(plot).axes[0] for plot in found]
        assert len({axis.get_xlim() for axis in drawn}) == 1
        assert len({axis.get_ylim() for axis in drawn}) == 1
    assert not any("second" in axis.label and "processor" not in axis.label for axis in pareto.AXES)


def test_without_a_cost_nothing_is_drawn(tmp_path):
    questions = graded.simple_questions(4)
    for name in "ab":
        answers = graded.simple_answers(questions, [1, 0, 1, 1])
        graded.write_run(tmp_path / name, questions, answers, seconds=3.0)
    assert pareto.plots([tables.compare(load.collect([tmp_path]).blocks[0])]) == [[]]


def test_the_line_of_the_front_goes_up_in_stairs_from_edge_to_edge():
    line = pareto.stairs(points((0, 50), (4, 40), (5, 60)), 2.0, 10.0)
    assert line == [(2.0, 50), (5, 50), (5, 60), (10.0, 60)]
    assert pareto.stairs([], 2.0, 10.0) == []
