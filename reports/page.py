"""One self-contained HTML page: tables, plot, costs, and every question with every answer.

Nothing a model wrote can run: it travels as JSON in a data block whose `<` are escaped, the script
puts it on the page as text only, and the page's policy admits this one script and no network.
"""

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import browser, plots, tables, words
from reports.collect import Block, Cost, Material, Run
from reports.tables import Entry, Table

TEMPLATES = Path(__file__).parent / "templates"


def render(material: Material, counted: Sequence[Table]) -> str:
    """Write the page.

    Args:
        material: What was read.
        counted: The tables of its blocks.

    Returns:
        HTML; the same input gives the same text.

    Raises:
        UserError: A file of answers is broken.
    """
    import jinja2
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    drawn = plots.drawable(material.blocks)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html").render(
        policy=_policy(script, style),
        script=Markup(script),
        style=Markup(style),
        material=material,
        summary=_summary(material),
        tables=[_table(table, material.study) for table in counted],
        caption=tables.CAPTION,
        panels=[_panel(block, drawn) for block in drawn],
        legend=plots.styles(drawn),
        costs=[_costs(block) for block in material.blocks if block.costs],
        steps=[(s.name, _duration(s.seconds), _size(s.peak_memory_bytes)) for s in material.steps],
        # Blocks of any runs are of the same runs.
        asked=[_asked(block) for block in material.blocks[: None if material.study else 1]],
        data=Markup(_data_block(browser.gather(material))),
    )


def _policy(script: str, style: str) -> str:
    """Content-Security-Policy: this script, this style, pictures from within, nothing else."""
    return (
        f"default-src 'none'; script-src '{_integrity(script)}'; style-src '{_integrity(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _integrity(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data_block(value: Any) -> str:
    # Without `<` neither `</script` nor `<!--` can occur. Lone surrogates stay \u escapes.
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _summary(material: Material) -> str:
    runs = {row.run.folder for block in material.blocks for row in (*block.rows, *block.sweep)}
    engines = dict.fromkeys(
        f"{row.run.card.engine} {row.run.card.engine_version}"
        for block in material.blocks
        for row in block.rows
    )
    parts = [f"{len(material.blocks)} families"] if material.study else []
    return " · ".join([*parts, f"{len(runs)} runs", *engines])


# Tables


def _table(table: Table, study: bool) -> dict[str, Any]:
    return {
        "title": table.block.title,
        "baseline": table.block.baseline.label if table.block.baseline else None,
        "comparisons": table.comparisons,
        "heads": table.titles,
        "lines": [
            {
                "label": _together(line.row.label),
                "is_baseline": line.row == table.block.baseline,
                "cells": [_cell(entry) for entry in line.entries],
                "total": line.total,
            }
            for line in table.lines
        ],
        "floors": [None if floor is None else tables.percent(floor) for floor in table.floors],
        "said": [_together(text) for text in words.differences(table, study)],
        "notes": table.notes,
    }


def _cell(entry: Entry) -> dict[str, str]:
    change, p, mark = "", "", ""
    if entry.versus and entry.p is not None:
        change = tables.change(entry.versus)
        p = tables.probability(entry.p) + (", n.s." if entry.noise else "")
        mark = "noise" if entry.noise else "up" if entry.versus.difference > 0 else "down"
    return {"score": tables.score(entry.cell), "change": change, "p": p, "mark": mark}


def _panel(block: Block, drawn: Sequence[Block]) -> dict[str, Any]:
    from markupsafe import Markup

    return {
        "title": block.title,
        "svg": Markup(plots.inline(block, drawn)),
        "said": [_together(text) for text in words.merging(block)],
        "ends": [block.sweep[0].alpha, block.sweep[-1].alpha],
    }


def _together(text: str) -> str:
    """Keep `62.5 ± 3.4` and `p = 0.21` on one line."""
    return re.sub(r" ([±=<]) ", "\u00a0\\1\u00a0", text)


# Costs


def _costs(block: Block) -> dict[str, Any]:
    swept = {row.run.name for row in block.sweep} - {"vlm"}
    merges = [cost for cost in block.costs if cost.name in swept]
    others = [cost for cost in block.costs if cost.name not in swept]
    lines = [_cost_line(cost) for cost in others]
    if merges:
        lines.append(_cost_line(_sum(merges)))
    return {"title": block.title, "lines": lines, "coverage": _coverage(block)}


def _sum(costs: Sequence[Cost]) -> Cost:
    """The merges of a sweep as one line: amounts added, the peak the highest."""
    parts = [cost.made.get("cost") or {} for cost in costs]
    total: dict[str, Any] = {}
    for field in ("samples", "tokens", "flops", "seconds"):
        known = [part[field] for part in parts if part.get(field) is not None]
        total[field] = sum(known) if known else None
    peaks = [part["peak_memory_bytes"] for part in parts if part.get("peak_memory_bytes")]
    total["peak_memory_bytes"] = max(peaks, default=None)
    total["device"] = ", ".join({str(part["device"]): 0 for part in parts if part.get("device")})
    asking = [cost.asking for cost in costs if cost.asking is not None]
    made = {"method": "merge", "cost": total}
    return Cost(f"{len(costs)} merges", made, sum(asking) if asking else None)


def _cost_line(cost: Cost) -> list[str]:
    spent = cost.made.get("cost") or {}
    return [
        cost.name,
        str(cost.made.get("method", "–")),
        _amount(spent.get("samples")),
        _amount(spent.get("tokens")),
        _flops(spent.get("flops")),
        _duration(spent.get("seconds")),
        _size(spent.get("peak_memory_bytes")),
        str(spent.get("device") or "–"),
        _duration(cost.asking),
    ]


def _coverage(block: Block) -> list[str]:
    """How much of the decoder the prior, and the merges, reached."""
    texts = []
    for cost in block.costs:
        if coverage := cost.made.get("coverage"):
            kind = str(cost.made.get("method"))
            subject = {"drift": "The prior of DRIFT", "merge": "A merge"}.get(kind, cost.name)
            share = coverage.get("decoder_share")
            texts.append(
                f"{subject} covers {_amount(coverage.get('tensors'))} tensors with "
                f"{_amount(coverage.get('parameters'))} parameters, "
                + ("an unknown share" if share is None else f"{100 * share:.1f} %")
                + " of the decoder."
            )
    return list(dict.fromkeys(texts))


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _flops(value: float | None) -> str:
    if not value:
        return "–"
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {unit}FLOP"
    return f"{value:.0f} FLOP"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _size(count: float | None) -> str:
    if count is None:
        return "–"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _asked(block: Block) -> dict[str, Any]:
    """What stands behind the numbers of a block: tasks, runs, settings."""
    rows = (*block.rows, *(row for row in block.sweep if row not in block.rows))
    runs = {row.run.folder: row for row in rows}.values()
    tasks = dict.fromkeys(task for row in runs for task in row.run.card.tasks)
    return {
        "title": block.title,
        "tasks": list(tasks),
        "runs": [(row.label, row.run.card, _sampling(row.run)) for row in runs],
    }


def _sampling(run: Run) -> str:
    fields = dataclasses.asdict(run.card.sampling)
    shown = {name: value for name, value in fields.items() if value not in ((), [])}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
