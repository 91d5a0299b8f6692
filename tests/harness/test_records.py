import json
import math
import multiprocessing
import os

import pytest
import tiny

from harness import locks, records
from harness.errors import UserError
from harness.records import Cell, Log, Response, RunCard, Sampling, TaskCard, Verdict

BASE = {
    "fingerprint": "f",
    "adapter": None,
    "prompt": "user: what?",
    "images": ["a", "b"],
    "pixels": {"size": {"longest_edge": 56}},
    "sampling": Sampling(temperature=0.6, n=4),
    "sample": 0,
    "engine": "vllm",
    "version": "0.32.0",
    "dtype": "float32",
}


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "g"},
        {"adapter": "x"},
        {"prompt": "user: what? "},
        {"images": ["b", "a"]},
        {"images": ["a"]},
        {"pixels": {"size": {"longest_edge": 57}}},
        {"sampling": Sampling(temperature=0.7)},
        {"sampling": Sampling(temperature=0.6, top_p=0.9)},
        {"sampling": Sampling(temperature=0.6, top_k=9)},
        {"sampling": Sampling(temperature=0.6, max_tokens=9)},
        {"sampling": Sampling(temperature=0.6, seed=1)},
        {"sampling": Sampling(temperature=0.6, stop=("x",))},
        {"sample": 1},
        {"engine": "hf"},
        {"version": "0.32.1"},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_the_key_changes_with_each_thing_that_could_change_an_answer(change):
    assert records.key(**{**BASE, **change}) != records.key(**BASE)


def test_the_key_does_not_change_with_the_number_of_answers_nor_with_the_order_of_settings():
    assert records.key(**{**BASE, "sampling": Sampling(temperature=0.6, n=8)}) == records.key(
        **BASE
    )
    pixels = [{"a": 1, "b": 2}, {"b": 2, "a": 1}]
    assert len({records.key(**{**BASE, "pixels": p}) for p in pixels}) == 1


def response(number: int, text: str = "7") -> Response:
    return Response(f"k{number}", "pocket", f"q{number}", 0, text, "stop", 5, 2, 1, 0.1)


@pytest.mark.parametrize(
    "text", ["plain", "zwei\nZeilen\r\n", "… \u2028 \x85 \x00", "\udc80", '"\\']
)
def test_a_response_reads_back_as_it_was(tmp_path, text):
    with Log(tmp_path) as log:
        log.append(response(1, text))
        log.append(response(2))
    assert records.read_responses(tmp_path) == [response(1, text), response(2)]


def test_the_log_is_appended_to(tmp_path):
    for number in range(3):
        with Log(tmp_path) as log:
            log.append(response(number))
    assert [r.id for r in records.read_responses(tmp_path)] == ["q0", "q1", "q2"]


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_last_line_is_left_out_and_then_cut_off(tmp_path, cut):
    with Log(tmp_path) as log:
        for number in range(3):
            log.append(response(number))
    path = tmp_path / "responses.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    assert records.read_responses(tmp_path) == [response(0), response(1)]
    with Log(tmp_path) as log:
        log.append(response(3))
    assert records.read_responses(tmp_path) == [response(0), response(1), response(3)]


def test_a_file_that_is_one_torn_line_is_emptied(tmp_path):
    (tmp_path / "responses.jsonl").write_text("x" * 100_000)
    Log(tmp_path).close()
    assert (tmp_path / "responses.jsonl").read_text() == ""


def test_every_appended_line_is_with_the_operating_system_at_once(tmp_path):
    log = Log(tmp_path)
    log.append(response(0))
    assert records.read_responses(tmp_path) == [response(0)]
    log.close()


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "responses.jsonl").write_text('{"key": "k"}\n{}\n')
    with pytest.raises(UserError, match=r"responses.jsonl line 1 is not a Response: .*missing"):
        records.read_responses(tmp_path)


def _hold(folder, held, release):
    with locks.locked(folder):
        held.set()
        release.wait(10)


def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    assert held.wait(20)
    with pytest.raises(UserError) as error, locks.locked(tmp_path):
        pass
    assert str(error.value) == (
        f"{tmp_path} is being written by process {other.pid}: wait for it, or choose another --out"
    )
    release.set()
    other.join()
    with locks.locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_left_by_a_killed_process_does_not_hold(tmp_path):
    (tmp_path / ".lock").write_text("99999")
    with locks.locked(tmp_path):
        pass


CARD = RunCard(
    name="vlm",
    checkpoint="/x/vlm",
    fingerprint="f",
    made={"method": "merge", "settings": {"alpha": 0.3}},
    engine="vllm",
    engine_version="0.32.0",
    sampling=Sampling(stop=("a", "b")),
    dtype="float32",
    pixels={},
    tasks=(TaskCard("pocket", "1.0", "r", 3, "official", "the last word", 40, 2),),
    limit=None,
    git=None,
    packages={"torch": "2"},
    device="cpu",
    seconds=1.5,
    finished=True,
)


def test_records_read_back_as_they_were(tmp_path):
    verdicts = [Verdict("t", "1", 0, None, None, "open", ("all", "x"))]
    questions = [tiny.question("1", "<image>what?", 1, answer="7"), tiny.question("2")]
    cell = Cell("r", "t", "all", 1, 0, 1, 0, 0, 0.0, math.nan)
    records.write_json(tmp_path / "run.json", CARD)
    records.write_lines(tmp_path / "verdicts.jsonl", verdicts)
    records.write_lines(tmp_path / "questions.jsonl", questions)
    records.write_json(tmp_path / "cells.json", [cell])
    assert records.read_card(tmp_path) == CARD
    assert records.read_verdicts(tmp_path) == verdicts
    read = records.read_questions(tmp_path)
    assert [q.images[0].data for q in read if q.images] == [b""]
    assert [(q.id, q.prompt, q.row) for q in read] == [(q.id, q.prompt, q.row) for q in questions]
    assert [image.sha256 for q in read for image in q.images] == ["0" * 64]
    assert math.isnan(records.read_cells(tmp_path)[0].stderr)
    # Standard JSON: no NaN, no image bytes.
    assert json.loads((tmp_path / "cells.json").read_text())[0]["stderr"] is None
    assert "data" not in json.loads((tmp_path / "questions.jsonl").read_text().splitlines()[0])


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    records.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        records.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", [None, "{", "{}", '{"tasks": [{}]}'])
def test_a_folder_without_a_run_card_says_so(tmp_path, text):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="is not a run folder|cannot be read as a run card"):
        records.read_card(tmp_path)


def test_a_picture_is_stored_once_beside_the_run(tmp_path):
    run = tmp_path / "runs" / "vlm"
    image = records.Image("ab", ".png", b"bytes")
    records.store_image(run, image)
    path = tmp_path / "runs" / "images" / "ab.png"
    assert path.read_bytes() == b"bytes"
    before = path.stat().st_mtime_ns
    records.store_image(run, image)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"by")  # as a crash would leave it
    records.store_image(run, image)
    assert path.read_bytes() == b"bytes"
