import csv
import io
import math
from dataclasses import replace

import graded
import pytest
import synthetic

from reports import load, published

RESULTS = """# Facts, cited.
table,family,vlm,reasoner,data,label,method,task,score,source
2,qwen2_5_vl,VLM,R,,DRIFT,drift,t,60.0,a paper
3,qwen2_5_vl,VLM,R,,DRIFT,drift,t,60.0,a paper
4,qwen2_5_vl,VLM,R,,DRIFT,drift,t,90.0,another paper
2,qwen2_5_vl,VLM,R,,DRIFT,drift,t:g,80.0,a paper
2,qwen2_5_vl,VLM,R,,DRIFT,drift,t:score strict,41.0,a paper
2,qwen2_5_vl,VLM,R,,DRIFT,drift,elsewhere,10.0,a paper
2,qwen2_5_vl,VLM,R,,DRIFT,drift,MME,2000,a paper
2,qwen2_5_vl,VLM,R,,Other,,t,11.0,a paper
2,llava_next,VLM,R,,DRIFT,drift,t,12.0,a paper
5,,Some-VL-7B,,,Some-VL-7B,vlm,t,55.0,a paper
"""
SWEEP = """family,vlm,reasoner,alpha,task,score,source
qwen2_5_vl,Qwen2.5-VL-7B,R,0.3,t,40,s
qwen2_5_vl,Qwen2.5-VL-7B,R,0,t,60,s
other,Qwen2.5-VL-3B,R,0,t,50,s
other,Qwen2.5-VL-3B,R,0.1,t,51,s
other,Qwen2.5-VL-3B,R,0.2,t,,s
other,Elsewhere-7B,R,0,t,1,s
other,Elsewhere-7B,R,1,t,2,s
qwen2_5_vl,Qwen2.5-VL-7B,R,0,alone,2,s
"""


@pytest.fixture
def ours(monkeypatch, tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "results.csv").write_text(RESULTS)
    (tmp_path / "csv" / "merge_sweep.csv").write_text(SWEEP)
    monkeypatch.setattr(published, "FOLDER", tmp_path / "csv")
    published.read.cache_clear()
    yield
    published.read.cache_clear()


def write(folder, name, **card):
    questions = graded.simple_questions(100, "t")
    questions = [
        replace(q, row={**q.row, "groups": ("g",) if i < 50 else ()})
        for i, q in enumerate(questions)
    ]
    answers = graded.simple_answers(questions, [1] * 70 + [0] * 30)
    graded.write_run(folder / name, questions, answers, **card)
    return folder / name


def test_a_studys_rows_stand_beside_the_papers(ours, tmp_path):
    run = write(tmp_path / "s" / "qwen2_5_vl" / "runs", "drift")
    (run / "summary.json").write_text('{"t": {"score strict": 0.4}}')
    synthetic.record(tmp_path / "s")
    [block] = load.collect([tmp_path / "s"]).blocks
    found = published.beside(block)
    assert [(each.task, each.published, each.source) for each in found] == [
        ("t", 0.6, "a paper"),
        ("t", 0.9, "another paper"),
        ("t:g", 0.8, "a paper"),
        ("t:score strict", 0.41, "a paper"),
    ]
    first, second, group, metric = found
    # Ours 70 of 100, theirs 60 %: √(0.7·0.3/99 + 0.6·0.4/99).
    assert first.difference == pytest.approx(0.1)
    assert first.error == pytest.approx(math.sqrt((0.21 + 0.24) / 99))
    assert first.finding == "inside the noise" and second.finding == "supported"
    assert group.ours == 1.0 and group.error == pytest.approx(math.sqrt(0.16 / 49))
    assert metric.ours == 0.4 and math.isnan(metric.error) and metric.finding == "cannot be told"
    assert published.line(first)[3:7] == ["70.0 ± 4.6", "60.0", "+10.0 ± 6.7", "inside the noise"]
    rows = list(csv.DictReader(io.StringIO(published.long_form(found))))
    assert [row["finding"] for row in rows] == [each.finding for each in found]
    assert float(rows[0]["error"]) == first.error and rows[3]["error"] == ""


@pytest.mark.parametrize(
    "card, known",
    [
        ({"checkpoint": "hub/Some-VL-7B-Instruct"}, True),
        ({"checkpoint": "/data/some_vl-7b"}, True),
        ({"checkpoint": "hub/Some-VL-72B"}, False),
        ({"checkpoint": "drift"}, False),  # the name of a row, of no model
    ],
)
def test_any_run_is_known_by_its_checkpoint(ours, tmp_path, card, known):
    write(tmp_path, "mine", **card)
    [block] = load.collect([tmp_path / "mine"]).blocks
    assert bool(published.beside(block)) is known


def test_sweeps_of_a_family(ours):
    found = published.sweeps("qwen2_5_vl", "Qwen2.5-VL", ["t", "alone"])
    assert [(line.vlm, line.points) for line in found] == [
        ("Qwen2.5-VL-7B", ((0.0, 60.0), (0.3, 40.0))),
        ("Qwen2.5-VL-3B", ((0.0, 50.0), (0.1, 51.0))),
    ]
    assert published.sweeps("idefics3", "Idefics3", ["t"]) == []


def test_the_files_of_the_repository_can_be_read():
    published.read.cache_clear()
    results = published.read("results.csv")
    assert {"family", "label", "method", "task", "score", "source"} <= set(results[0])
    for row in (*results, *published.read("merge_sweep.csv")):
        assert not row["score"] or math.isfinite(float(row["score"]))


def test_where_nothing_is_published_nothing_is_said(monkeypatch, tmp_path, pair):
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    published.read.cache_clear()
    assert published.beside(load.collect([pair]).blocks[0]) == []
    assert published.markdown([]) == published.latex([]) == ""
    published.read.cache_clear()
