"""`driftbench report`: tables, plots and page from what is on disk."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from common.command_line import completing, placeable
from common.files import own_folder, refuse_file
from common.processes import no_garbage
from common.text import printable
from harness.commands.options import task_names

if TYPE_CHECKING:
    from reports.blocks import Material
    from reports.headline import Said
    from reports.plots.style import Plot
    from reports.study import Study
    from reports.tables import Table


def report(
    paths: Annotated[
        list[Path],
        Argument(metavar="PATH", help="A study folder, or run folders, or folders of them."),
    ],
    out: Annotated[Path, Option(callback=placeable, metavar="DIR", help="Folder for the report.")],
    baseline: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Run to compare with. Default: that of the study, else the first run.",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        Option(
            metavar="A,B",
            help="Only these, in this order. Default: all, but no validation split beside others.",
            autocompletion=completing(task_names),
        ),
    ] = None,
    title: Annotated[
        str | None, Option(metavar="TEXT", help="Of the page. Default: named after the runs.")
    ] = None,
) -> None:
    """Write tables, plots and a page from run folders.

    Writes index.html; comparison.md, .csv and .tex; scores.csv; cost.csv, published.csv and
    training.csv where there is something to say; merge_degradation.png and .svg of a sweep of
    merges; and in plots/ every plot of the page as PNG and SVG. Of a study of several seeds
    study.md and .tex say what it supports, and study_scores.csv, study_trials.csv and findings.csv
    hold all that they are made from. Pictures for which the page has
    no room lie in pictures/. Of tuning alone the page has what was tried and what was chosen.
    """
    wanted = None if tasks is None else tuple(filter(None, map(str.strip, tasks.split(","))))
    write(paths, out, baseline, tasks=wanted, title=title)


def write(
    paths: Sequence[Path],
    out: Path,
    baseline: str | None = None,
    *,
    tasks: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Make every file of the report aside, then move them to `out`.

    Args:
        paths: A study folder, or run folders.
        out: Folder for the report, made if missing; other files in it stay.
        baseline: Name of the run to compare with.
        tasks: The benchmarks to report; None: all but validation splits.
        title: Of the page; None: named after the runs.

    Raises:
        UserError: Something at the paths, or at `out`, is not as expected.
    """
    from common.progress import working
    from reports import headline, load, study_read, tables
    from reports.page import page
    from reports.plots import categories, figures

    refuse_file(out)
    with working("reading runs") as say:
        with no_garbage():
            material = load.collect(paths, baseline, tasks)
        material = replace(material, title=title or material.title)
        say("counting")
        over_seeds = study_read.of(material)
        counted = [tables.compare(block) for block in material.blocks]
        counted += [each for table in counted for each in categories.tables(table)]
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".report-", dir=out))
        try:
            told = over_seeds is not None and over_seeds.families
            said = [] if told else headline.sentences(counted)
            _put_tables(aside, material, counted, said=said)
            say("drawing")
            drawn = _put_plots(aside, figures.of(material, counted))
            lead = _put_study(aside, over_seeds) if over_seeds else ""
            say("writing the page")
            beside = aside / "pictures"
            files = [str(path.relative_to(aside)) for path in sorted(aside.rglob("*.*"))]
            with no_garbage():
                text = page.render(
                    material, counted, lead, said=said, drawn=drawn, beside=beside, files=files
                )
            _put(aside / "index.html", text)
            _move(aside, out)
        finally:
            shutil.rmtree(aside)
    _tell(counted, material.notes, said, out)


def _put_tables(
    folder: Path, material: "Material", counted: "Sequence[Table]", *, said: "Sequence[Said]"
) -> None:
    from reports import costs, formats, published
    from reports.plots import training

    known = [each for block in material.blocks for each in published.beside(block)]
    blocks = material.blocks
    parts = [formats.markdown(counted, material.notes, said), published.markdown(known)]
    _put(folder / "comparison.md", "\n".join([*filter(None, parts), costs.markdown(blocks)]))
    parts = [formats.latex(counted), published.latex(known), costs.latex(blocks)]
    _put(folder / "comparison.tex", "\n".join(filter(None, parts)))
    _put(folder / "comparison.csv", formats.differences_csv(counted))
    _put(folder / "scores.csv", formats.scores_csv(material))
    _put(folder / "cost.csv", costs.long_form(blocks))
    if known:
        _put(folder / "published.csv", published.long_form(known))
    if any(block.logs for block in blocks):
        _put(folder / "training.csv", training.long_form((b.name, b.logs) for b in blocks))


def _put_study(folder: Path, found: "Study") -> str:
    """Write what a study says over its seeds; return the head of the page."""
    from reports import study_csv, study_document
    from reports.page import study as study_page
    from reports.plots import study as study_plots
    from reports.plots import style

    planned = study_plots.plots(found)
    drawn = [(plot, style.save(plot, folder / "plots")) for plot in planned]
    named = [(f"plots/{plot.name}.png", f"{plot.title}. {plot.text}") for plot in planned]
    _put(folder / "study.md", study_document.markdown(found, named))
    if found.families:
        _put(folder / "study.tex", study_document.latex(found))
    for name, content in study_csv.files(found).items():
        _put(folder / name, content)
    return study_page.html(found, drawn)


def _put_plots(
    folder: Path, planned: "dict[str, list[Plot]]"
) -> "dict[str, list[tuple[Plot, str]]]":
    """Write the plots: those for print beside the tables, those of the page in `plots`."""
    from reports.plots import style

    own = folder / "plots"
    own.mkdir()
    return {
        section: [(plot, style.save(plot, folder if section == "print" else own)) for plot in found]
        for section, found in planned.items()
    }


def _move(aside: Path, out: Path) -> None:
    """Put the new files in place of the old; the page last, as it points to the others."""
    made = [(Path(folder), inner, names) for folder, inner, names in os.walk(aside)]
    for folder, inner, _ in made:
        for name in inner:
            own_folder(out / folder.relative_to(aside) / name)
    for folder, _, names in reversed(made):
        place = out / folder.relative_to(aside)
        for name in sorted(names, key="index.html".__eq__):
            os.replace(f"{folder}/{name}", f"{place}/{name}")


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _tell(
    counted: "Sequence[Table]", notes: Sequence[str], said: "Sequence[Said]", out: Path
) -> None:
    """Print what came out, what was chosen, what is missing, and where the page is."""
    from reports import tables

    for one in said:
        print(printable(f"{one.name}: {one.text}"))
    for note in notes:
        print(printable(note))
    for table in (table for table in counted if not table.by_group):
        for text in (tables.chosen(table.block), *table.notes):
            if text:
                print(printable(f"{table.title}: {text}"))
    print(f"wrote {out / 'index.html'}")
