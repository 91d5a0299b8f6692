"""Rows from local files: JSON and JSON lines, packed or not, as repositories have them."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from tasks.data import FOLDER, Data, Row, Source

BENCHMARKS = "rows.jsonl"
"""File with the rows of several benchmarks; the field `benchmark` tells them apart."""

Own = Callable[[Data, Source], Iterable[Row] | None]
"""Data folder and source → the rows of the benchmark's own files, None where there are none."""


def questions(
    task: str, *names: str, named: str | None = None, benchmark: str | None = None
) -> Own:
    """Return a reader of a benchmark's own file of questions.

    Args:
        task: Name, for errors.
        names: Of the file, `{split}` in it the split; the first that is there counts.
        named: The file is a table of questions, whose names go into this field; None: it is a list.
        benchmark: Its name in `rows.jsonl`, which is read before its own file.
    """

    def own(data: Data, source: Source) -> Iterable[Row] | None:
        if benchmark and data and (Path(data) / BENCHMARKS).is_file():
            rows = read_rows(task, data, BENCHMARKS)
            mine = (row for row in rows if row.get("benchmark") == benchmark)
            return ({**row, "images": [row["image_file"]]} for row in mine)
        path = find(data, *(name.format(split=source.split) for name in names))
        return None if path is None else _listed(task, path, named)

    return own


def _listed(task: str, path: Path, named: str | None) -> Iterator[Row]:
    found: Any = read_json(path)
    kind, what = (dict, "table") if named else (list, "list")
    rows = found.values() if isinstance(found, dict) else found
    if not isinstance(found, kind) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{task}: {path} is no {what} of questions: is --data the right folder?")
    # Pictures lie beside the file, or beside its folder `data`.
    above = path.parent.name == "data" and (path.parent.parent / "images").is_dir()
    folder = str(path.parent.parent if above else path.parent)
    for name, row in zip(found, rows, strict=True):
        yield {**({named: name} if named else {}), **row, FOLDER: folder}


def read_rows(task: str, data: Data, name: str) -> Iterator[Row]:
    """Yield the JSON lines of `data/name`, each with its folder.

    Raises:
        UserError: No folder was given, the file is not there, or a line is not a JSON object.
    """
    if data is None:
        raise UserError(f"{task} reads its rows from a local folder: give --data FOLDER")
    path = Path(data) / name
    if not path.is_file():
        raise UserError(f"{task} needs {path}, which does not exist: is --data the right folder?")
    for row in read_lines(path):
        yield {**row, FOLDER: str(data)}


def find(data: Data, *names: str) -> Path | None:
    """Return the first of some files that lies in a folder, as it is or with `.gz` behind."""
    for name in names if data is not None else ():
        for path in (Path(data or "") / name, Path(data or "") / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def find_all(task: str, data: Data, parts: Sequence[str], *names: str) -> dict[str, Path] | None:
    """Return the file of each part of a benchmark, for which `{}` stands in the names.

    Returns:
        Part → file; None where the folder has none of them.

    Raises:
        UserError: Some are there and others are not.
    """
    found = {part: find(data, *(name.format(part) for name in names)) for part in parts}
    there = {part: path for part, path in found.items() if path is not None}
    for part in parts:
        if there and part not in there:
            raise UserError(f"{task} has no file of the {part} questions beside the others")
    return there or None


def read_json(path: Path) -> Any:
    """Read a `.json` file, or a `.jsonl` file as a list of objects; either may end in `.gz`.

    Raises:
        UserError: It cannot be read, is not JSON, or a line of it is not an object.
    """
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return read_lines(path)
    try:
        return json.loads(_content(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def read_lines(path: Path) -> list[Row]:
    """Read JSON lines, whatever the file is called: see `read_json`."""
    return [_object(path, *numbered) for numbered in enumerate(_content(path).splitlines(), 1)]


def _content(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read()
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _object(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path} line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise UserError(f"{path} line {number} is not a JSON object")
    return row
