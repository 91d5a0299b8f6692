"""What checkpoints took to make and to ask, as tables."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from common.provenance import AMOUNTS, Made, cost_of, coverage_of, whole
from common.text import (
    csv_text,
    in_markdown,
    latex_row,
    latex_table,
    markdown_table,
    percent,
)
from reports.blocks import Block, Cost

HEADS = (
    "checkpoint", "method", "samples", "tokens", "computation", "in all", "processor time",
    "in all", "peak memory", "device", "asking",
)  # fmt: skip
LEGEND = (
    "In all: with what the checkpoint was made from, sampling included, what the study begins with "
    "not. Processor time is of all cores, of making a checkpoint and of asking it; seconds on the "
    "clock depend on what else a machine does."
)


def lines(block: Block) -> list[list[str]]:
    """What each checkpoint of a block took to make and to ask, merges of a sweep as one."""
    swept = {row.run.name for row in block.sweep} - {"vlm"}
    merges = [cost for cost in block.costs if cost.name in swept]
    found = [_line(cost) for cost in block.costs if cost.name not in swept]
    return [*found, _line(_sum(merges))] if merges else found


def markdown(blocks: Sequence[Block]) -> str:
    """Write the costs of some blocks as a section of a Markdown document."""
    parts = ["# Cost"]
    for block in (block for block in blocks if block.costs):
        rows = [list(map(in_markdown, line)) for line in lines(block)]
        table = markdown_table(HEADS, rows, "l" + "r" * (len(HEADS) - 1))
        parts += [f"## {in_markdown(block.title)}", table]
    return "\n\n".join([*parts, LEGEND]) + "\n" if len(parts) > 1 else ""


def latex(blocks: Sequence[Block]) -> str:
    """Write the costs of some blocks in LaTeX, one `table*` each."""
    return "\n".join(
        latex_table(
            f"{block.title}: what each checkpoint took to make and to ask. {LEGEND}",
            f"cost-{block.name}",
            "ll" + "r" * (len(HEADS) - 2),
            [latex_row(HEADS), r"\midrule", *map(latex_row, lines(block))],
        )
        for block in blocks
        if block.costs
    )


FIELDS = (
    "block checkpoint method samples tokens flops whole_flops processor_seconds "
    "whole_processor_seconds seconds devices device peak_memory_bytes asking_processor_seconds"
).split()


def long_form(blocks: Sequence[Block]) -> str:
    """Write the costs as CSV at full precision, a line a checkpoint; unknown is empty."""
    return csv_text(FIELDS, rows(blocks))


def rows(blocks: Sequence[Block]) -> list[dict[str, object]]:
    """What each checkpoint took, under `FIELDS`."""
    return [
        {name: value for name, value in asdict(spent).items() if name != "before"}
        | {f"whole_{what}": whole(spent, what) for what in AMOUNTS}
        | {"block": block.name, "checkpoint": cost.name}
        | {"asking_processor_seconds": cost.asking}
        | {"method": cost.made.method if cost.made else None}
        for block in blocks
        for cost in block.costs
        for spent in [cost_of(cost.made)]
    ]


def _sum(costs: Sequence[Cost]) -> Cost:
    """The merges of a sweep as one line: amounts added, the peak the highest."""
    parts = [cost_of(cost.made) for cost in costs]
    every = {one.fingerprint: asdict(one) for part in parts for one in part.before}
    total: dict[str, Any] = {"before": list(every.values())}
    for field in ("samples", "tokens", *AMOUNTS, "seconds"):
        known = [value for part in parts if (value := getattr(part, field)) is not None]
        total[field] = sum(known) if known else None
    peaks = [part.peak_memory_bytes for part in parts if part.peak_memory_bytes]
    total["peak_memory_bytes"] = max(peaks, default=None)
    total["device"] = ", ".join(dict.fromkeys(part.device for part in parts if part.device))
    asking = [cost.asking for cost in costs if cost.asking is not None]
    made = Made(method="merge", cost=total)
    return Cost(f"{len(costs)} merges", made, sum(asking) if asking else None)


def _line(cost: Cost) -> list[str]:
    spent = cost_of(cost.made)
    return [
        cost.name,
        cost.made.method if cost.made else "–",
        _amount(spent.samples),
        _amount(spent.tokens),
        flops(spent.flops),
        flops(whole(spent, "flops")),
        duration(spent.processor_seconds),
        duration(whole(spent, "processor_seconds")),
        size(spent.peak_memory_bytes),
        spent.device or "–",
        duration(cost.asking),
    ]


def coverage(block: Block) -> list[str]:
    """How much of the decoder the prior, and the merges, reached."""
    texts = []
    for cost, made in ((cost, cost.made) for cost in block.costs if cost.made):
        # A merge of α = 0 is a copy: it reaches nothing, as it should.
        if (reached := coverage_of(made)).tensors:
            subjects = {"drift": "The prior of DRIFT", "merge": "A merge"}
            share = reached.decoder_share
            texts.append(
                f"{subjects.get(made.method, cost.name)} covers {_amount(reached.tensors)} tensors "
                f"with {_amount(reached.parameters)} parameters, "
                + ("an unknown share" if share is None else f"{percent(share)} %")
                + " of the decoder."
            )
    return list(dict.fromkeys(texts))


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def flops(value: float | None) -> str:
    """`367 GFLOP`; a dash where there was none, or none is known."""
    if not value:
        return "–"
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}FLOP"
    return f"{value:.0f} FLOP"


def duration(seconds: float | None) -> str:
    """`9.2 s`, `12 min 05 s`, `3 h 20 min`."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(count: float | None) -> str:
    """`512 MiB`, `1.00 GiB`."""
    if count is None:
        return "–"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
