"""Where the pictures of a row lie, and what lm-eval's models are shown of them."""

import hashlib
import os
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import cache_folder, write_whole
from common.pictures import decoded, encoded
from tasks.data import FOLDER, Row

if TYPE_CHECKING:
    from PIL.Image import Image


def to_images(row: Row) -> list[Path]:
    """Return where a row's pictures lie: the names in its field `images`, under its folder.

    Raises:
        UserError: A name leads out of the folder, or to nothing.
    """
    folder = str(row[FOLDER])
    found = []
    for name in row["images"]:
        path = os.path.join(folder, name)
        if not _lies_in(folder, path):
            raise UserError(f"row {row['id']}: the picture {name} lies outside of {folder}")
        if not os.path.isfile(path):
            raise UserError(f"row {row['id']}: the picture {path} does not exist")
        found.append(Path(path))
    return found


def _lies_in(folder: str, path: str) -> bool:
    """Whether a file lies in a folder, links followed."""
    inner, name = os.path.split(path)
    if os.path.islink(path) or name in ("", ".", ".."):
        return _is_inside(folder, path)
    return _is_inside(folder, inner)


@cache
def _is_inside(folder: str, inner: str) -> bool:
    return Path(inner).resolve().is_relative_to(Path(folder).resolve())


def shown(row: Row) -> "list[Image]":
    """Return a row's pictures decoded, as lm-eval's models want them."""
    return [decoded(path) for path in to_images(row)]


# Pictures of datasets, which have no files of their own


def picture_folder() -> Path:
    """Return where the pictures of hub datasets are kept, each under its own sha256."""
    return cache_folder() / "pictures"


def is_picture(cell: Any) -> bool:
    """Whether a cell of a dataset holds a picture, as `datasets` has it or in bare bytes."""
    named = isinstance(cell, dict) and cell.keys() == {"bytes", "path"}
    return named or encoded(cell) is not None


def keep(picture: Any, folder: Path) -> str:
    """Store a picture's bytes under their sha256, once; return the file's name."""
    from PIL import Image

    content = encoded(picture) or Path(picture["path"]).read_bytes()
    with Image.open(BytesIO(content)) as opened:
        kind = str(opened.format).lower()
    suffix = {"jpeg": ".jpg"}.get(kind, f".{kind}")
    path = folder / f"{hashlib.sha256(content).hexdigest()}{suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, settled=False)
    return path.name
