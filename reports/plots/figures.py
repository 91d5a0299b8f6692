"""Every plot of a report, by the section of the page that it stands in."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from reports import headline
from reports.blocks import Block, Material
from reports.plots import categories, degradation, maps, pareto, training
from reports.plots.style import Plot
from reports.tables import Table

SECTIONS = ("headline", "merging", "categories", "cost", "distance", "training")
"""Of the page; those of `print` are files alone."""

CATEGORIES = 8
"""Plots of categories at most: each takes a second."""


def of(material: Material, counted: Sequence[Table]) -> dict[str, list[Plot]]:
    """Return what can be drawn of a report's material.

    Args:
        material: What was read.
        counted: The tables of its blocks, perhaps those of its categories.

    Returns:
        Section of the page → its plots; `print` holds what is a file alone.
    """
    swept = degradation.drawable(material.blocks)
    # Of several seeds the study's own figure says more than that of one of them.
    one_seed = len({part.seed for part in material.parts}) < 2
    scales = training.limits(log for block in material.blocks for log in block.logs)
    families: dict[str, Sequence[Sequence[Plot | None]]] = {
        "merging": [[degradation.single(block, swept)] for block in swept],
        "cost": pareto.plots([table for table in counted if not table.by_group]),
        "distance": list(_distances(material.blocks)),
        "training": [training.plots_of(b.name, b.title, b.logs, scales) for b in material.blocks],
    }
    plots: dict[str, list[Plot | None]] = {
        "headline": [headline.plot(counted)] if one_seed else [],
        "print": [degradation.together(swept)] if swept else [],
        "categories": [categories.plot(t) for t in counted if t.by_group][:CATEGORIES],
        **{name: _rows(own) for name, own in families.items()},
    }
    return _distinct({name: [plot for plot in found if plot] for name, found in plots.items()})


def _distances(blocks: Sequence[Block]) -> Iterator[list[Plot | None]]:
    """Of each family, all on one scale."""
    far, moved = maps.tops(found for block in blocks for found in block.distances)
    for block in blocks:
        named = [(block.name, block.title, found) for found in block.distances]
        yield [
            *(maps.distance_plot(*each, top=far) for each in named),
            *(maps.displacement_plot(*each, top=moved) for each in named),
        ]


def _rows(families: Sequence[Sequence[Plot | None]]) -> list[Plot | None]:
    """One kind of plot after the other, each of all families."""
    return [plot for row in itertools.zip_longest(*families) for plot in row]


def _distinct(plots: dict[str, list[Plot]]) -> dict[str, list[Plot]]:
    """No two plots of one name: names of tasks can come out alike as names of files."""
    taken: set[str] = set()

    def own(plot: Plot) -> Plot:
        name = next(n for n in _names(plot.name) if n not in taken)
        taken.add(name)
        return dataclasses.replace(plot, name=name)

    return {section: list(map(own, found)) for section, found in plots.items()}


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{i}" for i in itertools.count(2))
