"""Training rows: conversations with pictures, read from any file and form, checked, or named.

`drift.training.row_files` finds the rows, `drift.training.forms` reads their turns. `<image>` marks
the place of each picture; without any mark, pictures come first. Pictures are paths, relative to
the file (to the folder of `dataset_info.json`), or encoded: bytes, bare or as `{"bytes": …}`,
base64 or `data:` URLs. Nothing is fetched from the web.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.pictures import encoded
from common.provenance import digest
from drift.fingerprints import sha256
from drift.training import row_files
from drift.training.forms import MARK, Turn, conversation

LONGEST_NAME = 80
"""Characters of a picture's name that a message shows."""


@dataclass(frozen=True)
class Row:
    """One conversation."""

    where: str
    """For messages to people: file and row number."""
    turns: tuple[Turn, ...]
    """As many `MARK` in all as there are images; the last is an answer."""
    images: tuple[Path | bytes, ...]
    """A file each, or its content."""
    labels: tuple[str, ...] = ()
    """Fields that nothing is learnt from: `drift.training.forms.LABELS`."""


def read_rows(
    place: Path | str, images: Path | str | None = None, bad: list[str] | None = None
) -> list[Row]:
    """Read and check the rows of a data set.

    Args:
        place: A file, a folder, `folder:split`, or `…/dataset_info.json:name`.
        images: Folder that relative paths of pictures start from, if not that of the file.
        bad: Gets a sentence for each row that cannot be used, which is then left out.

    Raises:
        UserError: there are no rows, or, without `bad`, one cannot be used; the sentence names it.
    """
    found = row_files.find(place)
    start = found.folder if images is None else Path(images)
    rows = []
    for number, raw in enumerate(found.rows, 1):
        where = f"row {number} of {found.where}"
        try:
            rows.append(_row(raw, where, start, found))
        except ValueError as error:
            if bad is None:
                raise UserError(f"{where} {error}") from error
            bad.append(f"{where} {error}")
    return rows


def content(rows: Iterable[Row]) -> str:
    """Return the sha256 over what rows say and show, in their order, wherever they lie."""
    return digest(
        [[digest([astuple(turn) for turn in row.turns]), *map(_shown, row.images)] for row in rows]
    )


def _shown(image: Path | bytes) -> str:
    return sha256(image if isinstance(image, bytes) else image.read_bytes())


def _row(raw: Any, where: str, folder: Path, found: row_files.Found) -> Row:
    if isinstance(raw, Exception):
        raise ValueError(f"is no JSON ({raw})")
    if not isinstance(raw, dict):
        raise ValueError("is no JSON object")
    turns, images, labels = conversation(found.shape(raw))
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise ValueError("does not end with an answer of the assistant")
    if not any(turn.learnt for turn in turns):
        raise ValueError("has no answer that is learnt: all have the loss or weight 0")
    marks = sum(turn.text.count(MARK) for turn in turns)
    if marks == 0 and images:
        first = next((i for i, turn in enumerate(turns) if turn.role == "user"), 0)
        turns[first] = Turn(turns[first].role, MARK * len(images) + turns[first].text)
    elif marks != len(images):
        raise ValueError(f"has {marks} {MARK} marks and {len(images)} images")
    if any(MARK in turn.text + turn.thought for turn in turns if turn.role == "assistant"):
        raise ValueError(f"has an {MARK} mark in an answer")
    sources = tuple(_image_source(image, folder) for image in images)
    return Row(where, tuple(turns), sources, tuple(labels))


def _image_source(image: Any, folder: Path) -> Path | bytes:
    if (content := encoded(image)) is not None:
        return content
    if isinstance(image, dict):
        image = image.get("path")
    if not isinstance(image, str):
        raise ValueError("has an image that is neither a path nor bytes")
    name = image if len(image) <= LONGEST_NAME else f"{image[:LONGEST_NAME]}…"
    if image.startswith("data:"):
        head, _, body = image.partition(",")
        try:
            if not head.endswith(";base64"):
                raise ValueError("not base64")
            return base64.b64decode("".join(body.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"has an image whose data: URL holds no base64 ({name})") from error
    if "://" in image:
        raise ValueError(f"has an image by URL ({name}); nothing is fetched: save it to a file")
    places = [image]
    if image.startswith("../"):
        # From beside the folder that the data set was published in, which may be called otherwise.
        inside = re.sub(r"^(\.\./)+", "", image)
        places += [inside, inside.partition("/")[2]]
    for place in filter(None, places):
        try:
            if (folder / place).is_file():
                return folder / place
        except OSError:  # a name that no file can have
            break
    raise ValueError(
        f"names the image {name}, which is not in {folder}; if pictures lie elsewhere, say where "
        "with images"
    )
