import dataclasses
import itertools
import json
import re
import shutil
import warnings

import graded
import pytest
import synthetic

from reports import load, published, tables
from reports.plots import degradation, figures
from reports.plots import style as plots


@pytest.fixture(scope="module")
def drawn(study):
    return degradation.drawable(load.collect([study]).blocks)


@pytest.fixture(scope="module")
def figure(drawn):
    with plots._settings():
        return degradation.single(drawn[0], drawn).draw()


def test_the_figure_is_the_same_bytes_each_time_and_fits_a_column(drawn, tmp_path):
    from PIL import Image

    for name in "ab":
        (tmp_path / name).mkdir()
        assert plots.save(degradation.together(drawn), tmp_path / name).startswith("<svg")
    a, b = tmp_path / "a", tmp_path / "b"
    for file in ("merge_degradation.png", "merge_degradation.svg"):
        assert (a / file).read_bytes() == (b / file).read_bytes()
    with Image.open(a / "merge_degradation.png") as image:
        assert image.width == round(200 * plots.INCHES)
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    svg = (a / "merge_degradation.svg").read_text()
    assert not re.search(r"<dc:date>|\d{4}-\d\d-\d\d", svg)


def test_a_matplotlibrc_of_the_user_changes_nothing(drawn):
    import matplotlib

    plot = degradation.single(drawn[0], drawn)
    before = plots.inline(plot)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.grid": True}):
        assert plots.inline(plot) == before


def test_points_are_at_their_share_and_score_perception_and_reasoning_apart(drawn, figure):
    block = drawn[0]
    style = plots.styles(list(synthetic.GROUPS))
    parts = degradation.parts(block)
    assert [(name, [c.title for c in columns]) for name, columns in parts] == [
        ("perception", ["perception"]),
        ("reasoning", ["reasoning-image", "reasoning-both", "reasoning-text"]),
    ]
    for axis, (_, columns) in zip(figure.axes, parts, strict=True):
        lines = {line.get_color(): line for line in axis.lines if len(line.get_xdata()) == 4}
        for column in columns:
            line = lines[style[column.title].color]
            assert list(line.get_xdata()) == [0.0, 0.3, 0.7, 1.0]
            scores = [100 * row.run.cells[column.key].score for row in block.sweep]
            assert list(line.get_ydata()) == pytest.approx(scores)
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == ["0\nVLM", "0.3", "0.7", "1", "SFT", "DRIFT"]


def test_published_sweeps_are_behind_their_own_task_alone(drawn, figure, tmp_path):
    grey = [line for axis in figure.axes for line in axis.lines if line.get_color() == plots.GREY]
    assert (grey, degradation.caption(drawn[0])) == ([], "")
    questions = graded.simple_questions(4, "pope") + graded.simple_questions(4, "mathvista")
    for alpha in (0.0, 1.0):
        run = tmp_path / "qwen2_5_vl" / "runs" / f"merge-{alpha:.2f}"
        answers = graded.simple_answers(questions, [1, 0] * 4)
        made = synthetic.made("merge", method="linear", alpha=alpha)
        graded.write_run(run, questions, answers, made=made)
    synthetic.record(tmp_path)
    [block] = load.collect([tmp_path]).blocks
    [known] = [
        line
        for line in published.sweeps("qwen2_5_vl", "Qwen2.5-VL", ["pope"])
        if line.vlm == "Qwen2.5-VL-7B"
    ]
    seeing = plots.figure(degradation.single(block, [block])).axes[0]
    found = [
        [tuple(map(float, point)) for point in line.get_xydata()]
        for line in seeing.lines
        if line.get_color() == plots.GREY
    ]
    assert list(known.points) in found
    text = degradation.caption(block)
    assert "Qwen2.5-VL-7B on pope" in text and known.source in text


def test_things_differ_by_color_by_dashes_and_by_marker():
    for a, b in itertools.combinations(plots.STYLES, 2):
        assert a.color != b.color and a.dashes != b.dashes and a.marker != b.marker


def test_the_inline_plot_carries_no_style_and_no_ground(drawn):
    svg = plots.inline(degradation.single(drawn[0], drawn))
    assert svg.startswith("<svg") and "style=" not in svg and "<style" not in svg
    assert "currentColor" in svg and plots.INK not in svg and "width=" not in svg.split(">")[0]
    names = re.findall(r' id="(.*?)"', svg)
    assert len(names) == len(set(names))
    used = set(re.findall(r'href="#(.*?)"|url\(#(.*?)\)', svg))
    assert {a or b for a, b in used} <= set(names)


def test_without_a_sweep_no_degradation_is_drawn(pair):
    assert degradation.drawable(load.collect([pair]).blocks) == []


def test_names_from_outside_are_only_names():
    def draw():
        from matplotlib.figure import Figure

        made = Figure(figsize=(2, 1))
        made.subplots().set_title(plots.plain("<b>\u2028 $\\frac{1}$ 漢 & " + "x" * 99))
        return made

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = plots.inline(plots.Plot("x", "", "", draw))
    assert "<b>" not in svg and "&lt;b&gt; $\\frac{1}$" in svg.replace("&#x", "")


def test_plots_of_like_names_do_not_overwrite_each_other(study):
    material = load.collect([study])
    twice = [tables.compare(block) for block in material.blocks[:1]] * 2
    names = [plot.name for found in figures.of(material, twice).values() for plot in found]
    assert len(names) == len(set(names))
    assert {"cost_flops_qwen2_5_vl", "cost_flops_qwen2_5_vl_2"} <= set(names)


def test_a_merge_is_drawn_where_it_went_and_not_where_it_was_asked_to_go(study, tmp_path):
    """In bfloat16 half of a step may be lost; α names the merge, ρ is its place."""
    shutil.copytree(study, tmp_path / "s")
    for alpha, rho in ((0.3, 0.18), (0.7, 0.699)):
        (card,) = (tmp_path / "s").glob(f"qwen2_5_vl/runs/merge-{alpha:.2f}/run.json")
        content = json.loads(card.read_text())
        content["made"]["reached"] = {"rho": rho, "kept": rho / alpha}
        card.write_text(json.dumps(content))
    block = next(one for one in load.collect([tmp_path / "s"]).blocks if one.name == "qwen2_5_vl")
    assert [row.label for row in block.sweep][1:3] == ["merge α = 0.3, ρ = 0.18", "merge α = 0.7"]
    with plots._settings():
        figure = degradation.single(block, [block]).draw()
    drawn = [list(line.get_xdata()) for axis in figure.axes for line in axis.lines]
    assert [0.0, 0.18, 0.699, 1.0] in drawn and [0.0, 0.3, 0.7, 1.0] not in drawn
    assert figure.axes[-1].get_xlabel() == "share α of the reasoner, at the ρ that it reached"
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels[:4] == ["0\nVLM", "0.3\nρ 0.18", "0.7", "1"]


def test_the_ends_and_the_chosen_merge_are_named_before_others(study):
    block = load.collect([study]).blocks[0]
    near = dict(zip((0.0, 0.3, 0.7, 1.0), (0.0, 0.01, 0.05, 1.0), strict=True))
    sweep = tuple(dataclasses.replace(row, alpha=near[row.alpha]) for row in block.sweep)
    block = dataclasses.replace(block, sweep=sweep, choice=None)
    assert degradation._ticks(block, 1.0) == {0.0: "0\nVLM", 1.0: "1"}, "no room for the others"
