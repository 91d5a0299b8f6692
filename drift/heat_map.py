"""Heat maps of a decoder: layers across, modules down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OUTSIDE = "–"
"""Column of tensors that belong to no layer."""


@dataclass(frozen=True)
class Cell:
    """One square of a map."""

    layer: int | None
    """None outside the layers."""
    module: str
    value: float


def short(module: str) -> str:
    """Return a module's name without what goes without saying."""
    return module.removesuffix(".weight").removeprefix("self_attn.").removeprefix("mlp.")


def grid(cells: Sequence[Cell]) -> tuple[list[str], list[Any], list[list[float]]]:
    """Modules down, layers across, nan where a module has no such layer."""
    modules = list(dict.fromkeys(cell.module for cell in cells))
    layers: list[Any] = list(dict.fromkeys(c.layer for c in cells if c.layer is not None))
    if all(isinstance(layer, int) for layer in layers):
        layers.sort()
    if any(cell.layer is None for cell in cells):
        layers.append(None)
    values = [[float("nan")] * len(layers) for _ in modules]
    for cell in cells:
        values[modules.index(cell.module)][layers.index(cell.layer)] = cell.value
    return modules, layers, values


def figure(
    maps: Sequence[tuple[str, tuple[Cell, ...]]],
    label: str,
    colors: str,
    inches: float,
    *,
    top: float | None = None,
) -> Any:
    """Draw maps one below the other, all on one scale.

    Args:
        maps: Title and squares of each; names are drawn as matplotlib reads them.
        label: Of the scale.
        colors: A colour map; of `PuOr_r` the middle is 0.
        inches: Width.
        top: End of the scale, to compare with other figures; None: the largest value drawn.
    """
    from matplotlib.figure import Figure

    grids = [grid(cells) for _, cells in maps]
    heights = [
        0.15 * len(modules) + (0.18 if title else 0)
        for (title, _), (modules, _, _) in zip(maps, grids, strict=True)
    ]
    figure = Figure(figsize=(inches, 0.5 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(maps), 1, squeeze=False, height_ratios=heights)[:, 0]
    known = [abs(v) for _, _, rows in grids for row in rows for v in row if v == v]
    top = top or max(known, default=0) or 1
    low = -top if colors == "PuOr_r" else 0
    for axis, (title, _), (modules, layers, values) in zip(axes, maps, grids, strict=True):
        shown = axis.pcolormesh(values, cmap=colors, vmin=low, vmax=top, linewidth=0)
        axis.invert_yaxis()
        axis.set_yticks([i + 0.5 for i in range(len(modules))], modules)
        each = max(1, len(layers) // 14)
        places = [i for i in range(len(layers)) if not i % each or layers[i] is None]
        names = [OUTSIDE if layers[i] is None else str(layers[i]) for i in places]
        axis.set_xticks([i + 0.5 for i in places], names)
        axis.tick_params(length=0, labelsize=5.5, labelbottom=axis is axes[-1])
        axis.spines[:].set_visible(False)
        if title:
            axis.set_title(title, loc="left", pad=2)
        if len(layers) <= 8:
            _write(axis, values, top)
    if any(isinstance(layer, int) for _, layers, _ in grids for layer in layers):
        axes[-1].set_xlabel("layer")
    bar = figure.colorbar(
        shown, ax=list(axes), label=label, shrink=min(1, 1.2 / sum(heights)), aspect=12
    )
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=5.5)
    return figure


def _write(axis: Any, values: Sequence[Sequence[float]], top: float) -> None:
    """The numbers themselves, where there is room; the ink is chosen by the square's colour."""
    for i, row in enumerate(values):
        for k, value in enumerate(row):
            if value == value:
                red, green, blue, _ = axis.collections[0].cmap(axis.collections[0].norm(value))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
                ink = "#fefefe" if dark else "#010101"  # not those that the page replaces
                axis.text(
                    k + 0.5,
                    i + 0.5,
                    f"{value:.2f}".replace("-", "−"),
                    fontsize=5,
                    color=ink,
                    ha="center",
                    va="center",
                )
