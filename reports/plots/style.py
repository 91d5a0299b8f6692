"""What all plots share: styles that stay apart in print, the files, the element for the page.

Every figure is drawn at the width of a printed column, so that its text is read at its true size.
The same figure gives the same bytes.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

INCHES = 3.4
"""Width of a figure: one column of a two-column page."""

GROUND = "#fffffe"
"""White, but of no colour map: the page replaces it by its own ground."""

INK = "#1a1a19"
"""Text and axes; the page replaces it by its own text colour."""

GREY = "#8b8f94"
"""What stands behind; readable on white and on the page's dark ground."""


@dataclass(frozen=True)
class Style:
    """How one of several things is drawn: told apart by colour, by dashes and by marker."""

    color: str
    """Of Okabe and Ito's palette, which stays apart under colour blindness."""
    dashes: tuple[float, ...]
    """On and off lengths in points; empty for a solid line."""
    marker: str


STYLES = (
    Style("#0072b2", (), "o"),
    Style("#d55e00", (4, 1.5), "s"),
    Style("#009e73", (1.2, 1.2), "^"),
    Style("#cc79a7", (5, 1.5, 1.2, 1.5), "D"),
    Style("#e69f00", (2.5, 1), "v"),
    Style("#56b4e9", (7, 2), "P"),
)


@dataclass(frozen=True)
class Plot:
    """One plot of a report."""

    name: str
    """Of its files, without the ending."""
    title: str
    text: str
    """How to read it, a sentence or two."""
    draw: Callable[[], Any]
    """Makes the matplotlib figure."""
    family: str = ""
    """Whose it is: plots of one kind stand in a row, each family's in its own column."""


def styles(names: "list[str] | dict[str, Any]") -> dict[str, Style]:
    """Give each name its style; beyond six they repeat."""
    return {name: STYLES[i % len(STYLES)] for i, name in enumerate(names)}


def save(plot: Plot, folder: Path) -> str:
    """Write a plot as PNG (200 dots an inch) and SVG (text as outlines).

    Returns:
        The plot as an SVG element for a page: its text and axes take the page's colour.
    """
    with _settings():
        figure = plot.draw()
        figure.savefig(folder / f"{plot.name}.png", dpi=200, metadata={"Software": None})
        figure.set_layout_engine(None)  # it is laid out: not again for every file
        nothing = {"Date": None, "Creator": None}
        figure.savefig(folder / f"{plot.name}.svg", metadata=nothing)
        return _inline(figure)


def inline(plot: Plot) -> str:
    """Draw a plot as an SVG element for a page, as `save` returns it."""
    with _settings():
        return _inline(plot.draw())


def figure(plot: Plot) -> Any:
    """Draw a plot as a matplotlib figure that belongs to no window; a notebook shows it."""
    with _settings():
        drawn = plot.draw()
    # A notebook shows the figures of pyplot alone by itself.
    drawn._repr_png_ = partial(_png, drawn)
    return drawn


def _png(figure: Any) -> bytes:
    with _settings():
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def _inline(figure: Any) -> str:
    import matplotlib

    matplotlib.rcParams["svg.fonttype"] = "none"
    figure.patch.set_visible(False)
    for axis in figure.axes:
        axis.patch.set_visible(False)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(file.getvalue())


def _embedded(text: str) -> str:
    """The bare element: sized and coloured by the page, without inline style, which it forbids."""
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace(GROUND, "var(--ground)")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"\s*<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    # Names such as axes_1 would occur in every plot of the page; nothing refers to them.
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    return re.sub(r' style="([^"]*)"', lambda match: _attributes(match[1]), text)


def _attributes(style: str) -> str:
    pairs = [part.split(":", 1) for part in style.split(";") if ":" in part]
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs)


def log_ticks(axis: Any) -> None:
    """Label a logarithmic axis so that it is read: `500 G`, `0.1`; 1, 2, 5 of decades that are few.

    Args:
        axis: matplotlib's XAxis or YAxis, whose limits are set.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(EngFormatter() if low >= 1e3 else "{x:g}")
    axis.set_minor_formatter(NullFormatter())


def line(look: Style) -> dict[str, Any]:
    """A line through points."""
    return {
        "color": look.color,
        "linestyle": (0, look.dashes) if look.dashes else "-",
        "linewidth": 1.2,
        "marker": look.marker,
        "markersize": 3,
        "markeredgewidth": 0,
    }


def dot(look: Style) -> dict[str, Any]:
    """A point with its error."""
    return {
        "color": look.color,
        "linestyle": "none",
        "elinewidth": 0.7,
        "marker": look.marker,
        "markersize": 3.4,
        "markeredgewidth": 0,
    }


def file_name(text: str) -> str:
    """Turn any title into a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:60] or "unnamed"


def plain(text: str, limit: int = 28) -> str:
    """A name from outside as a label: matplotlib would read `$` as mathematics."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text.replace("$", r"\$").lstrip("_")


def head(axis: Any, title: str) -> None:
    """What a column of panels is of, above the first."""
    axis.set_title(in_lines(title), loc="left", fontweight="bold")


def in_lines(title: str) -> str:
    """A title in as many lines as it needs, broken behind commas where that will do."""
    parts = textwrap.wrap(re.sub("(?<!,) ", "\0", plain(title, 50)), 25, break_long_words=False)
    lines = [line for part in parts for line in textwrap.wrap(part.replace("\0", " "), 25)]
    return "\n".join(lines)


@contextmanager
def _settings() -> Iterator[None]:
    import matplotlib

    # A fixed salt for the names inside the SVG; without it every run writes other bytes.
    own: Any = {
        "svg.hashsalt": "driftbench",
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
        "font.size": 7,
        "axes.titlesize": 7.5,
        "axes.labelsize": 7,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "legend.fontsize": 6.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "figure.facecolor": GROUND,
        "axes.facecolor": GROUND,
        "savefig.facecolor": GROUND,
    }
    # The user's own matplotlibrc must not change the figure. To set a backend, even to what it is,
    # would import pyplot, which no figure here needs.
    defaults: Any = dict(matplotlib.rcParamsDefault)
    del defaults["backend"]
    with matplotlib.rc_context({**defaults, **own}), warnings.catch_warnings():
        # Names may hold any letter; the page and the tables show those that this font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield
