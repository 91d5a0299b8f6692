"""The published numbers: whole, in range, and a few copied by hand from where they stand."""

import csv
import tomllib
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "published"
COLUMNS = {
    "results": "table family vlm reasoner data label method task score source",
    "merge_sweep": "family vlm reasoner alpha task score source",
    "cost": "label gpus gpu hours samples source",
}
DRIFT = "arXiv 2510.15050v2 table"


def read(name):
    lines = (FOLDER / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if not line.startswith("#")]
    assert lines[: len(lines) - len(body)] == [line for line in lines if line.startswith("#")]
    return list(csv.DictReader(body))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_row_is_whole_and_has_its_source(name):
    rows = read(name)
    assert rows and list(rows[0]) == COLUMNS[name].split()
    for row in rows:
        assert None not in row and None not in row.values()
        assert row["source"] and not any(value != value.strip() for value in row.values())


@pytest.mark.parametrize("name", ["results", "merge_sweep"])
def test_scores_are_percentages_said_once(name):
    rows = read(name)
    for row in rows:
        assert 0 <= float(row["score"]) <= (2800 if row["task"] == "MME" else 100)
    keys = [tuple(v for k, v in row.items() if k not in ("score", "source")) for row in rows]
    assert len(set(keys)) == len(keys)


def test_tasks_that_are_ours_have_our_names():
    for row in read("results") + read("merge_sweep"):
        task, _, part = row["task"].partition(":")
        if task.startswith(("math", "mm", "pope", "logic", "we", "real", "hallusion")):
            assert task in tasks.names(), row
        if task == "wemath":
            assert part in ("score strict", "score loose")


@pytest.mark.parametrize(
    ("table", "label", "task", "score"),
    [
        ("1", "Idefics2-8B + MetaMath-Mistral-7B", "mathvision_testmini", 11.8),
        ("1", "Qwen2.5-VL-7B + DeepSeek-R1-Distill-Qwen-7B", "mathverse_vision_only", 33.2),
        ("2", "DARE-TIES", "logicvista", 42.0),
        ("2", "Layer Swap", "wemath:score loose", 50.1),
        ("3", "R1-Onevision-7B", "logicvista", 61.8),
        ("4", "Grad-Norm, attn", "logicvista", 49.4),
        ("4", "Absolute, attn+mlp", "mathvista", 65.7),
        ("5", "DRIFT (DART-Uniform)", "mathvision", 16.94),
        ("6", "SFT", "realworldqa", 66.79),
        ("7", "SFT, 8K mixed", "wemath:score loose", 56.19),
        ("10", "R1 − Qwen-Math", "logicvista", 43.8),
    ],
)
def test_rows_of_the_paper_copied_by_hand(table, label, task, score):
    [row] = [
        row
        for row in read("results")
        if (row["table"], row["label"], row["task"]) == (table, label, task)
    ]
    assert float(row["score"]) == score and row["source"] == f"{DRIFT} {table}"


def test_the_averages_of_table_2_are_those_of_its_columns():
    rows = [row for row in read("results") if row["table"] == "2"]
    for label in {row["label"] for row in rows}:
        scores = {row["task"]: float(row["score"]) for row in rows if row["label"] == label}
        average = scores.pop("average")
        assert average == pytest.approx(sum(scores.values()) / 6, abs=0.06), label


@pytest.mark.parametrize(
    ("vlm", "alpha", "task", "score"),
    [
        ("Qwen2.5-VL-7B", "0.2", "mathvista", 37.8),
        ("InternVL2.5-8B", "0.3", "pope", 0.0),
        ("LLaVA-NeXT-LLaMA3-8B", "0.15", "dynamath", 24.0),
        ("LLaVA-1.5-7B", "0", "mathvision_testmini", 15.8),
    ],
)
def test_points_of_the_sweeps_copied_by_hand(vlm, alpha, task, score):
    [row] = [
        row
        for row in read("merge_sweep")
        if (row["vlm"], row["alpha"], row["task"]) == (vlm, alpha, task)
    ]
    assert float(row["score"]) == score


def test_the_package_takes_them_along():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "published/*.csv" in settings["tool"]["setuptools"]["package-data"]["reports"]
