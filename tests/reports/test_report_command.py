import subprocess
import sys

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
            "cost_qwen2_5_vl",
            "cost_llava_next",
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
        "plots/cost_pocket.png",
        "plots/cost_pocket.svg",
    }
    assert "paired difference to sft" in (tmp_path / "out" / "comparison.md").read_text()


def test_mistakes_are_one_sentence_and_leave_nothing(study, tmp_path, run):
    file = tmp_path / "file"
    file.write_text("")
    out = tmp_path / "out"
    cases = [
        ([tmp_path / "nowhere", "--out", out], "not a folder"),
        ([file, "--out", out], "not a folder"),
        ([tmp_path, "--out", out], "holds no run"),
        ([study, "--out", file], "is a file"),
        ([study, "--out", file / "x"], "Not a directory"),
        ([study, "--out", out, "--baseline", "sftt"], "'sftt'"),
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
    assert capsys.readouterr().err.splitlines() == [f"driftbench: {words}"]
