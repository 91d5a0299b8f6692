"""The same runs get the same difference, error, p and word wherever they are compared."""

import csv
import gzip
import io
import json

import graded
import places
import pytest

from driftbench import __main__
from harness.statistics import render
from harness.statistics.compare import compare
from harness.statistics.sides import Side, read_run

MODELS = ("Gemini-Pro", "LLaVA-v1.5-7B", "ShareGPT4V-13B")


@pytest.fixture(scope="module", params=places.PARITY, ids=lambda folder: folder.parent.name)
def runs(request, tmp_path_factory):
    """Three published models of MathVision, with their official verdicts."""
    folder = tmp_path_factory.mktemp("mathvision")
    for model in MODELS:
        with gzip.open(request.param / "open" / f"mathv_test__{model}.jsonl.gz", "rt") as lines:
            rows = [json.loads(line) for line in lines]
        subjects = {row["id"]: (f"subject: {row['metadata']['subject']}",) for row in rows}
        answers = {row["id"]: ["7" if row["official_verdict"] else "3"] for row in rows}
        graded.write(folder / model, answers, task="mathvision", groups=subjects.get)
    return [folder / model for model in MODELS]


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_compare_and_report_agree_row_by_row(runs, tmp_path, capsys):
    words = [str(run) for run in runs]
    printed = []
    for more in ([], ["--groups"]):
        assert __main__.run(["compare", *words, "--format", "csv", *more]) == 0
        printed.append(read(capsys.readouterr().out))
    headline, whole = printed
    assert __main__.run(["report", *words, "--out", str(tmp_path / "report")]) == 0
    reported = read((tmp_path / "report" / "comparison.csv").read_text())
    for row in reported:
        assert row.pop("block") == "mathvision"
    assert len(headline) == 2 and len(whole) == 2 + 2 * 16
    assert reported == whole and reported[:2] == headline
    # And so does what people read.
    page = (tmp_path / "report" / "comparison.md").read_text()
    assert __main__.run(["compare", *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    sides = [Side(run.name, (read_run(run),)) for run in runs]
    found = compare(sides, groups=True)
    assert read(render.csv(found)) == whole
    for sentence in render.sentences(found, "headline"):
        assert sentence in shown and sentence.replace("<", r"\<") in page
    for one in found.family("headline"):
        assert f"{render.change(one)}, p" in page and f", {one.finding}" in page
