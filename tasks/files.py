"""Rows and pictures from a local folder, in the shapes that our harness and lm-eval ask for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tasks.errors import TaskError

if TYPE_CHECKING:
    from PIL.Image import Image

Row = dict[str, Any]

FOLDER = "folder"
"""Field of every row: where the data lies. No part of the benchmark."""

BENCHMARKS = "rows.jsonl"
"""File with the rows of several benchmarks; the field `benchmark` tells them apart."""


class Rows(list[Row]):
    """Rows with the one attribute of a dataset that lm-eval asks for."""

    @property
    def features(self) -> dict[str, None]:
        """Names of the fields."""
        return dict.fromkeys(self[0]) if self else {}


def read_rows(task: str, data: str | Path | None, name: str) -> Iterator[Row]:
    """Yield the JSON lines of `data/name`, each with its folder.

    Raises:
        TaskError: No folder was given, the file is not there, or a line is not a JSON object.
    """
    if data is None:
        raise TaskError(f"{task} reads its rows from a local folder: give --data FOLDER")
    path = Path(data) / name
    if not path.is_file():
        raise TaskError(f"{task} needs {path}, which does not exist: is --data the right folder?")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise TaskError(f"{path} line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise TaskError(f"{path} line {number} is not a JSON object")
            yield {**row, FOLDER: str(data)}


def benchmark_rows(task: str, data: str | Path | None, benchmark: str) -> Iterator[Row]:
    """Yield one benchmark's rows of `data/rows.jsonl`; `images` holds the names of the pictures."""
    for row in read_rows(task, data, BENCHMARKS):
        if row.get("benchmark") == benchmark:
            yield {**row, "images": [row["image_file"]]}


def to_images(row: Row) -> list[Path]:
    """Return where a row's pictures lie: the names in its field `images`, under its folder.

    Raises:
        TaskError: A name leads out of the folder, or to nothing.
    """
    folder = Path(row[FOLDER])
    found = []
    for name in row["images"]:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise TaskError(f"row {row['id']}: the picture {name} lies outside of {folder}")
        if not path.is_file():
            raise TaskError(f"row {row['id']}: the picture {path} does not exist")
        found.append(path)
    return found


def pictures(row: Row) -> "list[Image]":
    """Return a row's pictures decoded, as lm-eval's models want them."""
    return [decoded(path) for path in to_images(row)]


def decoded(source: Path | BinaryIO) -> "Image":
    """Decode a picture to RGB, transparent parts on white.

    Dropping the transparency instead would show what lies under it, mostly black: a diagram drawn
    in black on nothing would be lost (LogicVista v1_5).
    """
    from PIL import Image

    with Image.open(source) as image:
        if not image.has_transparency_data:
            return image.convert("RGB")
        layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
