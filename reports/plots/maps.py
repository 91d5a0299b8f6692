"""How far the reasoner lies from the VLM, and how far each checkpoint went, by layer and module."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import UserError
from reports.plots import style
from reports.plots.style import INCHES, INK, Plot

OUTSIDE = "–"
"""Column of tensors that belong to no layer."""


@dataclass(frozen=True)
class Cell:
    """One square of a map."""

    layer: int | None
    """None outside the layers."""
    module: str
    value: float


@dataclass(frozen=True)
class Displacement:
    """One checkpoint against the line from the VLM to the reasoner."""

    checkpoint: str
    rho: float
    """The share of a linear merge that lies as far toward the reasoner."""
    cosine: float
    """Of the way gone and Δ."""
    moved: float
    """Length of the way gone, over that of Δ."""
    by_role: dict[str, float]
    cells: tuple[Cell, ...]
    """ρ of each tensor; empty where the file does not have it."""


@dataclass(frozen=True)
class Distances:
    """One `distance.json`."""

    name: str
    """Of the file, without the ending."""
    reasoner: str
    """Name of the checkpoint's folder."""
    relative_l2: float
    """‖reasoner − VLM‖ / ‖VLM‖ over attention and MLPs."""
    cosine: float
    cells: tuple[Cell, ...]
    """Relative L2 of each tensor."""
    warnings: tuple[str, ...]
    displacements: tuple[Displacement, ...]


def read(folder: Path) -> tuple[Distances, ...]:
    """Read every `*distance.json` of a family's folder, `distance.json` first.

    Raises:
        UserError: One of them is broken.
    """
    paths = sorted(folder.glob("*distance.json"), key=lambda p: (p.name != "distance.json", p.name))
    return tuple(map(_read, paths))


def _read(path: Path) -> Distances:
    try:
        content = json.loads(path.read_bytes())
        return Distances(
            name=path.stem,
            reasoner=Path(content["llm"]).name,
            relative_l2=float(content["total"]["relative_l2"]),
            cosine=float(content["total"]["cosine"]),
            cells=_cells(content["tensors"], "relative_l2"),
            warnings=tuple(map(str, content.get("warnings", ()))),
            displacements=tuple(map(_displacement, content.get("displacements") or ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not what `driftbench distance` writes: {error!r}") from error


def _displacement(row: dict[str, Any]) -> Displacement:
    return Displacement(
        checkpoint=Path(row["checkpoint"]).name,
        rho=float(row["rho"]),
        cosine=float(row["cosine"]),
        moved=float(row["moved"]),
        by_role={str(role): float(rho) for role, rho in row["by_role"].items()},
        cells=_cells(row.get("tensors") or (), "rho"),
    )


def _cells(rows: Iterable[dict[str, Any]], field: str) -> tuple[Cell, ...]:
    return tuple(Cell(row["layer"], _short(str(row["module"])), float(row[field])) for row in rows)


def _short(module: str) -> str:
    return module.removesuffix(".weight").removeprefix("self_attn.").removeprefix("mlp.")


def distance_plot(name: str, title: str, found: Distances) -> Plot:
    """How far apart the reasoner and the VLM are, a square a tensor."""
    text = (
        f"Relative L2 distance ‖{found.reasoner} − VLM‖ / ‖VLM‖ of each tensor. Attention and MLPs "
        f"together: {found.relative_l2:.4f}, cosine {found.cosine:.4f}."
    )
    file = f"{found.name}_{style.file_name(name)}"
    label = "relative L2"
    drawn = partial(_figure, [("", found.cells)], label, "cividis")
    return Plot(file, f"{title}: distance of {found.reasoner}", text, drawn)


def displacement_plot(name: str, title: str, found: Distances) -> Plot | None:
    """How far each checkpoint went toward the reasoner, a square a tensor, else a role."""
    whole = [one for one in found.displacements if one.cells]
    if whole:
        maps = [(f"{one.checkpoint}: ρ = {one.rho:.3f}", one.cells) for one in whole]
    elif found.displacements:
        maps = [("", tuple(_by_role(found.displacements)))]
    else:
        return None
    unit = "tensor" if whole else "module"
    text = (
        f"Displacement ρ = ⟨w − w₀, Δ⟩ / ‖Δ‖² of each {unit} toward {found.reasoner}: 0 is the "
        "VLM, and a linear merge of share α lies at ρ = α everywhere."
    )
    file = f"{found.name.replace('distance', 'displacement')}_{style.file_name(name)}"
    drawn = partial(_figure, maps, "ρ", "PuOr_r")
    return Plot(file, f"{title}: displacement", text, drawn)


def _by_role(displacements: Iterable[Displacement]) -> Iterable[Cell]:
    """Checkpoints down, roles across."""
    for one in displacements:
        for role, rho in one.by_role.items():
            yield Cell(role, one.checkpoint, rho)  # type: ignore[arg-type]


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


def _figure(maps: Sequence[tuple[str, tuple[Cell, ...]]], label: str, colors: str) -> Any:
    from matplotlib.figure import Figure

    grids = [grid(cells) for _, cells in maps]
    heights = [
        0.15 * len(modules) + (0.18 if title else 0)
        for (title, _), (modules, _, _) in zip(maps, grids, strict=True)
    ]
    figure = Figure(figsize=(INCHES, 0.5 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(maps), 1, squeeze=False, height_ratios=heights)[:, 0]
    known = [abs(v) for _, _, rows in grids for row in rows for v in row if v == v]
    top = max(known, default=0) or 1
    low = -top if colors == "PuOr_r" else 0
    for axis, (title, _), (modules, layers, values) in zip(axes, maps, grids, strict=True):
        shown = axis.pcolormesh(values, cmap=colors, vmin=low, vmax=top, linewidth=0)
        axis.invert_yaxis()
        axis.set_yticks([i + 0.5 for i in range(len(modules))], list(map(style.plain, modules)))
        each = max(1, len(layers) // 14)
        places = [i for i in range(len(layers)) if not i % each or layers[i] is None]
        names = [OUTSIDE if layers[i] is None else style.plain(str(layers[i])) for i in places]
        axis.set_xticks([i + 0.5 for i in places], names)
        axis.tick_params(length=0, labelsize=5.5, labelbottom=axis is axes[-1])
        axis.spines[:].set_visible(False)
        if title:
            axis.set_title(style.plain(title, 60), loc="left", pad=2)
        if len(layers) <= 8:
            _write(axis, values, top)
    if any(isinstance(layer, int) for _, layers, _ in grids for layer in layers):
        axes[-1].set_xlabel("layer")
    bar = figure.colorbar(
        shown, ax=list(axes), label=label, shrink=min(1, 1.2 / sum(heights)), aspect=12
    )
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=5.5, color=INK)
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
