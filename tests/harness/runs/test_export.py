"""A run as one Parquet file, and still a run."""

import json

import pandas
import pytest
from scripted import ANSWERS, Script, evaluate, files

from common.errors import UserError
from harness.evaluate.config import Shard
from harness.evaluate.grade import score
from harness.runs import folder, log
from harness.runs.export import compact
from harness.runs.schema import Sampling


def test_each_answer_is_a_row_with_its_verdict(tmp_path, world, driftbench):
    out = tmp_path / "vlm"
    evaluate(out, world, Script(lambda request: ANSWERS.get(request.question.id)))
    assert driftbench("compact", out).out == f"{out / 'answers.parquet'}\n"
    table = pandas.read_parquet(out / "answers.parquet").set_index("id")
    assert list(table.index) == [f"q{n}" for n in range(7)]
    for response, verdict in zip(log.read_responses(out), folder.read_verdicts(out), strict=True):
        row = table.loc[response.id]
        for name in ("key", "task", "sample", "text", "finish", "tokens_out", "seconds", "reason"):
            assert row[name] == getattr(response, name)
        answer = None if pandas.isna(row.answer) else row.answer
        assert (row.correct, answer, row.how) == (verdict.correct, verdict.answer, verdict.how)
        assert tuple(row.groups) == verdict.groups
    assert table.correct.mean() == pytest.approx(2 / 3)  # of those that could be read
    from pyarrow import parquet

    card = parquet.read_schema(out / "answers.parquet").metadata[b"driftbench.run"]
    assert json.loads(card) == json.loads((out / "run.json").read_text())


def test_the_logs_of_shards_become_one_and_the_run_goes_on(tmp_path, world):
    out, drawn = tmp_path / "vlm", {"sampling": Sampling(temperature=1.0, n=2)}
    evaluate(out, world, Script(lambda request: None), limit=1, **drawn)
    for index in (1, 2):
        evaluate(out, world, Script(), limit=4, shard=Shard(index, 2), **drawn)
    before = log.read_responses(out)
    compact(out)
    assert [path.name for path in log.logs(out)] == ["responses.jsonl"]
    assert log.read_responses(out) == before
    assert len((out / "responses.jsonl").read_bytes().splitlines()) == 8
    whole = files(out)
    script = Script()
    evaluate(out, world, script, limit=4, **drawn)
    assert script.asked == [] and files(out) == whole
    evaluate(out, world, script, **drawn)
    assert {id for id, _ in script.asked} == {"q4", "q5", "q6"}
    # It is of the answers before these.
    assert not (out / "answers.parquet").exists()


def test_a_run_that_is_not_graded_has_no_verdicts_yet(tmp_path, world):
    out = tmp_path / "vlm"
    evaluate(out, world, Script(lambda request: "\udc80 7"), shard=Shard(1, 2))
    compact(out)
    table = pandas.read_parquet(out / "answers.parquet")
    assert len(table) == 4 and table.correct.isna().all() and table.groups.isna().all()
    assert set(table.text) == {"\\udc80 7"}
    evaluate(out, world, Script(), shard=Shard(2, 2))
    compact(out)
    assert pandas.read_parquet(out / "answers.parquet").correct.tolist() == [True] * 7
    score(out)
    assert not (out / "answers.parquet").exists()


def test_what_is_no_run_or_has_no_answer_is_named(tmp_path, world):
    with pytest.raises(UserError, match="is not a run folder"):
        compact(tmp_path)

    def stops(request):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path / "vlm", world, Script(stops))
    with pytest.raises(UserError, match="vlm has no answer yet"):
        compact(tmp_path / "vlm")
