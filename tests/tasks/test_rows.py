"""Rows from files, from snapshots of the hub and from the hub itself."""

import base64
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakehub import GATED, Fault
from published import picture, snapshot

import tasks
from common.errors import UserError
from tasks.data import Source, complete, local, pictures
from tasks.data import hub as on_hub

SOURCE = Source(
    repo="some/where", revision="a" * 40, config="default", split="test", licence="MIT", n=2
)
ROWS = [
    {"index": 1, "question": "red?", "image": picture("red"), "image_2": picture("blue")},
    {"index": 2, "question": "none?", "image": None, "image_2": picture("red")},
]


@pytest.fixture(autouse=True)
def commits():
    """No commit is known from another test."""
    on_hub.commit.cache_clear()


def written(folder: Path, where: str) -> Path:
    snapshot(folder / where / "test-00000-of-00001.parquet", ROWS, ("image", "image_2"))
    return folder


@pytest.mark.parametrize("where", ["", "data", "default"])
def test_a_snapshot_of_a_dataset_gives_rows_with_their_pictures_as_files(tmp_path, cache, where):
    first, second = on_hub.rows("t", SOURCE, written(tmp_path / "snapshot", where))
    assert (first["index"], first["question"], first["folder"]) == (1, "red?", str(cache))
    assert first["images"] == [first["image"], first["image_2"]]
    assert (second["image"], second["images"]) == (None, [first["image"]])  # the same picture
    assert len(list(cache.iterdir())) == 2
    read = [path.read_bytes() for path in pictures.to_images({**first, "id": "1"})]
    assert read == [picture("red"), picture("blue")]


READ_AGAIN = """
import sys
from tasks.data import Source, hub
print([row["index"] for row in hub.rows("t", {source!r}, {data!r})])
print(sorted({{"datasets", "pyarrow", "PIL", "pandas"}} & set(sys.modules)))
"""


def test_rows_are_read_once_until_the_dataset_changes(tmp_path, cache):
    data = written(tmp_path / "snapshot", "")
    first = list(on_hub.rows("t", SOURCE, data))
    code = READ_AGAIN.format(source=SOURCE, data=str(data))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[1, 2]", "[]"]
    # A picture that is lost comes back.
    pictures.to_images({**first[0], "id": "1"})[0].unlink()
    assert list(on_hub.rows("t", SOURCE, data)) == first
    assert len(list(cache.iterdir())) == 2
    # What is kept and broken is read anew.
    for kept in (cache.parent / "rows").iterdir():
        kept.write_text('{"index": 1')
    assert list(on_hub.rows("t", SOURCE, data)) == first
    # Other rows in the same file, of the same size.
    (file,) = data.glob("*.parquet")
    size = file.stat().st_size
    snapshot(file, [{**ROWS[0], "index": 3}, ROWS[1]], ("image", "image_2"))
    assert [row["index"] for row in on_hub.rows("t", SOURCE, data)] == [3, 2]
    assert file.stat().st_size == size


def published(hub, index: int = 1, name: str = "data/test-00000-of-00001.parquet") -> Source:
    """Put a dataset of one row on the hub; return its source, without a pin."""
    folder = hub.folder("some/where", "datasets")
    snapshot(folder / name, [{"index": index}], ())
    return replace(SOURCE, revision=None)


def test_rows_of_the_hub_are_read_once_a_commit(hub):
    found = []
    for index, fault in ((1, None), (1, None), (2, None), (3, Fault(503)), (3, None)):
        on_hub.commit.cache_clear()
        source = published(hub, index)
        hub.faults = {"some/where": fault} if fault else {}
        found.append(([row["index"] for row in on_hub.rows("t", source)], bool(hub.fetched())))
        hub.requests.clear()
    # Out of reach of the hub, what its cache holds is read, and its commit known.
    assert found == [([1], True), ([1], False), ([2], True), ([2], False), ([3], True)]


def test_what_datasets_saved_to_disk_is_a_snapshot_too(tmp_path):
    import datasets

    whole = datasets.Dataset.from_parquet(str(
        next(written(tmp_path / "snapshot", "").glob("*.parquet"))
    ), cache_dir=str(tmp_path / "hf"))  # fmt: skip
    datasets.DatasetDict({"test": whole}).save_to_disk(str(tmp_path / "saved"))
    assert [row["index"] for row in on_hub.rows("t", SOURCE, tmp_path / "saved")] == [1, 2]


def test_another_split_or_configuration_that_was_saved_is_refused(tmp_path):
    import datasets

    whole = datasets.Dataset.from_list([{"index": 1}])
    whole.save_to_disk(str(tmp_path / "other"))
    assert [row["index"] for row in on_hub.rows("t", SOURCE, tmp_path / "other")] == [1]
    for place, field, value in (
        ("state.json", "_split", "validation"),
        ("dataset_info.json", "config_name", "physics"),
    ):
        path = tmp_path / "other" / place
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), field: value}))
        source = replace(SOURCE, config="maths")
        with pytest.raises(UserError, match=f"maths, test of some/where, and .* holds .*{value}"):
            list(on_hub.rows("t", source, tmp_path / "other"))
        path.write_text(before)


def test_more_rows_than_a_benchmark_has_are_of_another_dataset(tmp_path):
    import datasets

    rows = [{"image": picture("red"), "question": f"{i}?", "answer": "x"} for i in range(800)]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(
        UserError, match="realworldqa has 765 rows, and .* holds 800: another dataset"
    ):
        tasks.load("realworldqa").rows(tmp_path / "saved")


@pytest.mark.parametrize("held", [bytes, lambda raw: base64.b64encode(raw).decode()])
def test_pictures_in_bare_bytes_and_in_base64_are_pictures(tmp_path, held):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"id": [1], "image": [held(picture("red"))]})
    pyarrow.parquet.write_table(table, tmp_path / "test-0.parquet")
    (row,) = on_hub.rows("t", SOURCE, tmp_path)
    (path,) = pictures.to_images(row)
    assert (row["image"], path.read_bytes()) == (path.name, picture("red"))


def test_splits_joined_by_a_plus_follow_one_another(tmp_path):
    for split, index in (("image", 1), ("non_image", 2)):
        snapshot(tmp_path / f"{split}-0.parquet", [{"index": index}], ())
    source = replace(SOURCE, split="image+non_image")
    assert [row["index"] for row in on_hub.rows("t", source, tmp_path)] == [1, 2]


def test_lists_of_pictures_become_lists_of_names(tmp_path):
    import datasets

    table = datasets.Dataset.from_dict(
        {"id": [1], "shown": [[{"bytes": picture("red"), "path": None}] * 2]}
    ).cast_column("shown", datasets.List(datasets.Image(decode=False)))
    table.to_parquet(tmp_path / "test-0.parquet")
    (row,) = on_hub.rows("t", SOURCE, tmp_path)
    assert len(row["images"]) == 2 and row["shown"] == row["images"]


@pytest.mark.parametrize("place", ["data/", "default/", ""])
def test_of_the_hub_only_the_pinned_split_is_fetched(hub, place):
    source = published(hub, 1, f"{place}test-00000-of-00001.parquet")
    published(hub, 2, f"{place}train-00000-of-00001.parquet")
    source = replace(source, revision=hub.commit("some/where", "datasets"))
    assert [row["index"] for row in on_hub.rows("t", source)] == [1]
    assert [Path(name).name for name in hub.fetched()] == ["test-00000-of-00001.parquet"]
    hub.requests.clear()
    assert list(on_hub.rows("t", source)) and not hub.requests  # known by its commit


def test_a_dataset_with_files_of_other_names_is_fetched_whole(hub):
    (hub.folder("some/where", "datasets") / "test.jsonl").write_text('{"index": 1}\n{"index": 2}')
    source = replace(SOURCE, revision=None)
    assert [row["index"] for row in on_hub.rows("t", source)] == [1, 2]


def test_without_a_pin_the_newest_commit_is_found_and_recorded(hub):
    source = published(hub)
    assert on_hub.commit(source) == hub.commit("some/where", "datasets")
    assert on_hub.commit(SOURCE) == "a" * 40


def test_a_dataset_that_does_not_come_says_why_and_what_to_do(hub):
    published(hub)
    for fault, why in {
        Fault(503): "the hub is out of order (503): try later",
        GATED: "the data set some/where is gated: accept the terms at "
        f"{hub.url}/datasets/some/where, and log in (`hf auth login`)",
        None: "the hub's data set some/where has no revision " + "a" * 40,
    }.items():
        hub.faults = {"some/where": fault} if fault else {}
        with pytest.raises(UserError) as error:
            list(on_hub.rows("t", SOURCE))
        assert str(error.value) == f"t: {why}; --data FOLDER reads a copy"


def test_another_number_of_rows_than_the_benchmark_has_is_an_error(hub, monkeypatch):
    folder = hub.folder("openai/gsm8k", "datasets") / "main" / "test-0.parquet"
    snapshot(folder, [{"question": "1 + 1?", "answer": "So #### 2"}], ())
    gsm8k = tasks.load("gsm8k")
    monkeypatch.setattr(hub, "commit", lambda *_: gsm8k.source.revision)
    with pytest.raises(UserError, match="gsm8k has 1319 rows, and openai/gsm8k holds 1: the"):
        gsm8k.rows(None)


def test_a_broken_picture_is_named(tmp_path):
    snapshot(tmp_path / "test-0.parquet", [{"index": 1, "image": b"no picture"}])
    with pytest.raises(UserError, match="t: row 0 has a picture that does not open"):
        list(on_hub.rows("t", SOURCE, tmp_path))


def test_a_folder_without_any_known_file_says_so(tmp_path):
    with pytest.raises(UserError, match="t finds none of the files it knows in .* nor test-"):
        list(on_hub.rows("t", SOURCE, tmp_path))


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.jsonl", "a.jsonl.gz"])
def test_json_is_read_packed_or_not(tmp_path, name):
    content = b'{"a": 1}\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    expected = [{"a": 1}] if "jsonl" in name else {"a": 1}
    assert local.read_json(tmp_path / name) == expected
    assert local.find(tmp_path, "b", name.removesuffix(".gz")) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json.gz", b"{}", "cannot be read"),
        ("a.json.gz", gzip.compress(b"{}" * 100, mtime=0)[:-5], "cannot be read"),
        ("a.jsonl", b"{}\n{\n", "line 2 is not JSON"),
        ("a.jsonl", b"\xff\n", "line 1 is not JSON"),
    ],
)
def test_a_file_that_is_no_json_gives_one_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        local.read_json(tmp_path / name)


def test_rows_that_lack_a_field_are_counted_and_the_first_named():
    rows = [{"id": str(n), "answer": None if n % 2 else "x"} for n in range(14)] + [{"answer": "x"}]
    with pytest.raises(UserError) as error:
        list(complete("t", rows, ["id", "answer"]))
    assert str(error.value) == (
        "t: 7 rows have no answer (1, 3, 5, 7, 9, …); 1 rows have no id (number 15)"
    )
    assert json.dumps(list(complete("t", rows[:1], ["answer"]))) == json.dumps(rows[:1])
