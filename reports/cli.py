"""`driftbench report`: tables, plot and page from what is on disk."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from reports.errors import UserError

if TYPE_CHECKING:
    from reports.tables import Table

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def report(
    paths: Annotated[
        list[Path],
        Argument(metavar="PATH", help="A study folder, or run folders, or folders of them."),
    ],
    out: Annotated[Path, Option(metavar="DIR", help="Folder for the report.")],
    baseline: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Run to compare with. Default: sft in a study, else the first run.",
        ),
    ] = None,
) -> None:
    """Compare runs: tables, the plot of merge degradation, and a page to read every answer on.

    Writes comparison.md, comparison.csv, comparison.tex, index.html and, where there is a sweep of
    merges, merge_degradation.png and merge_degradation.svg.
    """
    write(paths, out, baseline)


def write(paths: Sequence[Path], out: Path, baseline: str | None = None) -> None:
    """Make every file of the report aside, then move them to `out`.

    Args:
        paths: A study folder, or run folders.
        out: Folder for the report, made if missing; other files in it stay.
        baseline: Name of the run to compare with.

    Raises:
        UserError: Something at the paths, or at `out`, is not as expected.
    """
    from rich.console import Console

    from reports import collect, page, plots, tables

    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: expected a folder, or nothing there yet")
    with Console(stderr=True).status("reading runs") as status:
        material = collect.collect(paths, baseline)
        status.update("counting")
        counted = [tables.compare(block) for block in material.blocks]
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".report-", dir=out))
        try:
            _put(aside / "comparison.md", tables.markdown(counted, material.notes))
            _put(aside / "comparison.csv", tables.long_form(material, counted))
            _put(aside / "comparison.tex", tables.latex(counted))
            if drawn := plots.drawable(material.blocks):
                status.update("drawing")
                plots.degradation(
                    drawn, aside / "merge_degradation.png", aside / "merge_degradation.svg"
                )
            status.update("writing the page")
            _put(aside / "index.html", page.render(material, counted))
            for file in sorted(aside.iterdir()):
                file.replace(out / file.name)
        finally:
            shutil.rmtree(aside)
    _tell(counted, material.notes, out)


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _tell(counted: "Sequence[Table]", notes: Sequence[str], out: Path) -> None:
    """Print what was chosen, what is missing, and where the page is."""
    from reports import tables

    for note in notes:
        print(note)
    for table in counted:
        for text in (tables.chosen(table.block), *table.notes):
            if text:
                print(f"{table.block.title}: {text}")
    print(f"wrote {out / 'index.html'}")


def main() -> None:
    """Run the command; every foreseeable trouble is one sentence and a non-zero exit."""
    # `driftbench` hands the command over by its name.
    if sys.argv[1:2] == ["report"]:
        del sys.argv[1]
    sys.exit(_guarded())


def _guarded() -> int:
    try:
        status = app(prog_name="driftbench report", standalone_mode=False) or 0
    except UserError as error:
        return _say(str(error), 2)
    except typer._click.exceptions.UsageError as error:
        return _say(error.format_message(), 2)
    except OSError as error:
        return _say(f"{error.strerror or error}: {error.filename or 'no file'}", 2)
    # Typer turns an interrupt into this status and says nothing.
    return _say("interrupted; no report was written", 130) if status == 130 else status


def _say(sentence: str, status: int) -> int:
    print(f"driftbench: {sentence}", file=sys.stderr)
    return status
