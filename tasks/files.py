"""Rows and pictures from a local folder or the hub, in the shapes that harness and lm-eval want."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import hub
from common.errors import UserError
from common.files import cache_folder, stamp, write_whole
from common.pictures import decoded, encoded

if TYPE_CHECKING:
    from PIL.Image import Image

Row = dict[str, Any]

FOLDER = "folder"
"""Field of every row: where the data lies. No part of the benchmark."""

BENCHMARKS = "rows.jsonl"
"""File with the rows of several benchmarks; the field `benchmark` tells them apart."""

STATE = "state.json"
"""Of what `datasets` saves to disk."""

NAMED = 5
"""Rows named in a sentence about many."""


@dataclass(frozen=True)
class Source:
    """Where a benchmark's rows come from when no folder is given."""

    repo: str
    """Dataset on the hub."""
    revision: str | None
    """Commit; None: the newest, whose commit goes into the run card."""
    config: str
    split: str
    licence: str
    n: int
    """Rows of the split."""


class Rows(list[Row]):
    """Rows with the one attribute of a dataset that lm-eval asks for."""

    @property
    def features(self) -> dict[str, None]:
        """Names of the fields."""
        return dict.fromkeys(self[0]) if self else {}


# Local files


def read_rows(task: str, data: str | Path | None, name: str) -> Iterator[Row]:
    """Yield the JSON lines of `data/name`, each with its folder.

    Raises:
        UserError: No folder was given, the file is not there, or a line is not a JSON object.
    """
    if data is None:
        raise UserError(f"{task} reads its rows from a local folder: give --data FOLDER")
    path = Path(data) / name
    if not path.is_file():
        raise UserError(f"{task} needs {path}, which does not exist: is --data the right folder?")
    for row in read_json(path):
        yield {**row, FOLDER: str(data)}


def benchmark_rows(task: str, data: str | Path | None, benchmark: str) -> Iterator[Row]:
    """Yield one benchmark's rows of `data/rows.jsonl`; `images` holds the names of the pictures."""
    for row in read_rows(task, data, BENCHMARKS):
        if row.get("benchmark") == benchmark:
            yield {**row, "images": [row["image_file"]]}


def find(data: str | Path, names: Sequence[str]) -> Path | None:
    """Return the first of some files that lies in a folder, as it is or with `.gz` behind."""
    for name in names:
        for path in (Path(data) / name, Path(data) / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def read_json(path: Path) -> Any:
    """Read a `.json` file, or a `.jsonl` file as a list of objects; either may end in `.gz`.

    Raises:
        UserError: It cannot be read, is not JSON, or a line of it is not an object.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if path.name.removesuffix(".gz").endswith(".jsonl"):
                return [_object(path, number, line) for number, line in enumerate(file, start=1)]
            return json.load(file)
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def _object(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path} line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise UserError(f"{path} line {number} is not a JSON object")
    return row


def complete(task: str, rows: Iterable[Row], fields: Sequence[str]) -> Iterator[Row]:
    """Pass rows on; when all have come, say which lack a field (or have None in it).

    Raises:
        UserError: Some do; the sentence has their number and the first names.
    """
    lacking: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=1):
        for field in fields:
            if row.get(field) is None:
                lacking.setdefault(field, []).append(str(row.get("id", f"number {number}")))
        yield row
    if lacking:
        parts = [
            f"{len(ids)} rows have no {field} ({first(ids)})" for field, ids in lacking.items()
        ]
        raise UserError(f"{task}: {'; '.join(parts)}")


def first(names: Sequence[str]) -> str:
    """Return the first few names, and a mark where there are more."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


# The hub


def hub_rows(
    task: str, source: Source | Mapping[str, Any] | None, data: str | Path | None = None
) -> Iterator[Row]:
    """Yield the rows of a dataset, every picture as a file.

    Rows that were read before are not read from the dataset again, unless it has changed.

    Args:
        task: Name, for the error.
        source: The dataset, as under `metadata` of the task's YAML.
        data: None: the dataset is fetched from the hub. A folder: a snapshot of it, Parquet files
            as on the hub or what `datasets` saved to disk.

    Yields:
        The dataset's fields; in place of a picture the name of its file, or None. `images` holds
        these names in the order of the columns, `folder` the folder that they lie in.

    Raises:
        UserError: There is no such dataset, or a picture in it cannot be read.
    """
    if source is None:
        raise UserError(f"{task} reads its rows from a local folder: give --data FOLDER")
    known = source if isinstance(source, Source) else Source(**source)
    found = None if data is None else _files(task, known, Path(data))
    place, folder = _place(known, found), picture_folder()
    if (rows := _recalled(place, folder)) is None:
        table = _fetched(task, known) if found is None else _snapshot(found)
        rows = list(_with_files(task, table, folder))
        _remember(place, rows)
    for row in rows:
        yield {**row, FOLDER: str(folder)}


def _with_files(task: str, table: Any, folder: Path) -> Iterator[Row]:
    for number, row in enumerate(_undecoded(table)):
        try:
            plain, names = _stored(row, folder)
        except Exception as error:
            raise UserError(f"{task}: row {number} has a picture that does not open") from error
        yield {**plain, "images": names}


@cache
def commit(source: Source) -> str | None:
    """Return the commit of a dataset: the pinned one, else the newest that is known."""
    return hub.commit(source.repo, "dataset", source.revision)


def _fetched(task: str, source: Source) -> Any:
    """Fetch the split, or the whole dataset where its files have other names than most."""
    import datasets

    try:
        folder = hub.fetch(source.repo, "dataset", source.revision, _patterns(source))
        if found := _parquet(source, folder):
            return _snapshot(found)
        folder = hub.fetch(source.repo, "dataset", source.revision)
    except UserError as error:
        raise UserError(f"{task}: {error}; --data FOLDER reads a copy") from error
    try:
        return datasets.load_dataset(str(folder), source.config, split=source.split)
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{task}: {source.repo} ({source.config}, {source.split}) cannot be read ({said})"
        ) from error


def _patterns(source: Source) -> list[str]:
    """Return where a split's Parquet files lie, the likeliest first."""
    many = f"{source.split}-*.parquet"
    # A split may be one file of its name, or of the dataset's.
    one = f"{source.split}.parquet", f"{source.repo.split('/')[-1].lower()}.parquet"
    return [f"{source.config}/{many}", f"data/{many}", many, *one]


def _parquet(source: Source, folder: Path) -> list[Path]:
    every = (sorted(folder.glob(pattern)) for pattern in _patterns(source))
    return next((found for found in every if found), [])


def _files(task: str, source: Source, data: Path) -> list[Path]:
    """Return the files of a snapshot: Parquet, or all that `datasets` saved to disk of the split.

    Raises:
        UserError: There are none.
    """
    saved = data / source.split if (data / "dataset_dict.json").is_file() else data
    if (saved / STATE).is_file():
        return sorted(path for path in saved.iterdir() if path.is_file())
    if found := _parquet(source, data):
        return found
    raise UserError(
        f"{task} finds none of the files it knows in {data}, nor {source.split}-*.parquet of "
        f"{source.repo}: is --data the right folder?"
    )


def _snapshot(found: Sequence[Path]) -> Any:
    import datasets

    if any(path.name == STATE for path in found):
        return datasets.load_from_disk(str(found[0].parent))
    return datasets.Dataset.from_parquet([str(path) for path in found])


def _undecoded(table: Any) -> Any:
    """Return the table with its pictures as encoded bytes."""
    from datasets import Image

    for column, feature in table.features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, Image):
            table = table.cast_column(column, Image(decode=False))
        elif isinstance(inner, Image):
            table = table.cast_column(column, type(feature)(Image(decode=False)))
    return table


def _stored(row: Row, folder: Path) -> tuple[Row, list[str]]:
    """Keep the pictures of a row as files; return the row with their names, and the names."""
    plain: Row = {}
    names: list[str] = []
    for field, value in row.items():
        many = isinstance(value, list)
        pictures = value if many else [value]
        if pictures and all(_is_picture(picture) for picture in pictures):
            kept = [_keep(picture, folder) for picture in pictures]
            names.extend(kept)
            plain[field] = kept if many else kept[0]
        else:
            plain[field] = value
    return plain, names


def _is_picture(value: Any) -> bool:
    named = isinstance(value, dict) and value.keys() == {"bytes", "path"}
    return named or encoded(value) is not None


def _keep(picture: Any, folder: Path) -> str:
    """Store encoded bytes under their sha256, once; return the file's name."""
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


def picture_folder() -> Path:
    """Return where the pictures of hub datasets are kept, each under its own sha256."""
    return cache_folder() / "pictures"


# Rows that were read before


def _place(source: Source, found: Sequence[Path] | None) -> Path | None:
    """Return where rows are kept: named by what they are read from, and by this code.

    Args:
        source: The dataset.
        found: Files of a snapshot; None: the dataset comes from the hub.

    Returns:
        The file; None where the commit of a dataset is not known.
    """
    if found is None and commit(source) is None:
        return None
    of: list[Any] = [source.repo, source.config, source.split]
    of += [commit(source)] if found is None else [(path.resolve(), stamp(path)) for path in found]
    code = Path(__file__).read_bytes()
    name = hashlib.sha256(repr(of).encode() + code).hexdigest()
    return cache_folder() / "rows" / f"{name}.jsonl"


def _recalled(place: Path | None, folder: Path) -> list[Row] | None:
    """Return rows that are kept, None where they are not there whole, pictures included."""
    if place is None:
        return None
    try:
        with place.open("rb") as file:
            rows = [json.loads(line) for line in file]
    except (OSError, ValueError):
        return None
    names = {name for row in rows for name in row["images"]}
    return rows if all(os.path.isfile(os.path.join(folder, name)) for name in names) else None


def _remember(place: Path | None, rows: Sequence[Row]) -> None:
    # A cache that cannot be written, or rows that are no JSON, cost time and nothing else.
    with suppress(OSError, UserError, TypeError, ValueError):
        if place is not None:
            content = "".join(json.dumps(row) + "\n" for row in rows)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, content.encode(), settled=False)


# Pictures


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


def pictures(row: Row) -> "list[Image]":
    """Return a row's pictures decoded, as lm-eval's models want them."""
    return [decoded(path) for path in to_images(row)]
