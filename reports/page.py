"""One self-contained HTML page: tables, plot, costs, and every question with every answer.

Nothing a model wrote can run: it travels as JSON in a data block whose `<` are escaped, the script
puts it on the page as text only, and the page's policy admits this one script and no network.
"""

import base64
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import records
from harness.records import Image, Question, Response, Verdict
from reports import plots, tables, words
from reports.collect import Block, Cost, Material, Row, Run
from reports.errors import UserError
from reports.tables import Entry, Table

TEMPLATES = Path(__file__).parent / "templates"

PIXELS = 300
"""A larger side is brought down to this; smaller pictures go in as they are."""

PICTURE_BYTES = 6_000_000
"""Of all pictures together, encoded; those beyond are left out, and the page says so."""

TEXT_CHARACTERS = 6_000
"""Of a longer answer the middle is left out, and the page says so."""

CODES = ("wrong", "right", "open", "truncated", "error", "wrong (judge)", "right (judge)")
"""A verdict as one number."""


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

    script = (TEMPLATES / "report.js").read_text()
    style = (TEMPLATES / "report.css").read_text()
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
        tables=[_table(table) for table in counted],
        caption=tables.CAPTION,
        panels=[_panel(block, drawn) for block in drawn],
        legend=plots.styles(drawn),
        costs=[_costs(block) for block in material.blocks if block.costs],
        steps=[(s.name, _duration(s.seconds), _size(s.peak_memory_bytes)) for s in material.steps],
        asked=[_asked(block) for block in material.blocks],
        data=Markup(_data_block(browser(material))),
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


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.block.title,
        "baseline": table.block.baseline.label if table.block.baseline else None,
        "comparisons": table.comparisons,
        "heads": table.titles,
        "lines": [
            {
                "label": line.row.label,
                "is_baseline": line.row == table.block.baseline,
                "cells": [_cell(entry) for entry in line.entries],
                "total": line.total,
            }
            for line in table.lines
        ],
        "floors": [None if floor is None else tables.percent(floor) for floor in table.floors],
        "said": [_together(text) for text in words.differences(table)],
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


# The browser of single questions


def browser(material: Material) -> dict[str, Any]:
    """Gather every question with every answer; each distinct text and picture is kept once.

    Returns:
        texts: distinct texts. pictures: data URIs, or why there is none. questions: each
        `[task, id, prompt, [picture, …], expected]`, the last four indices (id too is a text), −1
        for none. blocks: each with its runs, groups, `rows` of `[question, [group, …]]` and, for
        each run, a list aligned with `rows` of `[text, answer, verdict, …]`, three numbers for each
        sample, empty where the question was not asked.
    """
    texts: dict[str, int] = {}
    pictures = _Pictures()
    questions: dict[str, int] = {}
    described: list[list[Any]] = []
    blocks = []
    for block in material.blocks:
        tasks = {column.task for column in block.columns}
        asked = [found for key, found in block.questions.items() if key[0] in tasks]
        if not asked:
            continue
        places = []
        for question, folder in ((found.question, found.folder) for found in asked):
            shown = [pictures.index(folder, image) for image in question.images]
            expected = question.row.get("answer")
            entry = [
                _intern(texts, question.task),
                _intern(texts, question.id),
                _intern(texts, question.prompt),
                shown,
                -1 if expected is None else _intern(texts, _as_text(expected)),
            ]
            place = questions.setdefault(json.dumps(entry), len(questions))
            if place == len(described):
                described.append(entry)
            places.append(place)
        blocks.append(_browser_block(block, [a.question for a in asked], places, texts))
    return {
        "texts": list(texts),
        "pictures": pictures.found,
        "questions": described,
        "blocks": blocks,
        "codes": CODES,
    }


def _browser_block(
    block: Block, asked: Sequence[Question], places: list[int], texts: dict[str, int]
) -> dict[str, Any]:
    shown = {row.run.name for row in block.rows}
    rows = [*block.rows, *(row for row in block.sweep if row.run.name not in shown)]
    groups: dict[str, int] = {}
    member: dict[tuple[str, str], list[int]] = {}
    answers = []
    for row in rows:
        answers.append(_answers(row, asked, texts))
        for verdicts in row.run.verdicts.values():
            for verdict in verdicts:
                names = [name for name in verdict.groups if name != "all"]
                member.setdefault(
                    (verdict.task, verdict.id), [groups.setdefault(n, len(groups)) for n in names]
                )
    return {
        "title": block.title,
        "runs": [{"label": row.label, "main": row.run.name in shown} for row in rows],
        "groups": list(groups),
        "rows": [
            [place, member.get((question.task, question.id), [])]
            for place, question in zip(places, asked, strict=True)
        ],
        "answers": answers,
    }


def _answers(row: Row, asked: Sequence[Question], texts: dict[str, int]) -> list[list[int]]:
    said = {(r.task, r.id, r.sample): r for r in _responses(row.run)}
    verdicts: dict[tuple[str, str], dict[int, Verdict]] = {}
    for found in row.run.verdicts.values():
        for verdict in found:
            verdicts.setdefault((verdict.task, verdict.id), {})[verdict.sample] = verdict
    lists = []
    for question in asked:
        flat = []
        for sample, verdict in sorted(verdicts.get((question.task, question.id), {}).items()):
            response = said.get((question.task, question.id, sample))
            text = _shortened(response.text or response.reason) if response else "(not on disk)"
            answer = -1 if verdict.answer is None else _intern(texts, _shortened(verdict.answer))
            flat += [_intern(texts, text), answer, _code(verdict)]
        lists.append(flat)
    return lists


def _responses(run: Run) -> list[Response]:
    try:
        return records.read_responses(run.folder)
    except records.UserError as error:
        raise UserError(str(error)) from error
    except (TypeError, KeyError) as error:
        raise UserError(f"{run.folder / 'responses.jsonl'} cannot be read: {error}") from error


def _code(verdict: Verdict) -> int:
    if verdict.how in ("open", "truncated", "error"):
        return CODES.index(verdict.how)
    word = "right" if verdict.correct else "wrong"
    return CODES.index(f"{word} (judge)" if verdict.how == "judge" else word)


def _intern(texts: dict[str, int], text: str) -> int:
    return texts.setdefault(text, len(texts))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(text: str) -> str:
    if len(text) <= TEXT_CHARACTERS:
        return text
    part = TEXT_CHARACTERS // 2
    left = len(text) - 2 * part
    return f"{text[:part]}\n[… {left:,} characters left out; responses.jsonl …]\n{text[-part:]}"


class _Pictures:
    """Data URIs by content, up to `PICTURE_BYTES`."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._places: dict[str, int] = {}
        self._bytes = 0

    def index(self, folder: Path, image: Image) -> int:
        """Place of the picture in `found`."""
        if image.sha256 not in self._places:
            self._places[image.sha256] = len(self.found)
            self.found.append(self._encoded(records.image_path(folder, image)))
        return self._places[image.sha256]

    def _encoded(self, path: Path) -> str:
        try:
            uri = _data_uri(path)
        except OSError:  # missing, or no picture that Pillow knows
            return f"picture {path.name} cannot be read"
        if self._bytes + len(uri) > PICTURE_BYTES:
            return f"picture {path.name} is left out to keep this page small"
        self._bytes += len(uri)
        return uri


def _data_uri(path: Path) -> str:
    from PIL import Image as Pillow

    data, kind = path.read_bytes(), "png" if path.suffix == ".png" else "jpeg"
    with Pillow.open(io.BytesIO(data)) as picture:
        if max(picture.size) > PIXELS:
            picture.thumbnail((PIXELS, PIXELS))
            opaque = Pillow.new("RGB", picture.size, "white")
            rgba = picture.convert("RGBA")
            opaque.paste(rgba, mask=rgba.getchannel("A"))
            file = io.BytesIO()
            opaque.save(file, "JPEG", quality=80)
            data, kind = file.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
