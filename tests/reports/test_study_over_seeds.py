"""Studies of several seeds, small enough to be counted by hand."""

import csv
import io
import json
import math
import shutil
from dataclasses import replace

import graded
import pytest
import synthetic
from scipy import stats

import driftbench
from harness.statistics import compare as comparison
from harness.statistics.sides import Side, read_run
from harness.studies.pocket import CLAIMS, IMAGE, PERCEPTION
from harness.studies.step import Claim
from reports import (
    cli,
    load,
    study_csv,
    study_document,
    study_read,
    study_tables,
    study_text,
    tables,
)
from reports.page import study as study_page
from reports.plots import study as study_plots
from reports.plots.style import save

GROUPS = (IMAGE, PERCEPTION)


def read(folder):
    return study_read.of(load.collect([folder]))


def record(folder, **more):
    known = {"vlm", "sft", "drift", "random", "best_merge"}
    claims = [
        replace(claim, primary=False) for claim in CLAIMS if {claim.method, claim.against} <= known
    ]
    synthetic.record(folder, claims, **more)


def write(folder, bits, rho=None):
    """Runs of one family and seed: name → right answers of IMAGE and of PERCEPTION, 4 each."""
    questions = [
        replace(q, task=task, id=f"{group}-{q.id}", row={**q.row, "groups": (group,)})
        for task in ("pocket", "pocket_validation")
        for group in GROUPS
        for q in graded.simple_questions(4, prompt=f"{folder.parent.name}: 3 + 4 ?", floor=0.25)
    ]
    for name, (image, perception) in bits.items():
        marks = [i < k for k in (image, perception) * 2 for i in range(4)]
        answers = graded.simple_answers(questions, marks)
        made = {"method": name, "settings": {}, "cost": {"seconds": 10.0}}
        if name.startswith("merge-"):
            share = float(name.removeprefix("merge-"))
            made = {"method": "merge", "settings": {"method": "linear", "alpha": share}}
            if name == "merge-0.50" and "seed-1" in str(folder):
                made["reached"] = {"rho": 0.2, "kept": 0.4}
        place = "settings_runs" if name == "fast_sft" else "runs"
        graded.write_run(folder / place / name, questions, answers, made=made)
    moves = [
        {"checkpoint": f"x/{name}", "rho": value, "moved": 2 * value, "cosine": 0.5, "by_role": {}}
        for name, value in (rho or {}).items()
    ]
    total = {
        "llm": "x/reasoner",
        "total": {"relative_l2": 0.1, "cosine": 0.5},
        "tensors": [{"layer": 0, "module": "mlp.up_proj.weight", "relative_l2": 0.1}],
    }
    (folder / "distance.json").write_text(json.dumps({**total, "displacements": moves}))


@pytest.fixture
def folder(tmp_path):
    """DRIFT − SFT on images, by seed: 2, 3, 2 of 4; DRIFT − random: 1, −1, 0."""
    for seed, (sft, drift, other) in enumerate([(1, 3, 2), (1, 4, 4), (0, 2, 2)]):
        bits = {
            "vlm": (1, 4),
            "sft": (sft, 4),
            "drift": (drift, 3),
            "random": (other, 4),
            "merge-0.00": (1, 4),
            "merge-0.50": (2 if seed else 1, 4),
            "merge-1.00": (1, 2),
            "fast_sft": (2, 4),
        }
        rho = {"sft": 0.1, "drift": 0.7 + 0.1 * seed}
        write(tmp_path / f"seed-{seed}" / "llava_next", bits, rho)
    record(tmp_path)
    return tmp_path


def test_one_seed_is_no_study_over_seeds(folder):
    shutil.rmtree(folder / "seed-1")
    shutil.rmtree(folder / "seed-2")
    assert read(folder) is None


def test_scores_displacements_and_the_merge_chosen_by_each_seed(folder):
    found = read(folder)
    (family,) = found.families
    assert (found.seeds, family.seeds, family.groups) == (3, 3, GROUPS)
    assert found.answers == 3 * 8 * 6  # of each method, the chosen merge among them
    drift = family.method("drift")
    assert drift.scores[IMAGE].values == (0.75, 1.0, 0.5)
    assert drift.scores[IMAGE].stderr == pytest.approx(stats.sem([0.75, 1.0, 0.5]))
    assert drift.rho.mean == pytest.approx(0.8) and drift.moved.mean == pytest.approx(1.6)
    assert drift.readable[IMAGE].mean == 0.75 and drift.converged == (0, 0)
    # Where merges tie on validation the smallest share is kept.
    assert family.method("best_merge").label == "best merge (α 0, 0.5, 0.5)"
    assert family.method("best_merge").scores[IMAGE].values == (0.25, 0.5, 0.5)
    assert family.floors == {group: 0.25 for group in GROUPS}
    assert list(family.sweep) == [0.0, 0.5, 1.0]
    assert family.reached == {0.0: 0.0, 0.5: pytest.approx((0.5 + 0.5 + 0.2) / 3), 1.0: 1.0}
    assert family.method("fast_sft") is not None


def test_every_seed_weighs_the_same_in_what_always_the_same_answer_scores(folder):
    shutil.rmtree(folder / "seed-2" / "llava_next" / "runs" / "random")
    for path in folder.glob("seed-2/llava_next/*/*/questions.jsonl"):
        path.write_text(path.read_text().replace('"floor": 0.25', '"floor": 0.55'))
    (family,) = read(folder).families
    assert len(family.method("random").scores[IMAGE].values) == 2
    assert family.floors[IMAGE] == pytest.approx((0.25 + 0.25 + 0.55) / 3)


def test_a_claim_is_judged_by_the_signs_of_its_seeds(folder):
    findings = {(f.claim.method, f.claim.against, f.claim.group): f for f in read(folder).findings}
    versus = findings["drift", "sft", IMAGE]
    assert versus.found.differences == (0.5, 0.75, 0.5)
    assert versus.p == versus.found.p == 2 / 8 and versus.verdict == "cannot be told"
    none = findings["drift", "random", IMAGE]
    assert none.found.differences == (0.25, 0.0, 0.0) and none.found.p == 1.0
    assert ("drift", "merge_then_sft", IMAGE) not in findings  # nobody ran it


def test_seeds_that_asked_the_same_questions_are_judged_over_questions_too(folder):
    for seed in range(3):
        for file in folder.glob(f"seed-{seed}/*/*/*/questions.jsonl"):
            file.write_text(file.read_text().replace(f"seed-{seed}:", "all:"))
    found = next(f for f in read(folder).findings if (f.claim.method, f.claim.against) == (
        "drift", "sft"))  # fmt: skip
    assert found.found.difference == pytest.approx((0.5 + 0.75 + 0.5) / 3)
    assert found.found.test == "t over 3 and 3 independent seeds" and found.found.n == 4


def test_the_words_say_what_the_numbers_say(folder):
    found = read(folder)
    said = study_text.sentences(found, primary=False)
    assert study_text.sentences(found, primary=True) == {} and study_text.lead(found) == []
    assert any(
        text == "DRIFT (grad_norm) reasons better over pictures than SFT"
        and "told, +58.3 (" in detail
        for text, detail in said["Cannot be told"]
    )
    texts = [text for text, _ in said["Cannot be told"]]
    assert "It is the direction: Δ beats a random one of its norms" in texts
    page = study_document.markdown(found)
    assert "| DRIFT | 75.0 ± 14.4 | 75.0 ± 0.0 |" in page and "0.80 ± 0.06" in page
    assert "best merge (α 0, 0.5, 0.5)" in page
    rows = list(csv.DictReader(io.StringIO(study_csv.findings(found))))
    row = next(
        r for r in rows if (r["method"], r["against"], r["group"]) == ("drift", "sft", IMAGE)
    )
    assert (float(row["p"]), row["p_holm"], row["seeds"]) == (2 / 8, "", "3")
    frame = driftbench.load(folder).findings
    assert frame["method"].tolist() == [r["method"] for r in rows] and frame["p_holm"].isna().all()
    assert frame["p"].tolist() == [float(r["p"]) for r in rows]
    values = list(csv.DictReader(io.StringIO(study_csv.files(found)["study_scores.csv"])))
    own = [v for v in values if (v["method"], v["group"]) == ("drift", IMAGE)]
    assert [float(v["rho"]) for v in own] == pytest.approx([0.7, 0.8, 0.9])
    assert [float(v["score"]) for v in own] == [0.75, 1.0, 0.5]


def test_a_difference_that_every_seed_shows_alike_is_not_called_sure(folder):
    write(folder / "seed-0" / "idefics3", {"sft": (2, 4), "drift": (3, 4)})
    write(folder / "seed-1" / "idefics3", {"sft": (1, 4), "drift": (2, 4)})
    record(folder)
    found = read(folder)
    finding = next(f for f in found.findings if f.family == "idefics3" and f.claim.group == IMAGE)
    assert math.isnan(finding.found.low) and finding.verdict == "cannot be told"
    assert study_text.interval(finding) == "every seed alike"


def test_the_plots_are_drawn_for_what_was_run(folder, tmp_path):
    found = read(folder)
    figures = [(plot, save(plot, tmp_path)) for plot in study_plots.plots(found)]
    names = ["differences", "displacement", "methods_by_seed"]
    assert [plot.name for plot, _ in figures] == names
    page = study_page.html(found, figures)
    assert page.count("<svg") == 3 and "best merge" in page
    assert "SFT, then merge" not in page  # nobody ran it


def test_a_hostile_name_stays_text(folder):
    hostile = "<script>alert(1)<b>"
    for seed in range(2):
        write(folder / f"seed-{seed}" / hostile, {"sft": (1, 4), "drift": (2 + seed, 4)})
    record(folder)
    page = study_page.html(read(folder), [])
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;b&gt;" in page


def test_a_method_that_no_claim_knows_is_in_every_table(folder, tmp_path):
    """`adaptive` is on record without a claim; of `mine` nothing is on record at all."""
    for seed in range(3):
        place = folder / f"seed-{seed}" / "llava_next"
        write(place, {"adaptive": (2, 3), "mine": (3, 2)})
    record(folder, leave_out=["mine"])
    out = tmp_path / "report"
    cli.write([folder], out)
    for name in ("comparison.md", "comparison.tex", "comparison.csv", "study.md", "study.tex",
                 "study_scores.csv"):  # fmt: skip
        text = (out / name).read_text()
        assert "adaptive" in text and "mine" in text, name
    (family,) = read(folder).families
    assert family.method("mine").scores[IMAGE].values == (0.75, 0.75, 0.75)
    assert family.method("adaptive").scores[PERCEPTION].mean == 0.75


def test_without_validation_questions_no_merge_is_called_the_best(folder):
    for file in folder.glob("seed-*/llava_next/*/*/verdicts.jsonl"):
        kept = [line for line in file.read_text().splitlines() if "pocket_validation" not in line]
        file.write_text("\n".join(kept) + "\n")
    (family,) = read(folder).families
    assert family.method("best_merge") is None
    assert list(family.sweep) == [0.0, 0.5, 1.0]


def test_several_answers_to_a_question_are_counted_as_answers(folder):
    """Four questions with two answers each: of eight one is cut, one unread, three are right."""
    marks = [(True, "rule"), (True, "rule"), (True, "rule"), (False, "rule")]
    marks += [(False, "truncated"), (False, "unparsed"), (False, "rule"), (False, "rule")]
    questions = [replace(q, row={**q.row, "groups": (IMAGE,)}) for q in graded.simple_questions(4)]
    answers = {
        (q.task, q.id): [(right, how, "7", "7") for right, how in marks[2 * i : 2 * i + 2]]
        for i, q in enumerate(questions)
    }
    place = folder / "seed-0" / "qwen2_5_vl"
    for name in ("sft", "drift"):
        graded.write_run(place / "runs" / name, questions, answers)
    record(folder)
    rows = study_read.scored(load.collect([folder]))
    one = next(row for row in rows if (row.family, row.method) == ("qwen2_5_vl", "sft"))
    assert (one.n, one.answers, one.correct) == (4, 8, 3)
    assert one.readable == 3 / 6 and one.score == 3 / 8
    found = next(f for f in read(folder).families if f.name == "qwen2_5_vl")
    assert found.method("sft").unread == 2 / 8


def test_a_table_says_how_many_seeds_each_method_has(folder):
    shutil.rmtree(folder / "seed-2" / "llava_next" / "runs" / "random")
    record(folder)
    family = next(f for f in read(folder).families if f.name == "llava_next")
    place = study_tables.header(family).index("seeds")
    said = {line[0]: line[place] for line in study_tables.lines(family)}
    assert said["SFT"] == "3" and said["random"] == "2"


def test_the_task_that_chose_a_merge_is_not_compared(folder):
    """Whatever it is called: `chosen_on` names it."""
    for run in folder.rglob("runs/*"):
        for file in run.rglob("*.json*"):
            file.write_text(file.read_text().replace("pocket_validation", "another_task"))
    record(folder)
    path = folder / "steps" / "study.json"
    path.write_text(path.read_text().replace("pocket_validation", "another_task"))
    for block in load.collect([folder]).blocks:
        assert {one.task for one in tables.compare(block).found.differences} == {"pocket"}


def test_what_was_made_once_stands_against_all_seeds_as_in_compare(tmp_path):
    questions = [
        replace(q, row={**q.row, "groups": (PERCEPTION,)}) for q in graded.simple_questions(12)
    ]
    marks = {"drift": ["101101110111", "111101110011", "110101110111"], "vlm": ["100100000101"]}
    sides = []
    for name, own in marks.items():
        places = [tmp_path / f"seed-{seed}" / "llava_next/runs" / name for seed in range(len(own))]
        for place, bits in zip(places, own, strict=True):
            graded.write_run(place, questions, graded.simple_answers(questions, map(int, bits)))
        sides.append(Side(name, tuple(read_run(place) for place in places)))
    claim = Claim(text="DRIFT perceives better", method="drift", against="vlm", group=PERCEPTION)
    synthetic.record(tmp_path, [claim])
    [one] = read(tmp_path).findings
    [there] = comparison.compare(sides, baseline="vlm").family("headline")
    assert (one.found.difference, one.found.p) == (there.difference, there.p)
    assert one.found.difference == pytest.approx((9 + 9 + 9) / 36 - 4 / 12)
    path = tmp_path / "steps" / "study.json"
    planned = json.loads(path.read_text())
    vlm = next(method for method in planned["methods"] if method["name"] == "vlm")
    vlm["runs"] += [
        {**vlm["runs"][0], "seed": n, "folder": f"seed-{n}/llava_next/runs/vlm"} for n in (1, 2)
    ]
    path.write_text(json.dumps(planned))
    assert not read(tmp_path).findings  # two of its seeds are still to come


def test_a_task_that_merges_of_a_sweep_alone_answered_is_compared_with_nothing(folder):
    place = folder / "seed-0" / "llava_next" / "runs"
    graded.write_run(
        place / "merge-0.30",
        questions := graded.simple_questions(4, "see"),
        graded.simple_answers(questions, [1, 0, 1, 0]),
        made={"method": "merge", "settings": {"method": "linear", "alpha": 0.3}},
    )
    path = folder / "steps" / "study.json"
    planned = json.loads(path.read_text())
    run = {"family": "llava_next", "seed": 0, "folder": "seed-0/llava_next/runs/merge-0.30"}
    sweep = {**planned["methods"][0], "name": "sweep", "label": "merges", "sweep": True}
    planned["methods"].append({**sweep, "runs": [run]})
    path.write_text(json.dumps(planned))
    for block in load.collect([folder]).blocks:
        assert {one.task for one in tables.compare(block).found.differences} == {"pocket"}
