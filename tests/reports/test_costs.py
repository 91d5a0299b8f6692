"""What checkpoints cost, with what they were made from."""

import csv
import io
from dataclasses import replace

import pytest

from common.provenance import Made
from reports import costs, load
from reports.blocks import Cost

SFT = {"name": "sft", "method": "sft", "fingerprint": "f"}


@pytest.fixture
def block(study):
    """A merge of SFT at two shares, and GRPO from the first."""
    first = SFT | {"flops": 2e9, "processor_seconds": 30.0}
    merged = {"flops": 0, "processor_seconds": 0.5, "before": [first]}
    second = {"name": "m", "method": "merge", "fingerprint": "g", "processor_seconds": 0.5}
    grown = {
        "flops": 5e9,
        "processor_seconds": 60.0,
        "seconds": 999.0,
        "before": [first, second | {"flops": 0}],
    }
    block = load.collect([study]).blocks[0]
    point = block.sweep[1].run.name
    made = {point: ("merge", merged), "grpo": ("grpo", grown), "old": ("sft", {"seconds": 9.0})}
    found = [Cost(name, Made(method=how, cost=cost), 2.5) for name, (how, cost) in made.items()]
    return replace(block, costs=(*found, Cost(block.sweep[2].run.name, found[0].made, None)))


def test_a_cost_stands_beside_the_whole_and_a_clock_nowhere(block):
    shown = {line[0]: line[4:8] + line[-1:] for line in costs.lines(block)}
    assert shown == {
        "grpo": ["5 GFLOP", "7 GFLOP", "60.0 s", "90.5 s", "2.5 s"],
        "old": ["–", "–", "–", "–", "2.5 s"],
        # Two merges of one SFT, which was trained once.
        "2 merges": ["–", "2 GFLOP", "1.0 s", "31.0 s", "2.5 s"],
    }
    assert costs.LEGEND in costs.markdown([block]) and costs.LEGEND in costs.latex([block])


def test_the_long_form_has_both_at_full_precision(block):
    rows = {row["checkpoint"]: row for row in csv.DictReader(io.StringIO(costs.long_form([block])))}
    assert "before" not in rows["grpo"]
    numbers = ("flops", "whole_flops", "processor_seconds", "whole_processor_seconds", "seconds")
    assert [float(rows["grpo"][name]) for name in numbers] == [5e9, 7e9, 60, 90.5, 999]
    assert [rows["old"][name] for name in numbers] == ["", "", "", "", "9.0"]
    assert rows["grpo"]["asking_processor_seconds"] == "2.5"
