import math

import pytest

from reports.plots import forest, style


def effect(label, difference, width=0.02, *, supported=False, **place):
    ends = {"low": difference - width, "high": difference + width}
    return forest.Effect(label=label, difference=difference, supported=supported, **(ends | place))


@pytest.fixture
def drawn():
    """Two families, two groups; `merge` was not run in the second family."""
    effects = [
        effect("DRIFT", 0.1, supported=True, family="A", group="reasoning"),
        effect("merge", -0.03, family="A", group="reasoning"),
        effect("DRIFT", 0.4, supported=True, family="B", group="reasoning"),
        effect("DRIFT", 0.0, low=math.nan, high=math.inf, family="A", group="perception"),
        effect("DRIFT", -0.01, family="B", group="perception"),
    ]
    with style._settings():
        figure = forest.figure(effects, "points above SFT")
        figure.canvas.draw()
    return figure


def marks(axis):
    """Height → place, and whether it is filled."""
    found = [line for line in axis.lines if line.get_marker() == "o"]
    return {
        line.get_ydata()[0]: (
            round(line.get_xdata()[0], 6),
            line.get_markerfacecolor() != style.GROUND,
        )
        for line in found
    }


def test_families_are_columns_and_a_name_stands_on_one_height_in_all(drawn):
    a, b, c, d = drawn.axes
    assert [axis.get_title(loc="left") for axis in drawn.axes] == ["A", "B", "", ""]
    assert [text.get_text() for text in a.get_yticklabels()] == ["reasoning", "DRIFT", "merge"]
    assert list(a.get_yticks()) == [-1, 0, 1] and a.get_ylim() == b.get_ylim()
    assert marks(a) == {0: (10, True), 1: (-3, False)}
    assert marks(b) == {0: (40, True)}, "the place of what was not run stays empty"
    assert (marks(c), marks(d)) == ({0: (0, False)}, {0: (-1, False)})
    assert drawn.get_supxlabel() == "points above SFT"
    assert a.get_position().x0 == c.get_position().x0 < b.get_position().x0


def test_panels_of_a_row_share_a_scale_and_rows_do_not(drawn):
    a, b, c, d = drawn.axes
    assert a.get_xlim() == b.get_xlim() != c.get_xlim() == d.get_xlim()
    assert a.get_xlim()[0] < -5 and a.get_xlim()[1] > 42


def test_intervals_are_drawn_where_they_are_known(drawn):
    bars = [[list(x.get_xdata()) for x in axis.lines[1::2]] for axis in drawn.axes]
    assert [[[round(end, 6) for end in bar] for bar in own] for own in bars] == [
        [[8, 12], [-5, -1]],
        [[38, 42]],
        [[0, 0]],
        [[-3, 1]],
    ]


def test_one_family_fits_a_printed_column_and_hollow_takes_the_ground_of_the_page():
    plot = style.Plot("x", "", "", lambda: forest.figure([effect("DRIFT", 0.1)], "points"))
    assert style.figure(plot).get_size_inches()[0] == style.INCHES
    assert "var(--ground)" in style.inline(plot)
