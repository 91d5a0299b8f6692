"""What the tests of the benchmarks share: published verdicts, golden rows, snapshots of the hub."""

import gzip
import hashlib
import json
from io import BytesIO
from pathlib import Path

import places

import tasks

GOLDEN = Path(__file__).parent / "golden"

FOLDERS = (*places.PARITY, *places.MORE)


def place(path):
    """Where published outputs, questions or pictures lie: all of them, else the project's part."""
    found = place_of(path)
    assert found is not None, path
    return found


def place_of(path):
    """The same; None where it is not in the project's part."""
    return next((folder / path for folder in FOLDERS if (folder / path).exists()), None)


def entries(prefix):
    """What a manifest says of the files of a benchmark: all of them, else the project's part."""
    for folder in FOLDERS:
        listed = json.loads((folder / "open" / "manifest.json").read_text())["files"]
        if found := [entry for entry in listed if entry["file"].startswith(prefix)]:
            return found
    return []


def files(prefix):
    """Names of the files of a benchmark, for `records`."""
    return [entry["file"].removesuffix(".jsonl.gz") for entry in entries(prefix)]


def records(name):
    """Published answers with their official verdicts, as many as the manifest says."""
    (entry,) = entries(f"{name}.jsonl")
    with gzip.open(place(f"open/{name}.jsonl.gz"), "rt") as file:
        found = [json.loads(line) for line in file]
    assert len(found) == entry["n"] > 0
    return found


def scores(name):
    """The official scores of a file of published answers."""
    (entry,) = entries(f"{name}.jsonl")
    return entry["official_scores"]


def check_sample(task, ending):
    """Assert that the sample's rows of a task load, each with the picture that it had."""
    rows = tasks.load(task).rows(place("images_sample"))
    assert len(rows) >= 2
    for row in rows:
        (path,) = tasks.load(task).to_images(row)
        assert path.suffix == ending
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["image_sha256"]
    return rows


def golden():
    """Task → rows written by hand, with the verdict of each protocol.

    The first line of a file has their source. A variant of a task has none, but for MMMU-Pro's two.
    """
    found = {}
    for name in tasks.names():
        path = GOLDEN / f"{'mmmu_pro' if name.startswith('mmmu_pro') else name}.jsonl"
        if path.exists():
            found[name] = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    return found


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
