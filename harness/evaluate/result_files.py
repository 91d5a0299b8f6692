"""The file that another tool wrote → the records in it, whatever they mean.

JSON lines, JSON (a list, a mapping from ids, columns, or a list within an object), TSV, CSV, XLSX,
and the logs of inspect_ai (`.eval`: a zip archive with a JSON file for each sample).
"""

import csv
import sys
import zipfile
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.typed import as_json, read_bytes
from harness.evaluate.archive import BROKEN, part
from harness.evaluate.spreadsheet import read_sheet

Record = dict[str, Any]

LISTS = ("logs", "samples")
"""Fields under which a list of records may stand: of lmms-eval's older files, of inspect's JSON."""

PICKLES = (".pkl", ".pickle")

LARGEST = 1 << 33
"""Bytes of an unpacked log; a larger one is a bomb."""


def read(path: Path, answers: tuple[str, ...]) -> tuple[list[Record], list[str]]:
    """Read the records of a file, and notes on how it was read.

    Args:
        path: The file.
        answers: Fields that may hold an answer: they tell columns from a mapping from ids.

    Raises:
        UserError: It is of no known kind, or damaged.
    """
    kind = path.suffix.lower()
    if kind in PICKLES:
        raise UserError(
            f"{path} is a pickle, which can run code when it is read: have the tool write TSV or "
            "JSON (VLMEvalKit: PRED_FORMAT=tsv)"
        )
    kinds = {".jsonl": _lines, ".tsv": _table, ".csv": _table, ".eval": _log}
    if kind not in (*kinds, ".json", ".xlsx"):
        raise UserError(
            f"{path} is no {', '.join(kinds)}, .json or .xlsx: convert it to JSON lines or TSV"
        )
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        if kind == ".json":
            return _json(path, answers), []
        if kind == ".xlsx":
            records, sheets = read_sheet(path)
            several = f"of the sheets {', '.join(sheets)} the first is read"
            return records, [several] if len(sheets) > 1 else []
        return kinds[kind](path), []
    except (ValueError, csv.Error, OSError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def _lines(path: Path) -> list[Record]:
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                found.append(as_json(line, f"{path} line {number}"))
                if not isinstance(found[-1], dict):
                    raise ValueError(f"line {number} is not a JSON object")
    return found


def _json(path: Path, answers: tuple[str, ...]) -> list[Record]:
    told = as_json(read_bytes(path), path)
    if isinstance(told, dict):
        told = next((told[name] for name in LISTS if isinstance(told.get(name), list)), told)
    if isinstance(told, dict):
        if any(isinstance(told.get(field), list | dict) for field in answers):
            columns = [list(c.values()) if isinstance(c, dict) else c for c in told.values()]
            if not all(isinstance(c, list) and len(c) == len(columns[0]) for c in columns):
                raise ValueError("its columns are not of one length")
            told = [dict(zip(told, row, strict=True)) for row in zip(*columns, strict=True)]
        elif all(isinstance(value, dict) for value in told.values()):
            told = [{"id": id, **record} for id, record in told.items()]
    if not isinstance(told, list) or not all(isinstance(record, dict) for record in told):
        fields = f": its fields are {', '.join(list(told)[:10])}" if isinstance(told, dict) else ""
        raise ValueError(f"it does not hold JSON objects{fields}")
    return told


def _table(path: Path) -> list[Record]:
    csv.field_size_limit(sys.maxsize)
    tab = path.suffix.lower() == ".tsv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t" if tab else ","))
    for number, record in enumerate(found, start=1):
        if None in record:
            raise ValueError(f"row {number} has more cells than there are headings")
    return found


def _log(path: Path) -> list[Record]:
    try:
        with zipfile.ZipFile(path) as log:
            if sum(info.file_size for info in log.infolist()) > LARGEST:
                raise ValueError(f"it holds more than {LARGEST} bytes")
            names = [name for name in log.namelist() if name.startswith("samples/")]
            found = [as_json(part(log, name), f"{path} {name}") for name in names]
    except BROKEN as error:
        raise ValueError(f"it is no log of inspect ({error})") from error
    if not all(isinstance(sample, dict) for sample in found):
        raise ValueError("it is no log of inspect")
    return found
