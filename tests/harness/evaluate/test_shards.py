"""Several processes fill one run folder; the results are those of one."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import Script, checkpoint, evaluate

import tasks
from common.errors import UserError
from harness.checkpoints.kinds import Checkpoint
from harness.engines.scripted import ScriptedEngine
from harness.evaluate.config import Shard
from harness.evaluate.grade import score
from harness.evaluate.run import EvalConfig, run
from harness.runs.folder import read_card
from harness.runs.locks import Busy
from harness.runs.log import logs, read_responses
from harness.runs.schema import Sampling

SPAWN = multiprocessing.get_context("spawn")
RESULTS = ("questions.jsonl", "verdicts.jsonl", "cells.json", "summary.json", "keys.json")
DRAWN = {"sampling": Sampling(temperature=1.0, n=2)}


def answer(request) -> str | None:
    return None if request.question.id == "q6" else str(6 + int(request.question.id[1]) % 3)


def results(folder: Path) -> list:
    said = sorted(read_responses(folder), key=lambda r: (r.id, r.sample))
    card = replace(read_card(folder), seconds=0.0, processor_seconds=0.0)
    files = [(folder / name).read_bytes() for name in RESULTS]
    return [[replace(r, seconds=0.0) for r in said], card, files]


@pytest.fixture
def quiet(tmp_path, world) -> list:
    """Results of one undisturbed process; every run here is named vlm, as it is in them."""
    evaluate(tmp_path / "quiet" / "vlm", world, Script(answer), **DRAWN)
    return results(tmp_path / "quiet" / "vlm")


def test_one_after_the_other_they_ask_everything_once_and_the_last_one_grades(
    tmp_path, world, quiet
):
    asked, out = [], tmp_path / "vlm"
    for index in (2, 3, 1):
        script = Script(answer)
        (card,) = evaluate(out, world, script, shard=Shard(index, 3), **DRAWN)
        assert {id for id, _ in script.asked} == {f"q{n}" for n in range(index - 1, 7, 3)}
        asked += script.asked
        assert card.finished == (index == 1) == (out / "cells.json").exists()
    assert sorted(asked) == [(f"q{n}", sample) for n in range(7) for sample in range(2)]
    assert results(out) == quiet
    assert sorted(path.name for path in out.glob("responses*")) == [
        f"responses.{index}of3.jsonl" for index in (1, 2, 3)
    ]


def test_any_other_number_of_shards_goes_on(tmp_path, world, quiet):
    out = tmp_path / "vlm"
    evaluate(out, world, Script(answer), shard=Shard(1, 3), **DRAWN)
    evaluate(out, world, Script(answer), shard=Shard(2, 2), **DRAWN)
    script = Script(answer)
    (card,) = evaluate(out, world, script, **DRAWN)
    # q6 failed in two shards and is asked again; q2 and q4 are left of the rest.
    assert {id for id, _ in script.asked} == {"q2", "q4", "q6"}
    assert card.finished and results(out) == quiet
    script = Script()
    evaluate(out, world, script, shard=Shard(1, 2), **DRAWN)
    assert {id for id, _ in script.asked} == {"q6"}


def _answers(request):
    time.sleep(0.02)
    return answer(request)


def _engine(checkpoint: Checkpoint) -> ScriptedEngine:
    return ScriptedEngine(checkpoint, _answers)


def _ask(out, world, shard, start, ends):
    start.wait()
    (card,) = run([checkpoint()], [tasks.load("pocket")], out, EvalConfig(data=world, **DRAWN),
                  engine=_engine, shard=shard)  # fmt: skip
    ends.put(card.finished)


def test_at_the_same_time_too(tmp_path, world, quiet):
    out, start, ends = tmp_path / "vlm", SPAWN.Barrier(3), SPAWN.Queue()
    shards = [Shard(index, 3) for index in (1, 2, 3)]
    processes = [SPAWN.Process(target=_ask, args=(out, world, s, start, ends)) for s in shards]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(ends.get() for _ in shards) == [False, False, True]
    assert results(out) == quiet
    assert not list(out.glob(".*"))
    lines = [line for log in logs(out) for line in log.read_bytes().splitlines()]
    assert len(lines) == 14


def test_a_shard_is_refused_where_it_would_spoil_a_run(tmp_path, world):
    out = tmp_path / "vlm"
    trouble = {}

    def meanwhile(request):
        """While the first of two shards asks, others come."""
        if request.question.id == "q0":
            others = {
                "the same": {"shard": Shard(1, 2)},
                "the whole": {},
                "another run": {"shard": Shard(2, 2), "checkpoints": [checkpoint(fingerprint="g")]},
                "more": {"shard": Shard(2, 2), "limit": 5},
            }
            for name, settings in others.items():
                with pytest.raises(UserError) as error:
                    evaluate(out, world, Script(), **{"limit": 4, **settings})
                trouble[name] = str(error.value)
            with pytest.raises(Busy):
                score(out)
            evaluate(out, world, Script(), limit=4, shard=Shard(2, 2))
        return "7"

    evaluate(out, world, Script(meanwhile), limit=4, shard=Shard(1, 2))
    assert "(shard 1of2) is being written by process" in trouble["the same"]
    assert "is being written by process" in trouble["the whole"]
    assert "holds another run (other fingerprint)" in trouble["another run"]
    assert "is being written by shards that ask less" in trouble["more"]
    assert read_card(out).finished


def test_the_time_of_all_shards_is_kept(tmp_path, world):
    def slow(request):
        time.sleep(0.02)
        return "7"

    for index in (1, 2):
        evaluate(tmp_path / "vlm", world, Script(slow), shard=Shard(index, 2))
    assert read_card(tmp_path / "vlm").seconds >= 7 * 0.02


@pytest.mark.parametrize("word", ["3/2", "0/2", "1", "one/two", "1/", "/2", "-1/2", "1/2/3"])
def test_a_part_that_is_none_is_named(word, tmp_path, mistake):
    said = mistake("eval vlm --tasks pocket --shard", word, "--out", tmp_path / "vlm")
    assert said == (
        f"driftbench: --shard {word} names no part: the second of four is --shard 2/4\n"
    )


def test_a_shard_tells_what_is_still_missing(tmp_path, world, capsys):
    from harness.commands.cells import print_cells

    evaluate(tmp_path / "vlm", world, Script(), shard=Shard(1, 2))
    capsys.readouterr()
    print_cells([tmp_path / "vlm"])
    assert capsys.readouterr().out == "vlm: not finished, 4 of 7 answers are there\n"
