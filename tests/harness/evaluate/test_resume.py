"""What lies in a run folder that should not, and what a run may not depend on."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from scripted import LONG, Script, checkpoint, evaluate, files

import tasks
from common.errors import UserError
from harness.checkpoints.kinds import folder_of
from harness.engines.scripted import ScriptedEngine
from harness.evaluate import grade, prompts
from harness.evaluate import run as room
from harness.evaluate.prompts import Pictures
from harness.runs.folder import image_path, read_card, read_questions, read_verdicts
from harness.runs.log import read_responses


def results(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("verdicts.jsonl", "cells.json")]


def test_answers_of_another_run_are_not_used_and_said(tmp_path, world, capsys):
    evaluate(tmp_path / "quiet" / "vlm", world, Script())
    evaluate(tmp_path / "other", world, Script(lambda request: "8"), [checkpoint(fingerprint="g")])
    evaluate(tmp_path / "vlm", world, Script(), limit=3)
    strange = (tmp_path / "other" / "responses.jsonl").read_bytes()
    with (tmp_path / "vlm" / "responses.jsonl").open("ab") as file:
        file.write(strange)
    (tmp_path / "vlm" / "responses.1of2.jsonl").write_bytes(strange)
    capsys.readouterr()
    script = Script()
    evaluate(tmp_path / "vlm", world, script)
    assert [id for id, _ in script.asked] == ["q3", "q4", "q5", "q6"]
    assert "7 answers in its logs are of another run, and are not used" in capsys.readouterr().err
    assert results(tmp_path / "vlm") == results(tmp_path / "quiet" / "vlm")


class Calendar:
    """Stands for `datetime.date`."""

    day = "2026-01-30"

    @classmethod
    def today(cls):
        return date.fromisoformat(cls.day)


class Dated(ScriptedEngine):
    """Its chat template tells the day."""

    def render(self, question):
        return f"{folder_of(self.checkpoint).day} {question.prompt}"


def test_a_run_goes_on_with_the_day_of_its_beginning(tmp_path, world, monkeypatch):
    monkeypatch.setattr(room, "date", Calendar)
    asked = []

    def engine(checkpoint):
        return Dated(checkpoint, lambda request: asked.append(request.prompt[:10]) or "7")

    told = checkpoint(template="{{ strftime_now('%Y') }}")
    evaluate(tmp_path / "vlm", world, engine, [told], limit=3)
    Calendar.day = "2026-01-31"
    (card,) = evaluate(tmp_path / "vlm", world, engine, [told])
    assert asked == ["2026-01-30"] * 7
    assert card.day == "2026-01-30" and card.finished
    assert card.notes == ("its chat template told the model that it was 2026-01-30",)
    (card,) = evaluate(tmp_path / "next", world, engine, [told])
    assert card.day == "2026-01-31"
    (card,) = evaluate(tmp_path / "none", world, engine, [checkpoint()])
    assert card.day is None and not card.notes


def test_a_broken_line_stops_before_anything_is_asked(tmp_path, world):
    evaluate(tmp_path / "vlm", world, Script(), limit=3)
    log = tmp_path / "vlm" / "responses.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    script = Script()
    for broken, wrong in (
        (lines[1][:-20] + b"\n", "is not JSON: "),
        (b"\xff\x00\n", "is not JSON: 'utf-8' codec can't decode byte 0xff in position 0"),
        (b'{"key": "k"}\n', "has no field task: "),
    ):
        log.write_bytes(lines[0] + broken + lines[2])
        with pytest.raises(UserError) as error:
            evaluate(tmp_path / "vlm", world, script)
        assert str(error.value).startswith(f"{log} line 2 {wrong}")
        assert str(error.value).endswith(
            f": remove the line (sed -i 2d {log}), and what it said is asked for again"
        )
        assert script.asked == []
    subprocess.run(["sed", "-i", "2d", str(log)], check=True)
    evaluate(tmp_path / "vlm", world, script)
    assert [id for id, _ in script.asked] == ["q1", "q3", "q4", "q5", "q6"]


@pytest.mark.parametrize("name", ["questions.jsonl", "verdicts.jsonl"])
def test_what_is_said_of_another_broken_file_mends_it(tmp_path, world, name):
    out = tmp_path / "vlm"
    evaluate(out, world, Script())
    whole = (out / name).read_bytes()
    (out / name).write_bytes(whole.replace(b"{", b"[", 1))
    read = {"questions.jsonl": read_questions, "verdicts.jsonl": read_verdicts}
    with pytest.raises(UserError) as error:
        read[name](out)
    assert str(error.value).startswith(f"{out / name} line 1 is not JSON: ")
    if name == "questions.jsonl":
        evaluate(out, world, Script())
    else:
        grade.score(out)
    assert (out / name).read_bytes() == whole


def test_what_a_killed_process_was_writing_aside_is_in_nobodys_way(tmp_path, world):
    out = tmp_path / "vlm"
    out.mkdir()
    for name in (".run.json.4321", ".lock", ".lock.1of2"):
        (out / name).write_text("{")
    (card,) = evaluate(out, world, Script())
    assert card.finished
    assert sorted(path.name for path in out.glob(".*")) == [".lock.1of2"]


def test_a_clock_that_jumps_changes_nothing(tmp_path, world, monkeypatch):
    evaluate(tmp_path / "quiet" / "vlm", world, Script())
    generator = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: generator.uniform(-1e9, 1e10))
    monkeypatch.setattr(time, "time_ns", lambda: generator.randrange(1 << 62))

    def stops(request):
        if request.question.id == "q4":
            raise KeyboardInterrupt
        return "7"

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "vlm", world, Script(stops))
    for path in (tmp_path / "vlm").iterdir():
        os.utime(path, (0, generator.randrange(1 << 31)))
    script = Script()
    (card,) = evaluate(tmp_path / "vlm", world, script)
    assert [id for id, _ in script.asked] == ["q4", "q5", "q6"]
    assert 0 <= card.seconds < 60 and 0 < card.processor_seconds < 60
    assert results(tmp_path / "vlm") == results(tmp_path / "quiet" / "vlm")


FILLS = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from common.errors import UserError
from scripted import LONG, Script, evaluate

resource.setrlimit(resource.RLIMIT_FSIZE, (7000, resource.RLIM_INFINITY))
try:
    evaluate(Path(sys.argv[1]), Path(sys.argv[2]), Script(lambda ask: LONG))
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(tmp_path, world):
    evaluate(tmp_path / "quiet" / "vlm", world, Script(lambda request: LONG))
    # Pictures have their place already: the log is what fills the disk.
    shutil.copytree(tmp_path / "quiet" / "images", tmp_path / "images")
    out, here = tmp_path / "vlm", str(Path(__file__).parents[1])
    command = [sys.executable, "-c", FILLS, str(out), str(world), here]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{out / 'responses.jsonl'} cannot be written (File too large): every answer in it is "
        "kept; make room, and the same command goes on\n"
    )
    kept = [r.id for r in read_responses(out)]
    assert 0 < len(kept) < 7 and not read_card(out).finished
    assert (out / "responses.jsonl").read_bytes().endswith(b"}\n")
    assert not list(out.glob(".*"))
    script = Script(lambda request: LONG)
    evaluate(out, world, script)
    assert [*kept, *(id for id, _ in script.asked)] == [f"q{n}" for n in range(7)]
    assert results(out) == results(tmp_path / "quiet" / "vlm")


def test_a_rule_reads_each_answer_once_and_only_what_is_on_disk(tmp_path, world):
    task, seen = tasks.load("pocket"), []

    def verdict(row, text):
        stored = {r.id for r in read_responses(tmp_path / "vlm")}
        seen.append((row["id"], row["id"] in stored))
        return task.verdict(row, text)

    watched = replace(task, verdict=verdict)
    room.run(
        [checkpoint()], [watched], tmp_path / "vlm", room.EvalConfig(data=world), engine=Script()
    )
    assert seen == [(f"q{n}", True) for n in range(7)]
    evaluate(tmp_path / "quiet" / "vlm", world, Script())
    assert results(tmp_path / "vlm") == results(tmp_path / "quiet" / "vlm")
    # The same verdicts as from the files alone.
    grade.score(tmp_path / "vlm")
    assert results(tmp_path / "vlm") == results(tmp_path / "quiet" / "vlm")


class Counting(Script):
    """Counts the prompts that are rendered."""

    rendered = 0

    def __call__(self, checkpoint):
        engine, render = super().__call__(checkpoint), None
        render = engine.render

        def counted(question):
            self.rendered += 1
            return render(question)

        engine.render = counted
        return engine


def test_only_what_is_missing_is_rendered_again(tmp_path, world, monkeypatch):
    evaluate(
        tmp_path / "vlm",
        world,
        Script(lambda request: None if request.question.id == "q3" else "7"),
    )
    script = Counting()
    evaluate(tmp_path / "vlm", world, script)
    assert (script.asked, script.rendered) == ([("q3", 0)], 1)
    # Packages of other versions may render otherwise: all are looked at, and none is asked.
    monkeypatch.setattr(room, "package_versions", lambda names: {"transformers": "6"})
    script = Counting()
    evaluate(tmp_path / "vlm", world, script)
    assert (script.asked, script.rendered) == ([], 7)


def test_other_prompts_are_other_questions(tmp_path, world, monkeypatch):
    evaluate(tmp_path / "vlm", world, Script())
    monkeypatch.setattr(room, "package_versions", lambda names: {"transformers": "6"})
    script = Script()

    def engine(checkpoint):
        made = script(checkpoint)
        made.render = lambda question: f"user: {question.prompt}"
        return made

    evaluate(tmp_path / "vlm", world, engine)
    assert len(script.asked) == 7
    assert len(read_responses(tmp_path / "vlm")) == 7


def test_a_picture_is_read_once_until_it_is_touched(tmp_path, world, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Pictures, "WORTHWHILE", 1)
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    first = Pictures(tmp_path / "runs" / "vlm")
    named = first.image(path)
    first.remember()
    read = []
    real = prompts.Path.read_bytes
    monkeypatch.setattr(prompts.Path, "read_bytes", lambda p: (read.append(p.name), real(p))[1])
    again = Pictures(tmp_path / "runs" / "vlm")
    assert again.image(path) == named
    assert "a.png" not in read
    # One that is not kept beside the run is read again, to be kept.
    image_path(tmp_path / "runs" / "vlm", named).unlink()
    assert Pictures(tmp_path / "runs" / "vlm").image(path) == named
    assert image_path(tmp_path / "runs" / "vlm", named).read_bytes() == b"one"
    time.sleep(0.05)
    path.write_bytes(b"two")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert Pictures(tmp_path / "runs" / "vlm").image(path).sha256 != named.sha256
    # A cache that is broken or cannot be written costs time alone.
    for broken in (tmp_path / "cache").rglob("*.json"):
        broken.write_text("{")
    assert Pictures(tmp_path / "runs" / "vlm").image(path).sha256 != named.sha256


def test_keys_say_what_they_are(tmp_path, world):
    evaluate(tmp_path / "vlm", world, Script())
    made = json.loads((tmp_path / "vlm" / "keys.json").read_text())
    assert made["keys"]["pocket"] == {r.id: [r.key] for r in read_responses(tmp_path / "vlm")}
    before = files(tmp_path / "vlm")
    made["keys"]["pocket"]["q0"] = ["f" * 64]
    (tmp_path / "vlm" / "keys.json").write_text(json.dumps(made))
    (tmp_path / "vlm" / "cells.json").unlink()
    with pytest.raises(UserError, match="keys.json is of another run: remove it, and try again"):
        evaluate(tmp_path / "vlm", world, Script())
    (tmp_path / "vlm" / "keys.json").unlink()
    evaluate(tmp_path / "vlm", world, Script())
    assert files(tmp_path / "vlm") == before


def test_a_limit_of_the_context_is_of_the_run(tmp_path, world):
    def limited(context):
        def make(checkpoint):
            engine = Script()(checkpoint)
            engine.context = context
            return engine

        return make

    (card,) = evaluate(tmp_path / "vlm", world, limited(512), limit=2)
    assert card.context == 512 and read_card(tmp_path / "vlm").context == 512
    evaluate(tmp_path / "vlm", world, limited(512), limit=3)
    for other in (None, 1024):
        with pytest.raises(UserError, match=r"holds another run \(other context\)"):
            evaluate(tmp_path / "vlm", world, limited(other), limit=3)
    evaluate(tmp_path / "whole", world, limited(None), limit=3)
    keys = [{r.key for r in read_responses(tmp_path / name)} for name in ("vlm", "whole")]
    assert keys[0].isdisjoint(keys[1])
