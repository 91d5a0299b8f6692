import re
import subprocess
import sys

import graded
import pandas
import pytest

from driftbench import __main__
from reports.page import page


@pytest.fixture
def run(capsys):
    def of(*words, code=0):
        assert __main__.run(["report", *map(str, words)]) == code
        return capsys.readouterr()

    return of


FILES = {
    "comparison.md",
    "comparison.csv",
    "comparison.tex",
    "scores.csv",
    "cost.csv",
    "index.html",
    "merge_degradation.png",
    "merge_degradation.svg",
    *(
        f"plots/{name}.{kind}"
        for name in (
            "merge_degradation_qwen2_5_vl",
            "merge_degradation_llava_next",
            "cost_flops_qwen2_5_vl",
            "cost_flops_llava_next",
            "cost_processor_qwen2_5_vl",
            "cost_processor_llava_next",
            "differences",
        )
        for kind in ("png", "svg")
    ),
}


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_study_becomes_a_report(study, tmp_path, run):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("stays")
    done = run(study, "--out", tmp_path / "out")
    assert files(tmp_path / "out") == FILES | {"mine.txt"}
    assert "Qwen2.5-VL: Best merge: α = " in done.out
    assert done.out.endswith(f"wrote {tmp_path / 'out' / 'index.html'}\n")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    command = [sys.executable, "-W", "error", "-P", "-m", "driftbench", "report", study]
    subprocess.run([*command, "--out", tmp_path / "out"], check=True, capture_output=True)
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in FILES}


def test_run_folders_become_a_report_without_the_plot(study, tmp_path, run):
    runs = study / "llava_next" / "runs"
    run(runs / "drift", runs / "sft", "--out", tmp_path / "out", "--baseline", "sft")
    assert files(tmp_path / "out") == {
        "comparison.md",
        "comparison.csv",
        "comparison.tex",
        "scores.csv",
        "cost.csv",
        "index.html",
        "plots/categories_pocket_group.png",
        "plots/categories_pocket_group.svg",
        "plots/cost_flops_pocket.png",
        "plots/cost_flops_pocket.svg",
        "plots/cost_processor_pocket.png",
        "plots/cost_processor_pocket.svg",
        "plots/differences.png",
        "plots/differences.svg",
    }
    assert "paired difference to sft" in (tmp_path / "out" / "comparison.md").read_text()


def test_of_some_tasks_only_their_answers_are_missed(tmp_path, run):
    for name in ("a", "b"):
        questions = [q for task in ("see", "think") for q in graded.simple_questions(8, task)]
        graded.write_run(
            tmp_path / name, questions, graded.simple_answers(questions, [0, 1] * 8), n=8
        )
    run(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out", "--tasks", "see")
    assert "lost answers" not in (tmp_path / "out" / "comparison.md").read_text()


def test_tasks_and_title_are_those_asked_for(tmp_path, run):
    tasks = ("see", "think", "think_validation")
    questions = [q for task in tasks for q in graded.simple_questions(8, task)]
    for name, bits in {"a": [0, 1] * 12, "b": [1] * 24}.items():
        graded.write_run(tmp_path / name, questions, graded.simple_answers(questions, bits))

    def columns(*options):
        run(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out", *options)
        scores = (tmp_path / "out" / "scores.csv").read_text().splitlines()[1:]
        [head] = re.findall(r"<thead><tr><th scope=.col.></th>(.*?)</tr>", page_text())[:1]
        return re.findall(r">([^<]+)</th>", head), {row.split(",")[5] for row in scores}

    def page_text():
        return (tmp_path / "out" / "index.html").read_text()

    assert columns() == (["see", "think", "mean over tasks"], set(tasks)), "no validation in it"
    assert columns("--tasks", "think") == (["think"], {"think"})
    wanted = ("--tasks", "think_validation, think,see", "--title", "A <b>week</b>")
    assert columns(*wanted)[0] == ["think_validation", "think", "see", "mean over tasks"]
    assert "<h1>A &lt;b&gt;week&lt;/b&gt;</h1>" in page_text()
    table = pandas.read_csv(tmp_path / "out" / "comparison.csv")
    found = dict(zip(table["task"], table["family"], strict=True))
    assert found["think_validation"] == "exploratory" and found["see"] == "headline"
    assert found["think+see"] == "exploratory"


def test_the_mean_over_tasks_is_compared_in_whatever_order_they_are_named(tmp_path, run):
    questions = [q for task in ("see", "think") for q in graded.simple_questions(20, task)]
    for name, bits in {"a": [0, 1] * 20, "b": [0, 1, 1, 1] * 10}.items():
        graded.write_run(tmp_path / name, questions, graded.simple_answers(questions, bits))
    base = ("--out", tmp_path / "out", "--baseline", "a")
    for order in ("see,think", "think,see"):
        run(tmp_path / "a", tmp_path / "b", *base, "--tasks", order)
        text = (tmp_path / "out" / "comparison.md").read_text()
        [line] = re.findall(r"\n\| b \|(.*±.*)", text)
        assert line.count("+25.0 ±") == 3  # by hand: ten more of forty


def test_mistakes_are_one_sentence_and_leave_nothing(study, tmp_path, run):
    file = tmp_path / "file"
    file.write_text("")
    out = tmp_path / "out"
    cases = [
        ([tmp_path / "nowhere", "--out", out], "not a folder"),
        ([file, "--out", out], "not a folder"),
        ([tmp_path, "--out", out], "holds no run"),
        ([study, "--out", file], "is a file"),
        ([study, "--out", file / "x"], f"lies in {file}, which is a file"),
        ([study, "--out", out, "--baseline", "sftt"], "'sftt'"),
        ([study, "--out", out, "--tasks", "pockett"], "did you mean pocket?"),
        ([study, "--out", out, "--tasks", ","], "names none"),
        ([study], "--out"),
        (["--out", out], "PATH"),
        ([study, "--outt", out], "--outt"),
    ]
    for args, words in cases:
        done = run(*args, code=2)
        assert done.out == ""
        [sentence] = done.err.splitlines()
        assert sentence.startswith("driftbench: ") and words in sentence
    assert not out.exists()


@pytest.mark.parametrize(
    "trouble", [KeyboardInterrupt, OSError(28, "No space left on device", "x")]
)
def test_trouble_on_the_way_leaves_the_old_report(study, tmp_path, monkeypatch, capsys, trouble):
    def fail(*_, **__):
        raise trouble

    (tmp_path / "index.html").write_text("old")
    monkeypatch.setattr(page, "render", fail)
    interrupted = trouble is KeyboardInterrupt
    status = __main__.run(["report", str(study), "--out", str(tmp_path)])
    assert status == (130 if interrupted else 2)
    assert {file.name for file in tmp_path.iterdir()} == {"index.html"}
    assert (tmp_path / "index.html").read_text() == "old"
    words = (
        "interrupted; what is complete is kept, the same command goes on"
        if interrupted
        else "the disk is full; make room, then run it again: x"
    )
    assert capsys.readouterr().err.splitlines()[-1] == f"driftbench: {words}"
