import dataclasses
import json
import math
import os
import subprocess
import sys
import threading

import graded
import pytest
import tiny_models as tiny

from common.errors import UserError
from common.provenance import Made
from harness.runs import folder
from harness.runs.log import Log, answered, read_responses
from harness.runs.schema import Cell, Image, Response, RunCard, Sampling, TaskCard, key

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
        {"sampling": Sampling(temperature=0.6, presence_penalty=1.5)},
        {"template_args": {"enable_thinking": True}},
        {"sampling": Sampling(temperature=0.6, stop=("x",))},
        {"sample": 1},
        {"engine": "hf"},
        {"version": "0.32.1"},
        {"dtype": "bfloat16"},
        {"context": 512},
    ],
    ids=str,
)
def test_the_key_changes_with_each_thing_that_could_change_an_answer(change):
    assert key(**{**BASE, **change}) != key(**BASE)


def test_the_key_of_a_run_without_a_limit_of_the_context_is_what_it_always_was():
    assert key(**BASE) == "597006438f92c3dfc8c0682895648e4195a8cf1d6f1c27f5c970d7b5850ea93e"


def test_the_key_does_not_change_with_the_number_of_answers_nor_with_the_order_of_settings():
    assert key(**{**BASE, "sampling": Sampling(temperature=0.6, n=8)}) == key(**BASE)
    pixels = [{"a": 1, "b": 2}, {"b": 2, "a": 1}]
    assert len({key(**{**BASE, "pixels": p}) for p in pixels}) == 1


def response(number: int, text: str = "7") -> Response:
    return graded.response(key=f"k{number}", id=f"q{number}", text=text)


@pytest.mark.parametrize(
    "text", ["plain", "zwei\nZeilen\r\n", "… \u2028 \x85 \x00", "\udc80", '"\\']
)
def test_a_response_reads_back_as_it_was(tmp_path, text):
    with Log(tmp_path) as log:
        log.append(response(1, text))
        log.append(response(2))
    assert read_responses(tmp_path) == [response(1, text), response(2)]


def test_the_log_is_appended_to(tmp_path):
    for number in range(3):
        with Log(tmp_path) as log:
            log.append(response(number))
    assert [r.id for r in read_responses(tmp_path)] == ["q0", "q1", "q2"]


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_last_line_is_left_out_and_then_cut_off(tmp_path, cut):
    with Log(tmp_path) as log:
        for number in range(3):
            log.append(response(number))
    path = tmp_path / "responses.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    assert read_responses(tmp_path) == [response(0), response(1)]
    with Log(tmp_path) as log:
        log.append(response(3))
    assert read_responses(tmp_path) == [response(0), response(1), response(3)]


def test_a_file_that_is_one_torn_line_is_emptied(tmp_path):
    (tmp_path / "responses.jsonl").write_text("x" * 100_000)
    Log(tmp_path).close()
    assert (tmp_path / "responses.jsonl").read_text() == ""


def test_a_link_in_the_place_of_a_log_harms_nobody(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine, without a newline")
    (tmp_path / "responses.jsonl").symlink_to(victim)
    with pytest.raises(UserError, match="responses.jsonl is a link"):
        Log(tmp_path)
    assert victim.read_text() == "mine, without a newline"


def test_every_appended_line_is_with_the_operating_system_at_once(tmp_path):
    log = Log(tmp_path)
    log.append(response(0))
    assert read_responses(tmp_path) == [response(0)]
    log.close()


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "responses.jsonl").write_text('{"key": "k"}\n{}\n')
    with pytest.raises(UserError, match=r"responses.jsonl line 1 has no field task: remove"):
        read_responses(tmp_path)


@pytest.mark.parametrize("text", ["7", 'a "finish": "error", b', "\\", "…\n"])
def test_what_is_answered_is_told_without_reading_the_texts(tmp_path, text):
    odd = graded.response(key="k3", task="pöcket", id='q"3', sample=1)
    failed = graded.response(key="k4", id="q4", text="", finish="error", reason=text)
    with Log(tmp_path) as log:
        for one in (response(1, text), failed, odd):
            log.append(one)
    with Log(tmp_path, "responses.2of3.jsonl") as log:
        log.append(response(2, text))
    with (tmp_path / "responses.jsonl").open("ab") as file:
        file.write(b'{"key": "torn", "task": "pocket", "id": "q9", "sample": 0, "text": "')
    assert list(answered(tmp_path)) == [
        ("pocket", "q1", 0, "k1"),
        ("pöcket", 'q"3', 1, "k3"),
        ("pocket", "q2", 0, "k2"),
    ]
    everything = [r for r in read_responses(tmp_path) if r.finish != "error"]
    assert [(r.task, r.id, r.sample, r.key) for r in everything] == list(answered(tmp_path))


def test_an_answer_stands_for_the_error_in_another_log(tmp_path):
    failed = graded.response(key="k1", id="q1", text="", finish="error", reason="down")
    for name, one in (("1of2", response(1)), ("2of2", failed)):
        with Log(tmp_path, f"responses.{name}.jsonl") as log:
            log.append(one)
    assert read_responses(tmp_path) == [response(1)]


def test_lines_of_another_run_are_no_answers(tmp_path):
    with Log(tmp_path) as log:
        for number in range(3):
            log.append(response(number))
    keys = {"of": "x", "keys": {"pocket": {"q0": ["k0"], "q1": ["other"]}}}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    assert read_responses(tmp_path) == [response(0)]
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(UserError, match="keys.json is not JSON: .*; remove it"):
        read_responses(tmp_path)


FILLS = """
import resource, sys
from pathlib import Path
from common.errors import UserError
from harness.runs.folder import write_lines
from harness.runs.log import Log
from harness.runs.schema import Response

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
one = {"key": "k", "task": "pocket", "id": "q", "sample": 0, "finish": "stop", "seconds": 0.1}
answer = Response(text="so " * 50, tokens_in=20, tokens_image=4, tokens_out=9, **one)
log = Log(Path(sys.argv[1]))
try:
    for number in range(9):
        log.append(answer)
except UserError as error:
    print(number, error)
log.close()
try:
    write_lines(Path(sys.argv[1]) / "questions.jsonl", [answer] * 9)
except UserError as error:
    print(error)
"""


def test_a_disk_that_is_full_keeps_the_whole_lines_and_nothing_half(tmp_path):
    (tmp_path / "questions.jsonl").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FILLS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    line = len(json.dumps(dataclasses.asdict(answer_of_fills()))) + 1
    whole = 1000 // line
    assert done.stdout.splitlines() == [
        f"{whole} {tmp_path}/responses.jsonl cannot be written (File too large): every answer in "
        "it is kept; make room, and the same command goes on",
        f"{tmp_path}/questions.jsonl cannot be written: File too large",
    ]
    assert (tmp_path / "responses.jsonl").stat().st_size == whole * line
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "questions.jsonl",
        "responses.jsonl",
    ]
    assert (tmp_path / "questions.jsonl").read_text() == "old"


def answer_of_fills() -> Response:
    return graded.response(text="so " * 50)


def test_lines_reach_the_disk_soon_after_the_last_one(tmp_path, monkeypatch):
    synced = threading.Event()
    real = os.fsync
    monkeypatch.setattr(Log, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fsync", lambda file: (real(file), synced.set()))
    with Log(tmp_path) as log:
        log.append(response(0))
        assert synced.wait(20)


def test_a_disk_that_fails_later_is_told_with_the_next_line(tmp_path, monkeypatch):
    def fails(file):
        failed.set()
        raise OSError(5, "Input/output error")

    failed = threading.Event()
    monkeypatch.setattr(Log, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fsync", fails)
    log = Log(tmp_path)
    log.append(response(0))
    assert failed.wait(20)
    log._timer.join(0.1)
    with pytest.raises(UserError, match=r"cannot be written \(Input/output error\)"):
        log.append(response(1))
    with pytest.raises(UserError, match="cannot be written"):
        log.close()


CARD = RunCard(
    name="vlm",
    checkpoint="/x/vlm",
    fingerprint="f",
    made=Made(method="merge", settings={"alpha": 0.3}),
    engine="vllm",
    engine_version="0.32.0",
    sampling=Sampling(stop=("a", "b")),
    dtype="float32",
    pixels={},
    tasks=(
        TaskCard(
            name="pocket",
            version="1.0",
            revision="r",
            n=3,
            protocol="official",
            scoring="the last word",
            max_tokens=40,
            skipped=2,
        ),
    ),
    limit=None,
    git=None,
    packages={"torch": "2"},
    device="cpu",
    seconds=1.5,
    finished=True,
)


def test_records_read_back_as_they_were(tmp_path):
    verdicts = [graded.verdict(1, None, how="unparsed", groups=("all", "x"))]
    questions = [tiny.question("1", "<image>what?", 1, answer="7"), tiny.question("2")]
    cell = Cell(
        run="r",
        task="t",
        group="all",
        n=1,
        correct=0,
        unparsed=1,
        truncated=0,
        error=0,
        score=0.0,
        stderr=math.nan,
    )
    folder.write_json(tmp_path / "run.json", CARD)
    folder.write_lines(tmp_path / "verdicts.jsonl", verdicts)
    folder.write_lines(tmp_path / "questions.jsonl", questions)
    folder.write_json(tmp_path / "cells.json", [cell])
    assert folder.read_card(tmp_path) == CARD
    assert folder.read_verdicts(tmp_path) == verdicts
    read = folder.read_questions(tmp_path)
    assert [q.images[0].data for q in read if q.images] == [b""]
    assert [(q.id, q.prompt, q.row) for q in read] == [(q.id, q.prompt, q.row) for q in questions]
    assert [image.sha256 for q in read for image in q.images] == ["0" * 64]
    assert math.isnan(folder.read_cells(tmp_path)[0].stderr)
    # Standard JSON: no NaN, no image bytes.
    assert json.loads((tmp_path / "cells.json").read_text())[0]["stderr"] is None
    assert "data" not in json.loads((tmp_path / "questions.jsonl").read_text().splitlines()[0])


def test_a_run_whose_files_say_open_reads_as_unparsed(tmp_path):
    (tmp_path / "verdicts.jsonl").write_text(
        '{"task": "t", "id": "1", "sample": 0, "correct": null, "answer": null, "how": "open", '
        '"groups": ["all"], "cluster": ""}\n'
    )
    (tmp_path / "cells.json").write_text(
        '[{"run": "r", "task": "t", "group": "all", "n": 3, "correct": 1, "open": 2, '
        '"truncated": 0, "error": 0, "score": 0.5, "stderr": 0.1}]'
    )
    assert folder.read_verdicts(tmp_path) == [graded.verdict(1, None, how="unparsed")]
    assert folder.read_cells(tmp_path) == [
        Cell(
            run="r",
            task="t",
            group="all",
            n=3,
            correct=1,
            unparsed=2,
            truncated=0,
            error=0,
            score=0.5,
            stderr=0.1,
        )
    ]


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    folder.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        folder.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "is not a run folder: it has no run.json"),
        ("{", "run.json is not JSON"),
        ("[]", "run.json is not a JSON object"),
        ("{}", "run.json has no field name"),
        ('{"tasks": [{}]}', r"run.json: tasks\[0\] has no field name"),
    ],
)
def test_a_folder_without_a_run_card_says_so(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        folder.read_card(tmp_path)


def test_a_picture_is_stored_once_beside_the_run(tmp_path):
    run = tmp_path / "runs" / "vlm"
    image = Image("ab", ".png", b"bytes")
    folder.store_image(run, image)
    path = tmp_path / "runs" / "images" / "ab.png"
    assert path.read_bytes() == b"bytes"
    before = path.stat().st_mtime_ns
    folder.store_image(run, image)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"by")  # as a crash would leave it
    folder.store_image(run, image)
    assert path.read_bytes() == b"bytes"
