"""A study whose truth is known, from its runs to what is said of it."""

import csv
import io
import shutil
from dataclasses import replace

import pytest
import tuned
from tuned import IMAGE, PERCEPTION

import driftbench
from harness.statistics.resampling import holm
from harness.statistics.sides import read_run
from reports import cli, load, study_read, study_tables, study_text
from reports.page import study as study_page
from reports.plots import study as study_plots
from reports.plots import study_frontier
from reports.plots.style import log_ticks, save
from reports.study_rows import converged
from reports.study_tuning import until_most


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tuned.write(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def study(folder):
    return study_read.of(load.collect([folder]))


def test_primary_claims_of_all_families_are_one_family_of_tests(study):
    words = [(one.claim.method, one.family, one.verdict) for one in study.findings]
    assert words == [
        ("drift", "llava_next", "supported"),
        ("drift", "qwen2_5_vl", "supported"),
        ("drift", "llava_next", "supported"),
        ("drift", "qwen2_5_vl", "supported"),
        ("random", "llava_next", "below the floor"),
        ("random", "qwen2_5_vl", "below the floor"),
        ("best_merge", "llava_next", "contradicted"),
        ("best_merge", "qwen2_5_vl", "contradicted"),
        ("sft_16", "llava_next", "inside the noise"),
        ("sft_16", "qwen2_5_vl", "supported"),
    ]
    primary = [one for one in study.findings if one.claim.primary]
    assert study.declared == len(primary) == 8
    assert [one.p for one in primary] == pytest.approx(holm([one.found.p for one in primary]))
    assert primary[0].p == pytest.approx(8 * 2 / 1024)
    other = study.findings[-1]
    assert not other.claim.primary and other.p == other.found.p


def test_a_family_in_which_only_the_start_was_asked_was_not_tuned(tmp_path):
    tuned.write(tmp_path)
    design = load.collect([tmp_path]).study
    there = study_read.tried(design, tmp_path)
    assert {one.family for one in there} == {"llava_next", "qwen2_5_vl"}
    for trial in design.trials:
        if trial.family == "qwen2_5_vl" and trial.method != design.tuning.against:
            shutil.rmtree(tmp_path / trial.folder)
    left = study_read.tried(design, tmp_path)
    assert left == [one for one in there if one.family == "llava_next"]


def test_what_was_not_run_counts_and_is_named(tmp_path):
    tuned.write(tmp_path)
    for run in tmp_path.glob("seed-*/qwen2_5_vl/runs/best_merge"):
        shutil.rmtree(run)
    found = study_read.of(load.collect([tmp_path]))
    assert [(claim.method, family) for claim, family in found.missing] == [
        ("best_merge", "qwen2_5_vl")
    ]
    assert found.declared == 8 and found.findings[0].p == pytest.approx(8 * 2 / 1024)
    assert study_text.lead(found)[-1] == (
        "Not yet run:",
        "merging reasons better than SFT in Qwen2.5-VL.",
    )


def test_the_first_paragraph_says_what_helps(study):
    counts = "4 came out as claimed and 2 came out the other way"
    random = "a random direction raises reasoning (LLaVA-NeXT +5.0 and Qwen2.5-VL +5.0)."
    assert study_text.lead(study) == [
        ("", f"Of 8 declared tests, corrected together, {counts}."),
        ("What helps:", "DRIFT reasons better than SFT (LLaVA-NeXT +18.8 and Qwen2.5-VL +9.3)."),
        ("Also as claimed:", "DRIFT costs perception (LLaVA-NeXT −7.5 and Qwen2.5-VL −7.5)."),
        (
            "Not as claimed but the other way round:",
            "merging reasons better than SFT (LLaVA-NeXT −15.0 and Qwen2.5-VL −15.0).",
        ),
        ("Told apart, but below what guessing from a part reaches:", random),
    ]


def test_readable_answers_stand_beside(study):
    one = study.findings[0]
    method = study.families[0].method("drift")
    # One of 40 answers could not be read, in every run.
    assert method.readable[IMAGE].mean == pytest.approx(method.scores[IMAGE].mean * 40 / 39)
    assert one.readable[0] == method.readable[IMAGE].mean
    line = dict(zip(study_tables.FINDING, study_tables.finding_line(study, one), strict=True))
    assert (line["scores"], line["readable"]) == ("66.0 / 47.2", "67.7 / 48.5")
    assert (line["seeds"], line["p"], line["p (Holm)"]) == ("10 of 10", "0.002", "0.016")


def test_each_method_keeps_its_best_setting_that_costs_no_more_than_is_allowed(study):
    chosen = {one.method: dict(one.settings) for one in study.settings if one.chosen}
    assert chosen == {"vlm": {}, "sft": {"lr": 3e-3}, "drift": {"lr": 1e-3, "alpha": 0.1}}
    own = [one for one in study.settings if (one.family, one.method) == ("llava_next", "drift")]
    assert len(own) == 6
    best = next(one for one in own if one.chosen)
    assert best.score.values == (26 / 40, 27 / 40) and best.kept.values == (37 / 40, 38 / 40)
    assert best.converged == (2, 2) and best.loss.mean == pytest.approx(0.2)
    slow = next(one for one in own if one.settings == {"lr": 2e-4, "alpha": 0.1})
    assert slow.converged == (0, 2)
    # 31 of 40 are the most; within 90 % of them are DRIFT's best, but no SFT.
    assert until_most(own)["llava_next", "drift"] == 4e11
    assert until_most(study.settings)["llava_next", "sft"] is None


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([1.0] * 10 + [0.1] * 90, True),
        ([1.0 - i / 100 for i in range(100)], False),
        # Flat at the end, as any is whose step size has gone to zero: a fifth came after the half.
        ([1.0] * 10 + [0.5] * 50 + [0.375] * 40, False),
        ([0.5] * 100, False),
        ([0.5 + i / 100 for i in range(100)], False),
        ([1.0, 0.1] * 10, None),
    ],
)
def test_a_training_has_converged_where_its_second_half_brought_little(losses, expected):
    assert converged(losses) is expected


def test_what_all_methods_begin_with_has_no_cost_of_its_own(folder):
    run = read_run(next(folder.glob("seed-*/llava_next/runs/drift")))

    def processor_seconds(**cost):
        made = replace(run.card.made, cost=cost)
        card = replace(run.card, made=made)
        return study_read.trained_as(replace(run, card=card), folder).processor_seconds

    assert processor_seconds(flops=4e11, processor_seconds=40.0) == 40.0
    assert processor_seconds(processor_seconds=40.0) is None


def test_the_ticks_of_a_frontier_are_few_and_plain():
    from matplotlib.figure import Figure

    def ticks(low, high):
        figure = Figure()
        axis = figure.subplots()
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        log_ticks(axis.xaxis)
        figure.canvas.draw()
        shown = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
        minor = [label.get_text() for label in axis.get_xticklabels(minor=True)]
        assert not any(minor)
        return [label.get_text() for at, label in shown if low <= at <= high]

    assert ticks(1.5e11, 5.7e12) == ["200 G", "500 G", "1 T", "2 T", "5 T"]
    assert ticks(0.005, 150) == ["0.01", "0.1", "1", "10", "100"]


def test_the_frontier_joins_what_nothing_beats_at_its_cost(study):
    found = {p.kind: p for p in study_frontier.points(study.families[0], "flops", IMAGE)}
    assert set(found) == {"best_merge", "sft", "drift", "random", "sft_16"}
    assert found["best_merge"].cost == 0.0
    assert found["sft_16"].cost == 64e11 and found["drift"].score == pytest.approx(66.0)
    best = study_frontier.pareto.front(list(found.values()))
    assert [point.kind for point in best] == ["best_merge", "drift", "sft_16"]


def test_every_plot_is_drawn_and_the_page_begins_with_what_helps(study, tmp_path):
    drawn = [(plot, save(plot, tmp_path)) for plot in study_plots.plots(study)]
    assert [plot.name for plot, _ in drawn] == [
        "differences",
        "methods_by_seed",
        "frontier",
        "tuning_llava_next",
        "tuning_qwen2_5_vl",
        "trade",
    ]
    page = study_page.html(study, drawn)
    places = [
        page.index(text) for text in ("What helps:</strong> DRIFT", "<svg", "Seeds of LLaVA-NeXT")
    ]
    assert places == sorted(places)
    assert page.count("<svg") == 6


def test_of_more_than_three_families_each_plot_has_three_at_most(study):
    many = [
        replace(study.families[0], name=f"v{i}", title=f"LLaVA-NeXT, the variant with number {i}")
        for i in range(5)
    ]
    found = study_plots.plots(replace(study, families=(*study.families, *many)))
    by_seed = [plot for plot in found if plot.name.startswith("methods_by_seed")]
    assert [plot.name[15:] for plot in by_seed] == ["", "_2", "_3"]
    heads = [[axis.get_title(loc="left") for axis in plot.draw().axes] for plot in by_seed]
    assert heads[0] == ["LLaVA-NeXT", "Qwen2.5-VL", "LLaVA-NeXT,\nthe variant with number 0"]
    assert [len(row) for row in heads] == [3, 3, 1]


def test_of_more_than_three_families_a_plot_has_all_beside_each_other(study):
    few = [
        replace(one, methods=tuple(m for m in one.methods if m.name in ("vlm", "sft", "drift")))
        for one in study.families
    ]
    families = tuple(replace(one, name=f"v{i}") for i in "12" for one in few)
    many = replace(study, families=families, findings=())
    (plot,) = [one for one in study_plots.plots(many) if one.name == "across_families"]
    axes = plot.draw().axes
    assert [axis.get_title(loc="left") for axis in axes] == [IMAGE, PERCEPTION]
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [
        *("LLaVA-NeXT", "Qwen2.5-VL") * 2
    ]
    drawn = [bars.lines[0].get_xdata()[0] for bars in axes[0].containers]
    scores = [100 * m.scores[IMAGE].mean for one in many.families for m in one.methods]
    assert drawn == pytest.approx(scores)
    # Of many methods the eye can tell no six apart, and the plots of three families have them.
    assert not [one for one in study_plots.plots(study) if one.name == "across_families"]


def test_the_report_writes_a_line_for_each_arm_seed_and_group_and_for_each_trial(folder, tmp_path):
    cli.write([folder], tmp_path / "report")
    rows = read(tmp_path / "report" / "study_scores.csv")
    assert len(rows) == 2 * 10 * 6 * 2
    one = next(r for r in rows if (r["method"], r["seed"], r["group"]) == ("drift", "3", IMAGE))
    assert (one["n"], one["correct"], one["unparsed"]) == ("40", "26", "1")
    assert (float(one["score"]), float(one["flops"])) == (26 / 40, 4e11)
    assert (one["converged"], one["label"], one["floor"]) == ("True", "DRIFT", "0.18")
    trials = read(tmp_path / "report" / "study_trials.csv")
    assert len(trials) == 2 * 2 * 10
    chosen = {(t["method"], t["settings"]) for t in trials if t["chosen"] == "True"}
    assert ("drift", '{"lr": 0.001, "alpha": 0.1}') in chosen and len(chosen) == 3
    # Runs that were tried are no rows of the tables.
    assert PERCEPTION in (tmp_path / "report" / "comparison.md").read_text()
    assert "drift-0.001-0.1" not in (tmp_path / "report" / "comparison.md").read_text()


def test_of_tuning_alone_the_page_has_what_was_tried_and_what_was_chosen(tmp_path, capsys):
    tuned.write(tmp_path / "study", families=("llava_next",), seeds=0)
    cli.write([tmp_path / "study"], out := tmp_path / "report")
    page = (out / "index.html").read_text()
    assert "<h2>What the tuning says</h2>" in page and "They compare no methods" in page
    assert '<p class="muted">tuning alone</p>' in page and "0 runs" not in page
    assert "What the study says" not in page and "Every difference" not in page
    assert 'id="scores"' not in page and 'id="questions"' not in page
    for row in (["SFT", "3", "lr 0.003"], ["DRIFT", "6", "lr 0.001, alpha 0.1"]):
        assert "".join(f"<td>{cell}</td>" for cell in row[1:]) in page
    assert (out / "plots" / "tuning_llava_next.svg").exists()
    assert page.count("<svg") == 2 and "<h3>LLaVA-NeXT</h3>" in page
    document = (out / "study.md").read_text()
    assert document.startswith("# What the tuning says") and "## What was tried" in document
    assert len(read(out / "study_trials.csv")) == 2 * 10
    assert not (out / "study.tex").exists()
    assert "wrote " in capsys.readouterr().out


def test_one_seed_that_counts_keeps_its_tables_beside_the_tuning(tmp_path):
    tuned.write(tmp_path / "study", families=("llava_next",), seeds=1)
    cli.write([tmp_path / "study"], tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<h2>What the tuning says</h2>" in page
    assert 'id="headline"' in page and "<strong>DRIFT</strong>" in page and 'id="scores"' in page


def test_results_of_tuning_alone_are_empty_frames(tmp_path):
    results = driftbench.load(tuned.write(tmp_path, families=("llava_next",), seeds=0))
    assert results.table.empty and results.answers.empty
    assert results.plots == ["tuning_llava_next", "trade"]
    with pytest.raises(driftbench.UserError, match="several training seeds"):
        _ = results.findings


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))
