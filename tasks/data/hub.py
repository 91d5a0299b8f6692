"""Rows of a dataset on the hub, or of a snapshot of it, every picture as a file."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from common import hub
from common.errors import UserError
from common.files import cache_folder, stamp, write_whole
from common.pictures import undecoded
from common.typed import read_json
from tasks.data import FOLDER, Data, Row, Source, pictures

STATE = "state.json"
"""Of what `datasets` saves to disk."""


def rows(task: str, source: Source, data: Data = None) -> Iterator[Row]:
    """Yield the rows of a dataset, every picture as a file.

    Rows that were read before are not read from the dataset again, unless it has changed.

    Args:
        task: Name, for the error.
        source: The dataset.
        data: None: the dataset is fetched from the hub. A folder: a snapshot of it, Parquet files
            as on the hub or what `datasets` saved to disk.

    Yields:
        The dataset's fields; in place of a picture the name of its file, or None. `images` holds
        these names in the order of the columns, `folder` the folder that they lie in.

    Raises:
        UserError: There is no such dataset, or a picture in it cannot be read.
    """
    folder = pictures.picture_folder()
    for split in source.split.split("+"):
        for row in _of_split(task, replace(source, split=split), data, folder):
            yield {**row, FOLDER: str(folder)}


def _of_split(task: str, source: Source, data: Data, folder: Path) -> list[Row]:
    found = None if data is None else _files(task, source, Path(data))
    place = _place(source, found)
    if (rows := _recalled(place, folder)) is None:
        table = _fetched(task, source) if found is None else _snapshot(found)
        rows = list(_with_files(task, table, folder))
        _remember(place, rows)
    return rows


def _with_files(task: str, table: Any, folder: Path) -> Iterator[Row]:
    for number, row in enumerate(undecoded(table)):
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
    alone = f"*/{source.config}/{source.config}.parquet"  # a file for each configuration
    return [f"{source.config}/{many}", f"data/{many}", many, *one, alone]


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
        _check_saved(task, source, saved)
        return sorted(path for path in saved.iterdir() if path.is_file())
    if found := _parquet(source, data):
        return found
    raise UserError(
        f"{task} finds none of the files it knows in {data}, nor {source.split}-*.parquet of "
        f"{source.repo}: is --data the right folder?"
    )


def _check_saved(task: str, source: Source, saved: Path) -> None:
    """Stop at a saved split or configuration that is another than the source's."""
    info = saved / "dataset_info.json"
    about = read_json(info) if info.is_file() else {}
    split = saved.name if saved.name == source.split else read_json(saved / STATE).get("_split")
    config = about.get("config_name")
    # What was made from files is of the split train and of no or the default configuration.
    same_split = (split or "train").partition("[")[0] in (source.split, "train")
    same_config = (config or "default") in (source.config, "default") or source.config == "default"
    if not (same_split and same_config):
        raise UserError(
            f"{task} reads {source.config}, {source.split} of {source.repo}, and {saved} holds "
            f"{config or source.config}, {split or source.split}: give a folder with all of it"
        )


def _snapshot(found: Sequence[Path]) -> Any:
    import datasets

    if any(path.name == STATE for path in found):
        return datasets.load_from_disk(str(found[0].parent))
    return datasets.Dataset.from_parquet([str(path) for path in found])


def _stored(row: Row, folder: Path) -> tuple[Row, list[str]]:
    """Keep the pictures of a row as files; return the row with their names, and the names."""
    plain: Row = {}
    names: list[str] = []
    for field, value in row.items():
        many = isinstance(value, list)
        cells = value if many else [value]
        if cells and all(pictures.is_picture(cell) for cell in cells):
            kept = [pictures.keep(cell, folder) for cell in cells]
            names.extend(kept)
            plain[field] = kept if many else kept[0]
        else:
            plain[field] = value
    return plain, names


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
    code = Path(__file__).read_bytes() + Path(pictures.__file__).read_bytes()
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
