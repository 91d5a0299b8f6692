"""Asking, resuming and grading, with scripted answers."""

import gc
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models as tiny
from scripted import ANSWERS, Script, checkpoint, evaluate, files

import tasks
from common.errors import UserError
from harness.engines import Request
from harness.engines.choice import maker
from harness.evaluate import dry_run, prompts
from harness.evaluate.grade import score
from harness.evaluate.run import EvalConfig, plans, run
from harness.runs.folder import (
    image_path,
    read_card,
    read_cells,
    read_questions,
    read_summary,
    read_verdicts,
)
from harness.runs.log import errors, read_responses
from harness.runs.schema import Question, RunCard, Sampling


def test_a_run_is_graded_and_counted(tmp_path, world):
    script = Script(lambda request: ANSWERS.get(request.question.id))
    (card,) = evaluate(tmp_path / "vlm", world, script)
    verdicts = {v.id: (v.correct, v.answer, v.how) for v in read_verdicts(tmp_path / "vlm")}
    assert verdicts == {
        "q0": (True, "7", "rule"),
        "q1": (False, "8", "rule"),
        "q2": (None, None, "unparsed"),
        "q3": (None, None, "truncated"),
        "q4": (None, None, "truncated"),  # the last word of a text that was cut is no answer
        "q5": (True, "7", "rule"),
        "q6": (None, None, "error"),
    }
    cells = {cell.group: cell for cell in read_cells(tmp_path / "vlm")}
    whole = cells["all"]
    assert (whole.run, whole.n, whole.correct, whole.score) == ("vlm", 7, 2, 2 / 7)
    assert (whole.unparsed, whole.truncated, whole.error) == (1, 2, 1)
    assert set(cells) == {
        "all", "perception", "reasoning-image", "reasoning-both", "reasoning-text",
    }  # fmt: skip
    assert (card.name, card.finished, card.tasks[0].n, card.tasks[0].max_tokens) == (
        "vlm", True, 7, 40,
    )  # fmt: skip
    assert read_card(tmp_path / "vlm") == card
    failed = [r for r in read_responses(tmp_path / "vlm") if r.finish == "error"]
    assert [(r.id, r.text, r.reason) for r in failed] == [("q6", "", "no answer in the script")]


def test_the_pictures_lie_beside_the_run(tmp_path, world):
    evaluate(tmp_path / "runs" / "vlm", world, Script())
    stored = {path.read_bytes() for path in (tmp_path / "runs" / "images").iterdir()}
    assert stored == {path.read_bytes() for path in (world / "images").iterdir()}
    for question in read_questions(tmp_path / "runs" / "vlm"):
        for image in question.images:
            assert image_path(tmp_path / "runs" / "vlm", image).exists()
        assert str(world) not in json.dumps(question.row)


def test_a_finished_run_is_left_as_it_is(tmp_path, world):
    evaluate(tmp_path / "vlm", world, Script())
    before = files(tmp_path / "vlm")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "vlm").iterdir()}
    script = Script()
    (card,) = evaluate(tmp_path / "vlm", world, script)
    assert (script.asked, card.finished) == ([], True)
    assert files(tmp_path / "vlm") == before
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "vlm").iterdir()}


KILLED = """
import sys, time, tasks
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from harness.evaluate.run import EvalConfig, run
from scripted import checkpoint
from harness.engines.scripted import ScriptedEngine

def slow(request):
    time.sleep(0.2)
    return "7"

wanted = [tasks.load("pocket")]
run([checkpoint()], wanted, Path(sys.argv[1]), EvalConfig(data=Path(sys.argv[2])),
    engine=lambda c: ScriptedEngine(c, slow))
"""


def test_after_a_kill_nothing_is_asked_twice_and_the_results_are_the_same(tmp_path, world):
    evaluate(tmp_path / "whole" / "vlm", world, Script())
    killed = tmp_path / "killed" / "vlm"
    here = str(Path(__file__).parents[1])
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(killed), str(world), here])
    log = killed / "responses.jsonl"
    deadline = time.monotonic() + 30
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    answered = [r.id for r in read_responses(killed)]
    assert 3 <= len(answered) < 7
    assert not read_card(killed).finished
    with log.open("ab") as file:
        file.write(b'{"key": "half a li')
    script = Script()
    (card,) = evaluate(killed, world, script)
    assert sorted(answered + [id for id, _ in script.asked]) == [f"q{n}" for n in range(7)]
    assert card.finished
    for name in ("questions.jsonl", "verdicts.jsonl", "cells.json"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / "vlm" / name).read_bytes()
    both = [read_responses(folder) for folder in (killed, tmp_path / "whole" / "vlm")]
    assert sorted(both[0], key=lambda r: r.id) == sorted(both[1], key=lambda r: r.id)


def test_an_interruption_keeps_what_came_and_the_time_it_took(tmp_path, world):
    def interrupted(request):
        if request.question.id == "q3":
            raise KeyboardInterrupt
        time.sleep(0.01)
        return "7"

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "vlm", world, Script(interrupted))
    assert [r.id for r in read_responses(tmp_path / "vlm")] == ["q0", "q1", "q2"]
    before = read_card(tmp_path / "vlm")
    assert (before.finished, before.seconds >= 0.03) == (False, True)
    graded = read_card(score(tmp_path / "vlm"))
    assert (len(read_verdicts(tmp_path / "vlm")), graded.finished) == (3, False)
    script = Script()
    (card,) = evaluate(tmp_path / "vlm", world, script)
    assert [id for id, _ in script.asked] == ["q3", "q4", "q5", "q6"]
    assert card.finished and card.seconds >= before.seconds


def test_errors_are_asked_again_and_the_last_answer_counts(tmp_path, world):
    flaky = {"q0": None, "q1": "7"}
    evaluate(tmp_path / "vlm", world, Script(lambda request: flaky[request.question.id]), limit=2)
    script = Script()
    (card,) = evaluate(tmp_path / "vlm", world, script, limit=2)
    assert (script.asked, card.finished) == ([("q0", 0)], True)
    assert [(r.id, r.text) for r in read_responses(tmp_path / "vlm")] == [("q0", "7"), ("q1", "7")]
    lines = (tmp_path / "vlm" / "responses.jsonl").read_text().splitlines()
    assert [json.loads(line)["finish"] for line in lines] == ["error", "stop", "stop"]
    evaluate(tmp_path / "whole" / "vlm", world, Script(), limit=2)
    for name in ("verdicts.jsonl", "cells.json"):
        again, whole = tmp_path / "vlm" / name, tmp_path / "whole" / "vlm" / name
        assert again.read_bytes() == whole.read_bytes()
    evaluate(tmp_path / "vlm", world, script, limit=2)
    assert script.asked == [("q0", 0)]


TROUBLES = {"q0": ValueError("too long"), "q1": None, "q2": RuntimeError("out of memory")}


def troubled(request):
    return TROUBLES.get(request.question.id, "7")


def test_what_would_fail_again_is_asked_again_on_demand_alone(tmp_path, world):
    out = tmp_path / "vlm"
    (card,) = evaluate(out, world, Script(troubled))
    assert (card.finished, card.tasks[0].failed) == (True, 2)
    assert {r.id: r.lasting for r in errors(out)} == {"q0": True, "q1": False, "q2": False}
    script = Script()
    (card,) = evaluate(out, world, script)
    assert script.asked == [("q1", 0), ("q2", 0)]
    assert (card.finished, card.tasks[0].failed) == (True, 0)
    (cell,) = [cell for cell in read_cells(out) if cell.group == "all"]
    assert (cell.correct, cell.error) == (6, 1)
    before = files(out)
    evaluate(out, world, script)
    assert (len(script.asked), files(out)) == (2, before)
    # In vain, once; and with an answer.
    script = Script(troubled)
    evaluate(out, world, script, retry_errors=True)
    assert script.asked == [("q0", 0)]
    script = Script()
    evaluate(out, world, script, retry_errors=True)
    evaluate(out, world, script, retry_errors=True)
    assert script.asked == [("q0", 0)]
    evaluate(tmp_path / "quiet" / "vlm", world, Script())
    for name in ("verdicts.jsonl", "cells.json", "run.json"):
        assert len({(run / name).read_bytes() for run in (out, tmp_path / "quiet" / "vlm")}) == (
            1 if name != "run.json" else 2  # the seconds
        )


def test_what_failed_for_good_stays_so_when_the_engine_fails_on_it(tmp_path, world):
    out = tmp_path / "vlm"
    evaluate(out, world, Script(lambda request: ValueError("too long")), limit=1)
    evaluate(out, world, Script(lambda request: None), limit=1, retry_errors=True)
    (response,) = read_responses(out)
    assert (response.lasting, response.reason) == (True, "too long")
    script = Script()
    evaluate(out, world, script, limit=1)
    assert script.asked == []


def test_errors_of_a_log_that_does_not_tell_them_apart_are_asked_again(tmp_path, world):
    out = tmp_path / "vlm"
    evaluate(out, world, Script(troubled))
    lines = [json.loads(line) for line in (out / "responses.jsonl").read_text().splitlines()]
    older = [{name: line[name] for name in line if name != "lasting"} for line in lines]
    (out / "responses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in older))
    card = json.loads((out / "run.json").read_text())
    del card["tasks"][0]["failed"]
    (out / "run.json").write_text(json.dumps(card))
    script = Script(troubled)
    evaluate(out, world, script)
    evaluate(out, world, script)
    assert [id for id, _ in script.asked] == ["q0", "q1", "q2", "q1", "q2"]


def test_more_questions_and_more_answers_go_on_from_what_is_there(tmp_path, world):
    drawn = {"sampling": Sampling(temperature=1.0, n=2)}
    evaluate(tmp_path / "vlm", world, Script(), limit=2, **drawn)
    script = Script()
    evaluate(tmp_path / "vlm", world, script, limit=3, sampling=Sampling(temperature=1.0, n=3))
    assert script.asked == [("q0", 2), ("q1", 2), ("q2", 0), ("q2", 1), ("q2", 2)]
    with pytest.raises(UserError, match="holds a larger run of the same kind"):
        evaluate(tmp_path / "vlm", world, script, limit=2, **drawn)


def test_each_answer_has_a_seed_of_its_own():
    request = Request(question=Question(task="t", id="1", prompt=""), key="k")
    others = [
        replace(request, sample=1),
        replace(request, sampling=Sampling(seed=1)),
        replace(request, question=replace(request.question, id="2")),
    ]
    assert len({request.seed, *(other.seed for other in others)}) == 4
    assert replace(request, key="other", prompt="other").seed == request.seed


@pytest.mark.parametrize(
    ("settings", "differs"),
    [
        ({"checkpoints": [checkpoint(fingerprint="g")]}, "fingerprint"),
        ({"sampling": Sampling(temperature=1.0)}, "sampling"),
        ({"max_tokens": 50}, "sampling, tasks"),
    ],
)
def test_another_run_in_the_folder_is_refused(tmp_path, world, settings, differs):
    evaluate(tmp_path / "vlm", world, Script())
    before = files(tmp_path / "vlm")
    with pytest.raises(UserError) as error:
        evaluate(tmp_path / "vlm", world, Script(), **settings)
    assert str(error.value) == (
        f"{tmp_path / 'vlm'} holds another run (other {differs}): "
        "choose another --out, or add --overwrite"
    )
    assert files(tmp_path / "vlm") == before


def test_another_run_is_dropped_when_asked_to_and_the_same_run_is_not(tmp_path, world):
    evaluate(tmp_path / "vlm", world, Script())
    other = {"checkpoints": [checkpoint(fingerprint="g")]}
    evaluate(tmp_path / "vlm", world, Script(), overwrite=True, **other)
    evaluate(tmp_path / "fresh", world, Script(), **other)
    for name in ("responses.jsonl", "verdicts.jsonl", "questions.jsonl"):
        lines = [
            [json.loads(line) for line in (tmp_path / run / name).read_text().splitlines()]
            for run in ("vlm", "fresh")
        ]
        for line in (*lines[0], *lines[1]):
            line.pop("seconds", None)
        assert lines[0] == lines[1]
    script = Script()
    evaluate(tmp_path / "vlm", world, script, overwrite=True, **other)
    assert script.asked == []


@pytest.fixture
def two(tmp_path) -> Path:
    """Rows of two tasks, of which the second has the longer answers."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").write_bytes(tiny.picture(0))
    row = {"id": "p", "question": "say 7", "answer": "7", "group": "perception", "images": []}
    (folder / "test.jsonl").write_text(json.dumps(row) + "\n")
    row = {"benchmark": "MATH-V", "id": "m", "question": "How many?", "options": [], "level": 1,
           "answer": "7", "subject": "algebra", "image_file": "a.png"}  # fmt: skip
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def of_tasks(out: Path, data: Path, script: Script, *names: str, **settings) -> RunCard:
    wanted, config = [tasks.load(name) for name in names], EvalConfig(data=data, **settings)
    (before,) = plans([checkpoint()], wanted, out, config, engine=Script())
    (card,) = run([checkpoint()], wanted, out, config, engine=script)
    told = [part.answers - part.there for part in before.parts]
    assert sum(told) == len(script.asked)  # what a dry run said
    return card


def test_a_further_task_goes_on_from_what_is_there(tmp_path, two, monkeypatch):
    monkeypatch.setattr(dry_run, "_counter", lambda *_: None)
    out, more = tmp_path / "vlm", Script()
    first = of_tasks(out, two, Script(), "pocket")
    card = of_tasks(out, two, more, "pocket", "mathvision")
    assert more.asked == [("m", 0)]
    assert [task.n for task in card.tasks] == [1, 1] and card.finished
    assert card.sampling.max_tokens > first.sampling.max_tokens
    assert {verdict.task for verdict in read_verdicts(out)} == {"pocket", "mathvision"}
    with pytest.raises(UserError) as error:
        of_tasks(out, two, Script(), "mathvision")
    assert str(error.value) == (
        f"{out} holds pocket too: name all its tasks, --tasks pocket,mathvision, or choose another "
        "--out"
    )
    whole = of_tasks(tmp_path / "whole" / "vlm", two, Script(), "pocket", "mathvision")
    assert replace(whole, seconds=0, processor_seconds=0) == replace(
        card, seconds=0, processor_seconds=0
    )


def test_the_order_of_tasks_does_not_matter(tmp_path, two, monkeypatch):
    monkeypatch.setattr(dry_run, "_counter", lambda *_: None)
    out, others = tmp_path / "vlm", Script()
    of_tasks(out, two, Script(), "pocket", "mathvision")
    before = files(out)
    assert of_tasks(out, two, others, "mathvision", "pocket").finished
    assert others.asked == [] and files(out) == before
    out, drawn = tmp_path / "drawn", [Sampling(temperature=1.0, n=n) for n in (2, 3)]
    of_tasks(out, two, Script(), "pocket", "mathvision", sampling=drawn[0])
    card = of_tasks(out, two, others, "mathvision", "pocket", sampling=drawn[1])
    assert others.asked == [("p", 2), ("m", 2)]
    assert [task.name for task in card.tasks] == ["pocket", "mathvision"]


def test_what_overwrite_drops_a_dry_run_does_not_count_as_there(tmp_path, two, monkeypatch):
    monkeypatch.setattr(dry_run, "_counter", lambda *_: None)
    out, again = tmp_path / "vlm", Script()
    of_tasks(out, two, Script(), "pocket", "mathvision")
    of_tasks(out, two, again, "pocket", overwrite=True)
    assert again.asked == [("p", 0)]
    of_tasks(out, two, same := Script(), "pocket", overwrite=True)
    assert same.asked == []


def test_other_rows_are_another_run(tmp_path, world):
    evaluate(tmp_path / "vlm", world, Script())
    other = tmp_path / "world"
    other.mkdir()
    row = {"id": "q0", "question": "new", "answer": "7", "group": "perception", "images": []}
    (other / "test.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=r"holds another run \(other tasks\)"):
        evaluate(tmp_path / "vlm", other, Script())


def test_a_folder_of_something_else_is_refused(tmp_path, world):
    (tmp_path / "vlm").mkdir()
    (tmp_path / "vlm" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"is not empty and holds no run \(thesis.tex\)"):
        evaluate(tmp_path / "vlm", world, Script())
    assert [path.name for path in tmp_path.rglob("*")] == ["vlm", "thesis.tex"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file is a file: expected a folder, or nothing there yet"):
        evaluate(tmp_path / "file", world, Script())


def test_the_model_answers_while_pictures_settle_on_the_disk(tmp_path, world, monkeypatch):
    answered = threading.Event()

    def settle(paths):
        assert list(paths) and answered.wait(30), "pictures were waited for"

    def answer(request):
        answered.set()
        return "7"

    monkeypatch.setattr(prompts, "settle", settle)
    (card,) = evaluate(tmp_path / "vlm", world, Script(answer))
    assert card.finished


def test_a_picture_that_does_not_settle_is_an_error_of_the_run(tmp_path, world, monkeypatch):
    def settle(paths):
        raise UserError("a.png cannot be written: no space")

    monkeypatch.setattr(prompts, "settle", settle)
    with pytest.raises(UserError, match="no space"):
        evaluate(tmp_path / "vlm", world, Script(lambda request: "7"))


def test_a_text_only_model_is_asked_the_questions_without_pictures(tmp_path, world):
    script = Script()
    (card,) = evaluate(tmp_path / "llm", world, script, [checkpoint(multimodal=False)])
    assert [id for id, _ in script.asked] == ["q5", "q6"]
    assert (card.tasks[0].n, card.tasks[0].skipped) == (2, 5)
    assert [cell.group for cell in read_cells(tmp_path / "llm")] == ["all", "reasoning-text"]
    with pytest.raises(
        UserError, match="llm takes text only, and all that is asked of pocket show"
    ):
        both = [checkpoint("vlm"), checkpoint("llm", multimodal=False)]
        evaluate(tmp_path / "other", world, script, both, limit=5)
    assert not (tmp_path / "other" / "vlm").exists()


def test_checkpoints_that_differ_in_weights_alone_share_an_engine(tmp_path, world):
    script = Script()
    three = [checkpoint("a", "1"), checkpoint("b", "2"), checkpoint("c", "3", surroundings="other")]
    cards = evaluate(tmp_path, world, script, three)
    assert (script.made, len(script.asked)) == (2, 21)
    assert [card.name for card in cards] == ["a", "b", "c"]
    keys = [{r.key for r in read_responses(tmp_path / name)} for name in "abc"]
    assert len(set.union(*keys)) == 21
    with pytest.raises(UserError, match="two checkpoints are named a"):
        evaluate(tmp_path, world, script, [three[0], three[0]])


def test_several_answers_at_temperature_0_are_refused(tmp_path, world):
    with pytest.raises(UserError, match="2 answers at temperature 0 are all the same"):
        evaluate(tmp_path / "vlm", world, Script(), sampling=Sampling(n=2))


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ({"top_p": 0.0}, "--top-p 0.0 leaves no word to draw: expected more than 0 and at most 1"),
        ({"top_p": math.nan}, "--top-p nan leaves"),
        ({"temperature": math.nan}, "--temperature nan draws nothing: expected 0, which is greedy"),
        ({"temperature": math.inf}, "--temperature inf draws"),
    ],
)
def test_settings_that_draw_nothing_are_refused(tmp_path, world, sampling, says):
    with pytest.raises(UserError, match=says):
        evaluate(tmp_path / "vlm", world, Script(), sampling=Sampling(**sampling))
    assert not (tmp_path / "vlm").exists()


def test_score_applies_a_new_rule_to_what_is_on_disk(tmp_path, world, monkeypatch):
    evaluate(tmp_path / "vlm", world, Script(lambda request: "8"))
    task = tasks.load("pocket")
    changed = replace(task, version="2.0", verdict=lambda row, text: (text, text == "8"))
    monkeypatch.setattr(tasks, "load", lambda name, protocol=None: changed)
    card = read_card(score(tmp_path / "vlm"))
    assert read_cells(tmp_path / "vlm")[0].score == 1.0
    assert card.tasks[0].version == "2.0"
    monkeypatch.undo()
    with pytest.raises(UserError, match="graded by version 2.0 of pocket, which is now 1.0: grade"):
        evaluate(tmp_path / "vlm", world, Script())
    script = Script()
    evaluate(tmp_path / "vlm", world, script, overwrite=True)  # another rule is no other run
    assert script.asked == [] and read_card(tmp_path / "vlm").tasks[0].version == "1.0"
    assert read_cells(tmp_path / "vlm")[0].score != 1.0


def test_a_summary_is_written_where_the_metric_is_more_than_a_mean(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    keys = ("2steps_1", "2steps_2", "2steps_multi")
    rows = [
        {"benchmark": "We-Math", "ID": "2steps_9", "key": key, "question": "?", "option": "A. 1",
         "answer": "A", "image_file": "a.png", "knowledge concept": "Parallel"}
        for key in keys
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run([checkpoint()], [tasks.load("wemath")], tmp_path / "r" / "vlm", EvalConfig(data=tmp_path),
        engine=Script(lambda one: "B" if one.question.id.endswith("_1") else "A"))  # fmt: skip
    found = read_summary(tmp_path / "r" / "vlm")
    assert found["wemath"]["score strict"] == 0.0
    assert found["wemath"]["score loose"] == 1.0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"id": "x", "images": [], "answer": "7", "group": "g"},
            "1 of 1 rows cannot be asked .x.: it has no field 'question'",
        ),
        ({"question": "what?", "answer": "7", "group": "g"}, "a row without the field 'id'"),
        ({"id": "x", "question": "what?", "answer": "7"}, "1 rows have no group .x."),
        ({"id": "x", "question": "what?", "group": "g"}, "1 rows have no answer .x."),
        ({"id": "x", "floor": "x"}, "has 'x' for the floor of row 'x': expected the share"),
        ({"id": "x", "floor": True}, "has True for the floor of row 'x'"),
        ({"id": "x", "floor": 25}, "has 25 for the floor of row 'x'"),
        ({"id": "x", "floor": math.nan}, "has nan for the floor of row 'x'"),
        ({"id": "x", "question": ["what?"]}, r"has \['what\?'\] for the question of row 'x'"),
        (
            {"id": "x", "question": "what?", "answer": 1},
            "1 for the answer of row 'x': expected text",
        ),
        (
            {"id": "x", "question": "<image>?", "images": [3], "answer": "7", "group": "g"},
            ".x.: a field of it is of another kind",
        ),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(tmp_path, row, said):
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=f"pocket.*{said}"):
        evaluate(tmp_path / "vlm", tmp_path, Script())


def test_auto_goes_on_with_the_engine_that_began(tmp_path, world, monkeypatch):
    evaluate(tmp_path / "vlm", world, Script())
    card = replace(read_card(tmp_path / "vlm"), engine="hf")
    made = maker("auto", checkpoint(), card)
    assert made.__name__ == "HfEngine"


def test_the_garbage_collector_of_the_process_is_as_it_was(tmp_path, world):
    gc.unfreeze()  # what an engine of another test froze may go at any moment
    for name, switch in (("on", gc.enable), ("off", gc.disable)):
        switch()
        before = gc.isenabled(), gc.get_freeze_count()
        try:
            evaluate(tmp_path / name, world, Script())
            assert (gc.isenabled(), gc.get_freeze_count()) == before
        finally:
            gc.enable()
