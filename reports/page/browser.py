"""Every question with every answer, as the data of the page's browser."""

import base64
import bisect
import gzip
import io
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from harness.runs import log
from harness.runs.folder import image_path
from harness.runs.schema import Image, Question, Response, Verdict
from reports.blocks import Asked, Block, Material, Row, Run

PIXELS = 300
"""A larger side is brought down to this; smaller pictures go in as they are."""

PICTURE_BYTES = 3_500_000
"""Of all pictures in the page, encoded; those beyond lie beside it."""

PAGE_BYTES = 11_500_000
"""Of questions, answers and pictures as the page holds them, packed."""

LIMITS = (100_000, 20_000, 6_000, 3_000, 1_500, 800, 400, 200)
"""Longest answer that is whole: the first that fits `PAGE_BYTES`. Of a longer answer the middle is
left out, and the page says so."""

SHARE = 16
"""One in so many texts is packed to see what a limit would take."""

FOLDER = "pictures"
"""Beside the page, of pictures for which it has no room."""

CODES = (
    "unparsed",
    "truncated",
    "error",
    "wrong by rule",
    "right by rule",
    "wrong by judge",
    "right by judge",
)
"""A verdict as one number; the first word is what the page filters by."""


def gather(material: Material, beside: Path | None = None) -> dict[str, Any]:
    """Gather every question with every answer; each distinct text and picture is kept once.

    Args:
        material: What was read.
        beside: Folder for pictures that do not fit into the page, made if needed; None: they are
            left out.

    Returns:
        `texts`: distinct texts, to which the other numbers point, −1 for none. `pictures`: data
        URIs, files in `FOLDER`, or sentences on why there is none. `questions`: each `[task, id,
        prompt, [picture, …], expected answer]`. `codes`: the verdicts. `blocks`: each with its
        `runs`, the `pair` of them to begin with, its `groups`, `rows` of `[question, [group, …]]`
        and `answers`: for each run a list aligned with `rows` of `[text, answer, code, …]`, three
        numbers for each sample, empty where the question was not asked.

    Raises:
        UserError: A file of responses is broken.
    """
    texts = _Texts()
    pictures = _Pictures(beside)
    questions: dict[tuple[Any, ...], int] = {}
    blocks = []
    for block in material.blocks:
        tasks = {column.task for column in block.columns}
        asked = [found for key, found in block.questions.items() if key[0] in tasks]
        if not asked:
            continue
        described = [_described(found, texts, pictures) for found in asked]
        places = [questions.setdefault(one, len(questions)) for one in described]
        blocks.append(_block(block, [found.question for found in asked], places, texts))
    return {
        "texts": texts.fitting(PAGE_BYTES - sum(map(len, pictures.found))),
        "pictures": pictures.found,
        "questions": list(questions),
        "codes": CODES,
        "blocks": blocks,
    }


def _described(asked: Asked, texts: "_Texts", pictures: "_Pictures") -> tuple[Any, ...]:
    question = asked.question
    expected = question.row.get("answer")
    return (
        texts.place(question.task),
        texts.place(question.id),
        texts.place(question.prompt),
        tuple(pictures.place(asked.folder, image) for image in question.images),
        -1 if expected is None else texts.place(_as_text(expected)),
    )


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
        return log.read_responses(run.folder)
    except (TypeError, KeyError) as error:
        raise UserError(f"{run.folder / 'responses.jsonl'} cannot be read: {error}") from error


def _code(verdict: Verdict) -> int:
    if verdict.how in ("rule", "judge"):
        return CODES.index(f"{'right' if verdict.correct else 'wrong'} by {verdict.how}")
    return CODES.index(verdict.how)


class _Texts:
    """Distinct texts; those of answers may lose their middle in the end."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._said: set[int] = set()

    def place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    def answer(self, text: str) -> int:
        place = self.place(text)
        self._said.add(place)
        return place

    def fitting(self, room: int) -> list[str]:
        """Return all texts, answers cut as little as it takes to be `room` bytes when packed."""
        texts = list(self._places)
        share = SHARE if len(texts) > 100 * SHARE else 1
        sample = list(enumerate(texts))[::share]

        def fits(limit: int) -> bool:
            some = [self._cut(i, text, limit) for i, text in sample]
            # Every text once more in numbers: what points to it takes room as well.
            return len(packed(some)) * share + 12 * len(texts) <= room

        first = bisect.bisect_left(LIMITS, True, hi=len(LIMITS) - 1, key=fits)
        return [self._cut(i, text, LIMITS[first]) for i, text in enumerate(texts)]

    def _cut(self, place: int, text: str, limit: int) -> str:
        if len(text) <= limit or place not in self._said:
            return text
        part = limit // 2
        left = f"[… {len(text) - 2 * part:,} characters left out; responses.jsonl has them …]"
        return f"{text[:part]}\n{left}\n{text[-part:]}"


def packed(value: Any) -> str:
    """JSON, compressed, in base64: no character of it means anything in HTML."""
    # ASCII: lone surrogates stay \\u escapes, which UTF-8 cannot hold.
    plain = json.dumps(value, separators=(",", ":")).encode("ascii")
    return base64.b64encode(gzip.compress(plain, 6, mtime=0)).decode()


class _Pictures:
    """By content: data URIs up to `PICTURE_BYTES`, then files beside the page."""

    def __init__(self, beside: Path | None) -> None:
        self.found: list[str] = []
        self._places: dict[str, int] = {}
        self._bytes = 0
        self._beside = beside
        self._begun = False

    def place(self, folder: Path, image: Image) -> int:
        if image.sha256 not in self._places:
            self._places[image.sha256] = len(self.found)
            self.found.append(self._encoded(image_path(folder, image)))
        return self._places[image.sha256]

    def _encoded(self, path: Path) -> str:
        # The name becomes an address in the page; run folders come from anywhere.
        if not re.fullmatch(r"[0-9a-f]{64}\.[a-z]{2,5}", path.name):
            return "picture without a proper name"
        if self._bytes < PICTURE_BYTES:
            try:
                uri = _data_uri(path)
            except OSError:  # missing, or no picture that Pillow knows
                return f"picture {path.name} cannot be read"
            if self._bytes + len(uri) <= PICTURE_BYTES:
                self._bytes += len(uri)
                return uri
            self._bytes = PICTURE_BYTES
        if self._beside is None:
            return f"picture {path.name} is left out to keep this page small"
        return self._put(path, self._beside)

    def _put(self, path: Path, folder: Path) -> str:
        if not os.path.isfile(path):
            return f"picture {path.name} cannot be read"
        if not self._begun:
            folder.mkdir(exist_ok=True)
            self._begun = True
        copy = f"{folder}/{path.name}"
        try:
            os.link(path, copy)
        except OSError:  # another file system
            shutil.copyfile(path, copy)
        return f"{FOLDER}/{path.name}"


def _data_uri(path: Path) -> str:
    from PIL import Image as Pillow

    data, kind = path.read_bytes(), "png" if path.suffix == ".png" else "jpeg"
    with Pillow.open(io.BytesIO(data)) as picture:
        if max(picture.size) > PIXELS:
            picture.draft(None, (PIXELS, PIXELS))  # a JPEG is not decoded at more than twice that
            picture.thumbnail((PIXELS, PIXELS))
            opaque = picture.convert("RGB")
            if picture.has_transparency_data:
                rgba = picture.convert("RGBA")
                opaque = Pillow.new("RGB", picture.size, "white")
                opaque.paste(rgba, mask=rgba.getchannel("A"))
            file = io.BytesIO()
            opaque.save(file, "JPEG", quality=80)
            data, kind = file.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
