"""How far the reasoner lies from the VLM, and how far each checkpoint went, by layer and module."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.typed import read_json
from drift.heat_map import Cell, figure, short
from reports.plots import style
from reports.plots.style import INCHES, Plot


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
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
        content = read_json(path)
        return Distances(
            name=path.stem,
            reasoner=Path(content["llm"]).name,
            relative_l2=float(content["total"]["relative_l2"]),
            cosine=float(content["total"]["cosine"]),
            cells=_cells(content["tensors"], "relative_l2"),
            warnings=tuple(map(str, content.get("warnings", ()))),
            displacements=tuple(map(_displacement, content.get("displacements") or ())),
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
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
    return tuple(
        Cell(row["layer"], style.plain(short(str(row["module"]))), float(row[field]))
        for row in rows
    )


def tops(found: Iterable[Distances]) -> tuple[float, float]:
    """The largest distance and the largest displacement of any square, for one scale of all."""
    known = [*found]
    moves = [move for one in known for move in one.displacements]
    far = [abs(cell.value) for one in known for cell in one.cells]
    moved = [abs(cell.value) for move in moves for cell in move.cells or _by_role([move])]
    return max(far, default=0.0), max(moved, default=0.0)


def distance_plot(name: str, title: str, found: Distances, *, top: float | None = None) -> Plot:
    """How far apart the reasoner and the VLM are, a square a tensor."""
    text = (
        f"Relative L2 distance ‖{found.reasoner} − VLM‖ / ‖VLM‖ of each tensor. Attention and MLPs "
        f"together: {found.relative_l2:.4f}, cosine {found.cosine:.4f}."
    )
    file = f"{found.name}_{style.file_name(name)}"
    label = "relative L2"
    drawn = partial(figure, [("", found.cells)], label, "cividis", INCHES, top=top)
    return Plot(file, f"{title}: distance of {found.reasoner}", text, drawn, title)


def displacement_plot(
    name: str, title: str, found: Distances, *, top: float | None = None
) -> Plot | None:
    """How far each checkpoint went toward the reasoner, a square a tensor, else a role."""
    whole = [one for one in found.displacements if one.cells]
    if whole:
        maps = [
            (style.plain(f"{one.checkpoint}: ρ = {one.rho:.3f}", 60), one.cells) for one in whole
        ]
    elif found.displacements:
        maps = [("", tuple(_by_role(found.displacements)))]
    else:
        return None
    unit = "tensor" if whole else "module"
    text = (
        f"Displacement ρ = ⟨w − w₀, Δ⟩ / ‖Δ‖² of each {unit} toward {found.reasoner}: 0 is the "
        "VLM, and a linear merge of share α lies at ρ = α everywhere, less what rounding loses."
    )
    file = f"{found.name.replace('distance', 'displacement')}_{style.file_name(name)}"
    drawn = partial(figure, maps, "ρ", "PuOr_r", INCHES, top=top)
    return Plot(file, f"{title}: displacement", text, drawn, title)


def _by_role(displacements: Iterable[Displacement]) -> Iterable[Cell]:
    """Checkpoints down, roles across."""
    for one in displacements:
        for role, rho in one.by_role.items():
            yield Cell(style.plain(role), style.plain(one.checkpoint), rho)  # type: ignore[arg-type]
