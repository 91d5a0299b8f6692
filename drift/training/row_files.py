"""The files that training rows lie in: JSONL, JSON, Parquet, folders and data sets of the hub.

Which of them a place names, and, where LLaMA-Factory's `dataset_info.json` describes one, how its
columns and tags are called there.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.pictures import undecoded
from common.provenance import MADE
from common.typed import as_kind, read_json
from drift.training.forms import Raw

INFO = "dataset_info.json"
DATA = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class Found:
    """Rows as they lie in a file."""

    rows: list[Any]
    """Each a dict if it is sound; an exception where a line of JSONL is no JSON."""
    where: str
    """For messages to people."""
    folder: Path
    """That paths of pictures start from."""
    shape: Callable[[Raw], Raw] = lambda row: row
    """To one of the forms of `drift.training.forms`; may raise ValueError."""


def find(place: Path | str) -> Found:
    """Return what lies at a file, a folder, `folder:split` or `…/dataset_info.json:name`.

    Raises:
        UserError: nothing, or nothing that can be read.
    """
    text = str(place)
    info, _, name = text.partition(f"{INFO}:")
    if (Path(place).name == INFO or name) and Path(info.removesuffix(INFO), INFO).is_file():
        found = _described(Path(info.removesuffix(INFO)), name)
    else:
        found = _plain_rows(text)
    if not isinstance(found.rows, list) or not found.rows:
        raise UserError(f"{found.where} holds no rows")
    return found


def notes(place: Path | str) -> list[Path]:
    """Return the files beside the rows of a place that tell what sampling them took.

    Beside a folder they lie as beside a file: `data.made.json` tells of the rows in `data`.
    """
    text = str(place)
    path = Path(text if Path(text).exists() else text.rpartition(":")[0])
    inside = sorted(path.glob(f"*.{MADE}")) if path.is_dir() else [path.with_suffix(f".{MADE}")]
    folder = path if path.is_dir() else path.parent
    found = [*inside, folder.with_name(f"{folder.name}.{MADE}")] if folder.name else inside
    return [note for note in found if note.is_file()]


def _plain_rows(place: str) -> Found:
    path = Path(place)
    if path.is_dir():
        return _from_folder(path, "train")
    folder, _, split = place.rpartition(":")
    if folder and Path(folder).is_dir():
        return _from_folder(Path(folder), split)
    if not path.is_file():
        raise UserError(f"there is no data file {path}")
    try:
        return Found(_from_file(path), str(path), path.parent)
    except (ValueError, OSError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as {path.suffix or 'JSONL'} ({problem})") from error


def _from_file(path: Path) -> Any:
    if path.suffix == ".parquet":
        import pandas as pd

        return [_without_arrays(row) for row in pd.read_parquet(path).to_dict("records")]
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".json":
        return json.loads(text)
    # Only a line feed ends a line: U+2028 and its like may stand within a string.
    return [_line(line) for line in text.split("\n") if line.strip()]


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return error


def _without_arrays(value: Any) -> Any:
    """Arrays of a Parquet row as lists, and its missing numbers as None, all the way down."""
    if isinstance(value, dict):
        return {key: _without_arrays(inner) for key, inner in value.items()}
    if hasattr(value, "tolist") or isinstance(value, list):
        plain = value.tolist() if hasattr(value, "tolist") else value
        return [_without_arrays(one) for one in plain] if isinstance(plain, list) else plain
    return None if isinstance(value, float) and value != value else value


def _from_folder(folder: Path, split: str) -> Found:
    """The rows of a folder as the hub has them; pictures stay encoded."""
    beside = (INFO, MADE)  # what describes rows, and where they come from
    files = [
        one
        for one in sorted(folder.iterdir())
        if one.suffix in DATA and not one.name.endswith(beside)
    ]
    others = any(part in one.stem for one in files for part in ("test", "val"))
    if split == "train" and len(files) == 1 and not others:
        # `datasets` would take a folder with more pictures than rows for one of pictures alone.
        return _plain_rows(str(files[0]))
    import datasets

    try:
        found = datasets.load_dataset(str(folder), split=split)
    except (ValueError, OSError, datasets.exceptions.DatasetGenerationError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{folder} cannot be read as a data set ({problem})") from error
    return Found([dict(row) for row in undecoded(found)], f"{folder} ({split})", folder)


def _described(folder: Path, name: str) -> Found:
    """The rows of the data set `name` that LLaMA-Factory's `dataset_info.json` describes.

    Source of the keys and their defaults: hiyouga/LLaMA-Factory, data/README.md.
    """
    path = folder / INFO
    known = read_json(path)
    name = name or (next(iter(known)) if len(known) == 1 else "")
    if name not in known:
        raise UserError(f"{path} describes no {name!r}; give {path}:NAME, of {', '.join(known)}")
    about = as_kind(known[name], dict, f"{name} of {path}")
    columns = as_kind(about.get("columns") or {}, Mapping[str, str], f"columns of {name} of {path}")
    tags = as_kind(about.get("tags") or {}, Mapping[str, str], f"tags of {name} of {path}")
    if about.get("ranking"):
        raise UserError(f"{name} of {path} holds ranked answers, which are not for fine-tuning")
    if isinstance(about.get("hf_hub_url"), str):
        from common.hub import fetch

        source = f"{fetch(about['hf_hub_url'], 'dataset')}:{about.get('split', 'train')}"
    elif isinstance(about.get("file_name"), str):
        file = folder / about["file_name"]
        if not file.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{name} of {path} names {file}, which lies outside the folder")
        source = str(file)
    else:
        raise UserError(f"{name} of {path} has neither file_name nor hf_hub_url")
    found = _plain_rows(source)
    shared = about.get("formatting", "alpaca") == "sharegpt"
    return Found(
        found.rows,
        found.where,
        found.folder if "hf_hub_url" in about else folder,
        lambda row: _shared(row, columns, tags) if shared else _named(row, columns, ALPACA),
    )


ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
SHAREGPT = {"messages": "conversations"}


def _named(row: Raw, columns: Mapping[str, str], ours: dict[str, str]) -> Raw:
    """The row with the columns of LLaMA-Factory under our names."""
    names = {theirs: ours.get(column, column) for column, theirs in columns.items()}
    named = {names.get(name, name): value for name, value in row.items()}
    if len(named) < len(row):
        raise ValueError("has two columns of one name, by its description and by its own")
    return named


def _shared(row: Raw, columns: Mapping[str, str], tags: Mapping[str, str]) -> Raw:
    """A row of the `sharegpt` form, its tags as ours."""
    named = _named(row, columns, SHAREGPT)
    role_tag, content_tag = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    defaults = {"user": "human", "assistant": "gpt", "system": "system"}
    roles = {tags.get(f"{role}_tag", default): role for role, default in defaults.items()}
    turns = []
    for turn in named.get("conversations") or []:
        try:
            role, content = roles[turn[role_tag]], turn[content_tag]
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"has a turn without {role_tag} and {content_tag}, or of another role than "
                f"{', '.join(roles)}"
            ) from error
        rest = {name: value for name, value in turn.items() if name not in (role_tag, content_tag)}
        turns.append({"role": role, "content": content, **rest})
    return named | {"conversations": turns}
