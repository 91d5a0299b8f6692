"""One self-contained HTML page: tables, plots, costs, and every question with every answer.

Nothing a model wrote can run: it travels packed in a block of base64, the script puts it on the
page as text only, and the page's policy admits this one script and no network.
"""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from harness.runs.schema import ELSEWHERE, Cell
from harness.statistics.compare import MEAN
from reports import compact, costs, formats, headline, published, tables
from reports import text as words
from reports.blocks import Block, Material, Row, Run
from reports.page import browser
from reports.plots import degradation, figures
from reports.plots import style as plots
from reports.plots.style import Plot
from reports.published import Beside
from reports.tables import Entry, Table

TEMPLATES = Path(__file__).parent / "templates"

COLUMNS = 6
"""Families that have a column each; the style knows so many."""


def render(
    material: Material,
    counted: Sequence[Table],
    lead: str = "",
    *,
    said: Sequence[headline.Said] = (),
    drawn: dict[str, list[tuple[Plot, str]]] | None = None,
    beside: Path | None = None,
    files: Collection[str] = (),
) -> str:
    """Write the page.

    Args:
        material: What was read.
        counted: The tables of its blocks, and perhaps those of its categories.
        lead: HTML for the place under the title, escaped already.
        said: A sentence a method, for the place above the tables.
        drawn: Section → plots, each with its SVG element; None: they are drawn.
        beside: Folder that gets the pictures for which the page has no room; the page looks for
            them in `pictures` beside itself. None: those are left out.
        files: Names of the files beside the page, which it offers.

    Returns:
        HTML; the same input gives the same text.

    Raises:
        UserError: A file of answers is broken.
    """
    import jinja2
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    if drawn is None:
        planned = figures.of(material, counted)
        drawn = {name: [(p, plots.inline(p)) for p in found] for name, found in planned.items()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    asked = browser.gather(material, beside)
    families = [block.title for block in material.blocks]
    families = families if 1 < len(families) <= COLUMNS else []
    return environment.get_template("report.html").render(
        policy=_policy(script, style, any(p.startswith(browser.FOLDER) for p in asked["pictures"])),
        script=Markup(script),
        style=Markup(style),
        material=material,
        lead=Markup(lead),
        summary=_summary(material),
        said=[(one.name, one.verdict, _together(one.text)) for one in said],
        compact=_compact(counted),
        files=[name for name in files if "/" not in name],
        tables=[_table(table) for table in counted if not table.by_group],
        groups=[_table(table) for table in counted if table.by_group],
        caption=tables.CAPTION,
        columns=f"panels scroll columns-{len(families)}" if families else "panels",
        counts=formats.COUNTS,
        floor=formats.FLOOR,
        plots={
            name: [
                {
                    "title": p.title,
                    "text": p.text,
                    "svg": Markup(svg),
                    "wide": _wide(svg),
                    "column": families.index(p.family) + 1 if p.family in families else 0,
                    "files": [f for f in files if f.startswith(f"plots/{p.name}.")],
                }
                for p, svg in drawn.get(name, ())
            ]
            for name in figures.SECTIONS
        },
        merged=[_merged(block) for block in degradation.drawable(material.blocks)],
        published=[
            _published(each) for block in material.blocks for each in published.beside(block)
        ],
        published_heads=published.HEADS,
        published_caption=published.CAPTION,
        costs=[
            _costs(block)
            for block in material.blocks
            if any(cost.made or cost.asking for cost in block.costs)
        ],
        cost_heads=costs.HEADS,
        cost_legend=costs.LEGEND,
        steps=[
            (s.name, costs.duration(s.seconds), costs.size(s.peak_memory_bytes))
            for s in material.steps
        ],
        warnings=[
            (block.title, warning)
            for block in material.blocks
            for found in block.distances
            for warning in found.warnings
        ],
        asked=[_asked(block) for block in material.blocks],
        data=browser.packed(asked),
    )


def _policy(script: str, style: str, beside: bool) -> str:
    """Content-Security-Policy: this script, this style, pictures from within, nothing else.

    Args:
        script: The text of the script.
        style: The text of the style.
        beside: Whether pictures lie in files beside the page; of a page that is itself a file,
            `'self'` is nothing, and they are `file:`.
    """
    pictures = "data: 'self' file:" if beside else "data:"
    return (
        f"default-src 'none'; script-src '{_integrity(script)}'; style-src '{_integrity(style)}'; "
        f"img-src {pictures}; base-uri 'none'; form-action 'none'"
    )


def _integrity(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _summary(material: Material) -> str:
    runs = {row.run.folder for block in material.blocks for row in (*block.rows, *block.sweep)}
    engines = dict.fromkeys(
        "answers made elsewhere"
        if row.run.card.engine == ELSEWHERE
        else f"{row.run.card.engine} {row.run.card.engine_version}"
        for block in material.blocks
        for row in block.rows
    )
    if not runs:
        return "tuning alone"
    parts = [f"{len(material.blocks)} families"] if material.study else []
    return " · ".join([*parts, f"{len(runs)} runs", *engines])


# Tables


def _table(table: Table) -> dict[str, Any]:
    heads, lines = formats.grid(table)
    base = table.found.baseline if table.found else None
    where = {id(e): line.row for line in table.lines for e in line.entries}
    rows = {line.row.label: line.row for line in table.lines}
    return {
        "title": table.title,
        "baseline": base if base is None else _together(base),
        "heads": list(map(_together, heads)),
        "lines": [
            {
                "name": _together(str(line[0])),
                "cells": [
                    _count(table, rows.get(str(line[0])), head, cell)
                    if isinstance(cell, str)
                    else _cell(table, where[id(cell)], cell)
                    for head, cell in zip(heads[1:], line[1:], strict=True)
                ],
            }
            for line in lines
        ],
        "caption": tables.caption(table),
        "said": [_together(text) for text in words.differences(table)],
        "notes": [] if table.by_group else table.notes,
    }


def _link(table: Table, **wanted: str) -> str:
    """Where the page shows the questions that are wanted: as its script reads it (`wanted`)."""
    return "#questions?" + urlencode({"in": table.block.title} | wanted)


def _asks(table: Table, row: Row, cell: Cell, **wanted: str) -> str:
    """The questions of a cell, and what a run said to them."""
    place = {} if cell.group == MEAN else {"task": cell.task}
    if cell.group not in ("all", MEAN):
        place["group"] = cell.group
    return _link(table, **place, first=row.label, **wanted)


def _count(table: Table, row: Row | None, head: str, text: str) -> dict[str, str]:
    """A count of a run's answers, which leads to them."""
    found = {"kind": "count", "text": text, "mark": "", "href": ""}
    if head not in formats.COUNTS or row is None or text in ("", "0", "–"):
        return found
    kind = {} if head == "n" else {"is": head}
    href = _link(table, first=row.label, **kind)
    return found | {"href": href, "mark": "some" if kind else ""}


def _cell(table: Table, row: Row, entry: Entry) -> dict[str, str]:
    change, p = tables.difference(entry)
    found = {"kind": "score", "text": tables.score(entry), "change": change, "p": p, "href": ""}
    if entry.cell:
        found["href"] = _asks(table, row, entry.cell)
    if one := entry.versus:
        mark = "up" if one.difference > 0 else "down"
        found["mark"] = mark if one.finding == "supported" else "noise"
        differ = {"second": one.baseline, "compare": "they differ"}
        found["differ"] = _asks(table, row, entry.cell, **differ) if entry.cell else ""
    return found


def _compact(counted: Sequence[Table]) -> list[dict[str, Any]]:
    return [
        {
            "heads": [column.title for column in own[0].columns],
            "parts": [
                {
                    "title": table.title if len(own) > 1 else "",
                    "lines": [
                        (
                            _together(label),
                            label == (table.found.baseline if table.found else ""),
                            [
                                (score, _asks(table, line.row, entry.cell))
                                if entry.cell and not entry.part
                                else (score, "")
                                for score, entry in zip(scores, line.entries, strict=True)
                            ],
                        )
                        for (label, scores), line in zip(
                            compact.lines(table), table.lines, strict=True
                        )
                    ],
                }
                for table in own
            ],
            "caption": compact.caption(own),
        }
        for own in compact.together(counted)
    ]


def _wide(svg: str) -> bool:
    """Whether a drawing is broader than a printed column."""
    found = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    return found is not None and float(found[1]) > 1.1 * 72 * plots.INCHES


def _merged(block: Block) -> dict[str, Any]:
    return {
        "said": [_together(text) for text in words.merging(block)],
        "ends": [block.sweep[0].alpha, block.sweep[-1].alpha],
    }


def _published(each: Beside) -> dict[str, Any]:
    cells = published.line(each)
    mark = {"inside the noise": "noise", "cannot be told": ""}.get(each.finding)
    if mark is None:
        mark = "up" if each.difference > 0 else "down"
    return {"cells": [_together(cell) for cell in cells], "mark": mark}


def _costs(block: Block) -> dict[str, Any]:
    found = {"lines": costs.lines(block), "coverage": costs.coverage(block)}
    return {"title": block.title, **found}


def _together(text: str) -> str:
    """Keep `62.5 ± 3.4` and `p = 0.21` on one line."""
    return re.sub(r" ([±=<]) ", "\u00a0\\1\u00a0", text)


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
