import itertools
import re

import pytest

from reports import collect, plots


@pytest.fixture(scope="module")
def drawn(study):
    return plots.drawable(collect.collect([study]).blocks)


def test_the_figure_is_the_same_bytes_each_time_and_fits_a_column(drawn, tmp_path):
    from PIL import Image

    for name in "ab":
        plots.degradation(drawn, tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == round(200 * plots.INCHES)
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    svg = (tmp_path / "a.svg").read_text()
    assert not re.search(r"<dc:date>|\d{4}-\d\d-\d\d", svg)


def test_a_matplotlibrc_of_the_user_changes_nothing(drawn):
    import matplotlib

    before = plots.inline(drawn[0], drawn)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.grid": True}):
        assert plots.inline(drawn[0], drawn) == before


def test_points_are_at_their_share_and_score(drawn):
    from matplotlib.figure import Figure

    block = drawn[0]
    axis = Figure().subplots()
    plots._panel(axis, block, plots.styles(drawn))
    lines = {line.get_color(): line for line in axis.lines if len(line.get_xdata()) == 4}
    for column in block.columns:
        line = lines[plots.styles(drawn)[column.title].color]
        assert list(line.get_xdata()) == [0.0, 0.3, 0.7, 1.0]
        scores = [100 * row.run.cells[column.key].score for row in block.sweep]
        assert list(line.get_ydata()) == pytest.approx(scores)
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels == ["0\nVLM", "0.3", "0.7", "1", "SFT", "DRIFT"]


def test_groups_differ_by_color_by_dashes_and_by_marker():
    for a, b in itertools.combinations(plots.STYLES, 2):
        assert a.color != b.color and a.dashes != b.dashes and a.marker != b.marker


def test_the_inline_panel_carries_no_style_and_no_ground(drawn):
    svg = plots.inline(drawn[0], drawn)
    assert svg.startswith("<svg") and "style=" not in svg and "<style" not in svg
    assert "currentColor" in svg and plots.INK not in svg and "width=" not in svg.split(">")[0]
    names = re.findall(r' id="(.*?)"', svg)
    assert len(names) == len(set(names))
    used = set(re.findall(r'href="#(.*?)"|url\(#(.*?)\)', svg))
    assert {a or b for a, b in used} <= set(names)


def test_without_a_sweep_there_is_nothing_to_draw(pair):
    assert plots.drawable(collect.collect([pair]).blocks) == []
