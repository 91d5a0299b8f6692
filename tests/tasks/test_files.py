"""Rows from files, from snapshots of the hub and from the hub itself."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from published import picture, snapshot

import tasks
from common.errors import UserError
from tasks import files

SOURCE = {"repo": "some/where", "revision": "a" * 40, "config": "default", "split": "test",
          "licence": "MIT", "n": 2}  # fmt: skip
ROWS = [
    {"index": 1, "question": "red?", "image": picture("red"), "image_2": picture("blue")},
    {"index": 2, "question": "none?", "image": None, "image_2": picture("red")},
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files.commit.cache_clear()
    monkeypatch.setattr(files, "_newest", lambda repo: "b" * 40)
    return tmp_path / "cache" / "driftbench" / "pictures"


def written(folder: Path, where: str) -> Path:
    snapshot(folder / where / "test-00000-of-00001.parquet", ROWS, ("image", "image_2"))
    return folder


@pytest.mark.parametrize("where", ["", "data", "default"])
def test_a_snapshot_of_a_dataset_gives_rows_with_their_pictures_as_files(tmp_path, cache, where):
    first, second = files.hub_rows("t", SOURCE, written(tmp_path / "snapshot", where))
    assert (first["index"], first["question"], first["folder"]) == (1, "red?", str(cache))
    assert first["images"] == [first["image"], first["image_2"]]
    assert (second["image"], second["images"]) == (None, [first["image"]])  # the same picture
    assert len(list(cache.iterdir())) == 2
    read = [path.read_bytes() for path in files.to_images({**first, "id": "1"})]
    assert read == [picture("red"), picture("blue")]


READ_AGAIN = """
import sys
from tasks import files
print([row["index"] for row in files.hub_rows("t", {source!r}, {data!r})])
print(sorted({{"datasets", "pyarrow", "PIL", "pandas"}} & set(sys.modules)))
"""


def test_rows_are_read_once_until_the_dataset_changes(tmp_path, cache):
    data = written(tmp_path / "snapshot", "")
    first = list(files.hub_rows("t", SOURCE, data))
    code = READ_AGAIN.format(source=SOURCE, data=str(data))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[1, 2]", "[]"]
    # A picture that is lost comes back.
    files.to_images({**first[0], "id": "1"})[0].unlink()
    assert list(files.hub_rows("t", SOURCE, data)) == first
    assert len(list(cache.iterdir())) == 2
    # What is kept and broken is read anew.
    for kept in (cache.parent / "rows").iterdir():
        kept.write_text('{"index": 1')
    assert list(files.hub_rows("t", SOURCE, data)) == first
    # Other rows in the same file, of the same size.
    (file,) = data.glob("*.parquet")
    size = file.stat().st_size
    snapshot(file, [{**ROWS[0], "index": 3}, ROWS[1]], ("image", "image_2"))
    assert [row["index"] for row in files.hub_rows("t", SOURCE, data)] == [3, 2]
    assert file.stat().st_size == size


def test_rows_of_the_hub_are_read_once_a_commit(monkeypatch):
    import datasets

    loaded = []

    def load(repo, config, split, revision):
        loaded.append(revision)
        return datasets.Dataset.from_dict({"index": [len(loaded)]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = []
    for newest in ("b" * 40, "b" * 40, "c" * 40, None, None):
        files.commit.cache_clear()
        monkeypatch.setattr(files, "_newest", lambda repo, newest=newest: newest)
        found += [row["index"] for row in files.hub_rows("t", {**SOURCE, "revision": None})]
    assert (loaded, found) == (["b" * 40, "c" * 40, None, None], [1, 1, 2, 3, 4])


def test_what_datasets_saved_to_disk_is_a_snapshot_too(tmp_path):
    import datasets

    whole = datasets.Dataset.from_parquet(str(
        next(written(tmp_path / "snapshot", "").glob("*.parquet"))
    ), cache_dir=str(tmp_path / "hf"))  # fmt: skip
    datasets.DatasetDict({"test": whole}).save_to_disk(str(tmp_path / "saved"))
    assert [row["index"] for row in files.hub_rows("t", SOURCE, tmp_path / "saved")] == [1, 2]


def test_lists_of_pictures_become_lists_of_names(tmp_path):
    import datasets

    table = datasets.Dataset.from_dict(
        {"id": [1], "shown": [[{"bytes": picture("red"), "path": None}] * 2]}
    ).cast_column("shown", datasets.List(datasets.Image(decode=False)))
    table.to_parquet(tmp_path / "test-0.parquet")
    (row,) = files.hub_rows("t", SOURCE, tmp_path)
    assert len(row["images"]) == 2 and row["shown"] == row["images"]


def test_the_hub_is_asked_for_the_pinned_commit(tmp_path, monkeypatch):
    import datasets

    asked = []

    def load(*words, **settings):
        asked.append((words, settings))
        return datasets.Dataset.from_dict({"index": [1, 2]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [row["index"] for row in files.hub_rows("t", SOURCE)] == [1, 2]
    assert asked == [(("some/where", "default"), {"split": "test", "revision": "a" * 40})]


def test_without_a_pin_the_newest_commit_is_found_and_recorded():
    assert files.commit(files.Source(**{**SOURCE, "revision": None})) == "b" * 40
    assert files.commit(files.Source(**SOURCE)) == "a" * 40


def test_out_of_reach_of_the_hub_its_cache_is_read_at_once(monkeypatch):
    import datasets
    import huggingface_hub

    def load(*_, **__):
        seen.append((datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE))
        return datasets.Dataset.from_dict({"index": [1]})

    seen: list[tuple[bool, bool]] = []
    monkeypatch.setattr(datasets, "load_dataset", load)
    source = {**SOURCE, "revision": None}
    list(files.hub_rows("t", source))
    files.commit.cache_clear()
    monkeypatch.setattr(files, "_newest", lambda repo: None)
    list(files.hub_rows("t", source))
    assert seen == [(False, False), (True, True)]
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_dataset_that_does_not_come_says_what_to_do(monkeypatch):
    import datasets

    def load(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(UserError) as error:
        list(files.hub_rows("t", SOURCE))
    assert str(error.value) == (
        "t: the dataset some/where (default, test) cannot be fetched (no route to host): give "
        "--data FOLDER with a copy of it"
    )


def test_another_number_of_rows_than_the_benchmark_has_is_an_error(tmp_path, monkeypatch):
    import datasets

    table = datasets.Dataset.from_dict({"question": ["1 + 1?"], "answer": ["So #### 2"]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    with pytest.raises(UserError, match="gsm8k has 1319 rows, and openai/gsm8k holds 1: the"):
        tasks.load("gsm8k").rows(None)


def test_a_broken_picture_is_named(tmp_path):
    snapshot(tmp_path / "test-0.parquet", [{"index": 1, "image": b"no picture"}])
    with pytest.raises(UserError, match="t: row 0 has a picture that does not open"):
        list(files.hub_rows("t", SOURCE, tmp_path))


def test_a_folder_without_any_known_file_says_so(tmp_path):
    with pytest.raises(UserError, match="t finds none of the files it knows in .* nor test-"):
        list(files.hub_rows("t", SOURCE, tmp_path))


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "a.jsonl", "a.jsonl.gz"])
def test_json_is_read_packed_or_not(tmp_path, name):
    content = b'{"a": 1}\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    expected = [{"a": 1}] if "jsonl" in name else {"a": 1}
    assert files.read_json(tmp_path / name) == expected
    assert files.find(tmp_path, ["b", name.removesuffix(".gz")]) == tmp_path / name


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
        files.read_json(tmp_path / name)


def test_rows_that_lack_a_field_are_counted_and_the_first_named():
    rows = [{"id": str(n), "answer": None if n % 2 else "x"} for n in range(14)] + [{"answer": "x"}]
    with pytest.raises(UserError) as error:
        list(files.complete("t", rows, ["id", "answer"]))
    assert str(error.value) == (
        "t: 7 rows have no answer (1, 3, 5, 7, 9, …); 1 rows have no id (number 15)"
    )
    assert json.dumps(list(files.complete("t", rows[:1], ["answer"]))) == json.dumps(rows[:1])
