"""Every question with every answer, as the data of the page's browser."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import records
from harness.records import Image, Question, Response, Verdict
from reports.collect import Asked, Block, Material, Row, Run
from reports.errors import UserError

PIXELS = 300
"""A larger side is brought down to this; smaller pictures go in as they are."""

PICTURE_BYTES = 6_000_000
"""Of all pictures together, encoded; those beyond are left out, and the page says so."""

TEXT_BYTES = 30_000_000
"""Aim for all answers together: the more there are, the shorter is the longest that is whole."""

SHORTEST, LONGEST = 600, 6_000
"""Bounds of that length; of a longer answer the middle is left out, and the page says so."""

CODES = (
    "open",
    "truncated",
    "error",
    "wrong by rule",
    "right by rule",
    "wrong by judge",
    "right by judge",
)
"""A verdict as one number; the first word is what the page filters by."""


def gather(material: Material) -> dict[str, Any]:
    """Gather every question with every answer; each distinct text and picture is kept once.

    Returns:
        `texts`: distinct texts, to which the other numbers point, −1 for none. `pictures`: data
        URIs, or sentences on why there is none. `questions`: each `[task, id, prompt,
        [picture, …], expected answer]`. `codes`: the verdicts. `blocks`: each with its `runs`, the
        `pair` of them to begin with, its `groups`, `rows` of `[question, [group, …]]` and
        `answers`: for each run a list aligned with `rows` of `[text, answer, code, …]`, three
        numbers for each sample, empty where the question was not asked.

    Raises:
        UserError: A file of responses is broken.
    """
    texts = _Texts(_limit(material))
    pictures = _Pictures()
    questions: dict[str, int] = {}
    blocks = []
    for block in material.blocks:
        tasks = {column.task for column in block.columns}
        asked = [found for key, found in block.questions.items() if key[0] in tasks]
        if not asked:
            continue
        described = [json.dumps(_described(found, texts, pictures)) for found in asked]
        places = [questions.setdefault(text, len(questions)) for text in described]
        blocks.append(_block(block, [found.question for found in asked], places, texts))
    return {
        "texts": list(texts.places),
        "pictures": pictures.found,
        "questions": [json.loads(text) for text in questions],
        "codes": CODES,
        "blocks": blocks,
    }


def _described(asked: Asked, texts: "_Texts", pictures: "_Pictures") -> list[Any]:
    question = asked.question
    expected = question.row.get("answer")
    return [
        texts.place(question.task),
        texts.place(question.id),
        texts.place(question.prompt),
        [pictures.place(asked.folder, image) for image in question.images],
        -1 if expected is None else texts.place(_as_text(expected)),
    ]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _block(
    block: Block, asked: Sequence[Question], places: list[int], texts: "_Texts"
) -> dict[str, Any]:
    main = {row.run.name for row in block.rows}
    rows = [*block.rows, *(row for row in block.sweep if row.run.name not in main)]
    names = [row.run.name for row in rows]
    base = names.index(block.baseline.run.name) if block.baseline else 0
    other = names.index("drift") if "drift" in names else min(1, len(names) - 1)
    groups: dict[str, int] = {}
    member = _members(rows, groups)
    return {
        "title": block.title,
        "runs": [{"label": row.label, "main": row.run.name in main} for row in rows],
        "pair": [other, base],
        "groups": list(groups),
        "rows": [
            [place, member.get((question.task, question.id), [])]
            for place, question in zip(places, asked, strict=True)
        ],
        "answers": [_answers(row.run, asked, texts) for row in rows],
    }


def _members(rows: Sequence[Row], groups: dict[str, int]) -> dict[tuple[str, str], list[int]]:
    """The groups of each question beyond `all`; numbers them in `groups`."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        for (_, group), verdicts in row.run.verdicts.items():
            for verdict in verdicts if group == "all" else ():
                key = (verdict.task, verdict.id)
                if key not in found:
                    names = [name for name in verdict.groups if name != "all"]
                    found[key] = [groups.setdefault(name, len(groups)) for name in names]
    return found


def _answers(run: Run, asked: Sequence[Question], texts: "_Texts") -> list[list[int]]:
    said = {(r.task, r.id, r.sample): r for r in _responses(run)}
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    for (_, group), found in run.verdicts.items():
        for verdict in found if group == "all" else ():
            verdicts.setdefault((verdict.task, verdict.id), []).append(verdict)
    lists = []
    for question in asked:
        flat = []
        for verdict in sorted(
            verdicts.get((question.task, question.id), ()), key=lambda v: v.sample
        ):
            response = said.get((verdict.task, verdict.id, verdict.sample))
            text = response.text or response.reason if response else "(not on disk)"
            answer = -1 if verdict.answer is None else texts.answer(verdict.answer)
            flat += [texts.answer(text), answer, _code(verdict)]
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
    if verdict.how in ("rule", "judge"):
        return CODES.index(f"{'right' if verdict.correct else 'wrong'} by {verdict.how}")
    return CODES.index(verdict.how)


def _limit(material: Material) -> int:
    """Characters up to which an answer is kept whole."""
    runs = {row.run.folder: row.run for b in material.blocks for row in (*b.rows, *b.sweep)}
    count = sum(
        len(found)
        for run in runs.values()
        for (_, group), found in run.verdicts.items()
        if group == "all"
    )
    return max(SHORTEST, min(LONGEST, TEXT_BYTES // max(1, count)))


class _Texts:
    """Distinct texts; an answer longer than `limit` loses its middle."""

    def __init__(self, limit: int) -> None:
        self.places: dict[str, int] = {}
        self._limit = limit

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))

    def answer(self, text: str) -> int:
        if len(text) <= self._limit:
            return self.place(text)
        part = self._limit // 2
        left = f"[… {len(text) - 2 * part:,} characters left out; responses.jsonl has them …]"
        return self.place(f"{text[:part]}\n{left}\n{text[-part:]}")


class _Pictures:
    """Data URIs by content, up to `PICTURE_BYTES`."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._places: dict[str, int] = {}
        self._bytes = 0

    def place(self, folder: Path, image: Image) -> int:
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
