import dataclasses

import pytest

from reports import load, tables
from reports.plots import pareto
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


def test_points_of_a_study(study):
    block = load.collect([study]).blocks[0]
    label, found = pareto.points(tables.compare(block))
    assert label == "making it (device-seconds)"
    by_label = {point.label: point for point in found}
    # The reasoner reads text only, so that it has no score of all; α = 0 is the VLM.
    assert set(by_label) == {"VLM", "SFT", "DRIFT"} | {
        row.label for row in (*block.sweep, *block.rows) if row.alpha and row in block.rows
    } | {row.label for row in block.sweep if row.alpha and row.alpha != block.choice.alpha}
    assert (by_label["VLM"].cost, by_label["VLM"].kind) == (0, "given")
    assert (by_label["DRIFT"].cost, by_label["DRIFT"].kind) == (9.2, "trained")
    table = tables.compare(block)
    assert by_label["DRIFT"].score == 100 * table.line("drift").entries[0].cell.score


def test_without_costs_of_making_those_of_asking_count(tmp_path):
    import graded

    questions = graded.simple_questions(4)
    for name, seconds in (("a", 3.0), ("b", 6.0)):
        answers = graded.simple_answers(questions, [1, 0, 1, 1])
        graded.write_run(tmp_path / name, questions, answers, seconds=seconds)
    table = tables.compare(load.collect([tmp_path]).blocks[0])
    label, found = pareto.points(table)
    assert label == "asking it (seconds)" and [point.cost for point in found] == [3.0, 6.0]
    rows = tuple(
        dataclasses.replace(
            row, run=dataclasses.replace(row.run, card=dataclasses.replace(row.run.card, seconds=0))
        )
        for row in table.block.rows
    )
    free = dataclasses.replace(table.block, rows=rows)
    assert pareto.plot(tables.compare(free)) is None
