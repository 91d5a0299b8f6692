"""What the tests of the benchmarks share: published verdicts, golden rows, snapshots of the hub."""

import gzip
import json
from io import BytesIO
from pathlib import Path

import places
import pytest

import tasks
from tasks.judging import settle

SHARED = places.SHARED / "parity"
GOLDEN = Path(__file__).parent / "golden"


def shared(path):
    """Return the path of something beside the repository; skip where it is not at hand."""
    if not (SHARED / path).exists():
        pytest.skip(f"{SHARED / path} is not here")
    return SHARED / path


def records(name):
    """Published answers with their official verdicts."""
    with gzip.open(shared(f"open/{name}.jsonl.gz"), "rt") as file:
        return [json.loads(line) for line in file]


def scores(name):
    """The official scores of a file of published answers."""
    manifest = json.loads(shared("open/manifest.json").read_text())
    return next(
        entry["official_scores"]
        for entry in manifest["files"]
        if entry["file"] == f"{name}.jsonl.gz"
    )


def vectors(function):
    """Inputs and outputs of an official function."""
    found = json.loads(shared("open/rule_vectors.json").read_text())
    return [vector for vector in found if vector["fn"] == function]


def golden(task):
    """Rows written by hand, with the verdict of each protocol; the first line has the source."""
    lines = (GOLDEN / f"{task}.jsonl").read_text().splitlines()[1:]
    return [pytest.param(json.loads(line), id=json.loads(line)["kind"]) for line in lines]


def check(task, case):
    """Assert that each protocol judges a golden row as written."""
    for protocol, expected in case["verdicts"].items():
        verdict = tasks.load(task, protocol).verdict
        found, _ = settle(verdict, case["row"], case["text"], case.get("replies", ()))
        assert list(found) == expected, protocol


def picture(colour="red"):
    """Bytes of a small picture."""
    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def snapshot(path, rows, pictures=("image",)):
    """Write rows as one Parquet file of a hub dataset, with the pictures in it."""
    import datasets
    import pyarrow
    from datasets.table import InMemoryTable

    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for name in pictures:
        columns[name] = [cell and {"bytes": cell, "path": None} for cell in columns[name]]
    # `from_dict` would import torchcodec, which may be hidden beside a torch that cannot load it.
    table = datasets.Dataset(InMemoryTable(pyarrow.table(columns)))
    for name in pictures:
        table = table.cast_column(name, datasets.Image(decode=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    table.to_parquet(path)
    datasets.enable_progress_bars()
