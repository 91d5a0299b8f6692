"""One self-contained HTML page: tables, plots, costs, and every question with every answer.

Nothing a model wrote can run: it travels packed in a block of base64, the script puts it on the
page as text only, and the page's policy admits this one script and no network.
"""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import costs, formats, published, tables
from reports import text as words
from reports.blocks import Block, Material, Run
from reports.page import browser
from reports.plots import degradation, figures
from reports.plots import style as plots
from reports.plots.style import Plot
from reports.published import Beside
from reports.tables import Entry, Table

TEMPLATES = Path(__file__).parent / "templates"


def render(
    material: Material,
    counted: Sequence[Table],
    lead: str = "",
    *,
    drawn: dict[str, list[tuple[Plot, str]]] | None = None,
    beside: Path | None = None,
) -> str:
    """Write the page.

    Args:
        material: What was read.
        counted: The tables of its blocks, and perhaps those of its categories.
        lead: HTML for the place under the title, escaped already.
        drawn: Section → plots, each with its SVG element; None: they are drawn.
        beside: Folder that gets the pictures for which the page has no room; the page looks for
            them in `pictures` beside itself. None: those are left out.

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
    return environment.get_template("report.html").render(
        policy=_policy(script, style, any(p.startswith(browser.FOLDER) for p in asked["pictures"])),
        script=Markup(script),
        style=Markup(style),
        material=material,
        lead=Markup(lead),
        summary=_summary(material),
        tables=[_table(table) for table in counted if not table.by_group],
        groups=[_table(table) for table in counted if table.by_group],
        caption=tables.CAPTION,
        counts=formats.COUNTS,
        floor=formats.FLOOR,
        plots={
            name: [
                {"title": p.title, "text": p.text, "svg": Markup(svg)}
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
        costs=[_costs(block) for block in material.blocks if block.costs],
        cost_heads=costs.HEADS,
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
        if row.run.card.engine == "elsewhere"
        else f"{row.run.card.engine} {row.run.card.engine_version}"
        for block in material.blocks
        for row in block.rows
    )
    parts = [f"{len(material.blocks)} families"] if material.study else []
    return " · ".join([*parts, f"{len(runs)} runs", *engines])


# Tables


def _table(table: Table) -> dict[str, Any]:
    heads, lines = formats.grid(table)
    base = table.found.baseline if table.found else None
    return {
        "title": table.title,
        "baseline": base if base is None else _together(base),
        "heads": list(map(_together, heads)),
        "lines": [
            [_together(cell) if isinstance(cell, str) else _cell(cell) for cell in line]
            for line in lines
        ],
        "caption": tables.caption(table),
        "said": [_together(text) for text in words.differences(table)],
        "notes": [] if table.by_group else table.notes,
    }


def _cell(entry: Entry) -> dict[str, str]:
    change, p = tables.difference(entry)
    mark = ""
    if one := entry.versus:
        mark = "up" if one.difference > 0 else "down"
        mark = mark if one.finding == "supported" else "noise"
    return {"score": tables.score(entry), "change": change, "p": p, "mark": mark}


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
