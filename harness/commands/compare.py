"""`driftbench compare` and `agree`: is one run better than another, do two protocols agree."""

import dataclasses
import glob
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from common.errors import UserError, near
from common.terminal import console
from common.text import (
    csv_text,
    in_latex,
    in_markdown,
    p_value,
    percent,
    printable,
    probability,
    signed,
)
from harness.statistics.resampling import LEVEL

if TYPE_CHECKING:
    from harness.statistics.compare import Comparison, Row
    from harness.statistics.sides import Side

FORMATS = ("text", "markdown", "latex", "csv", "json")


def compare(
    runs: Annotated[
        list[str],
        Argument(
            metavar="A B...",
            help="Run folders, the baseline first; NAME=RUN,RUN... is a method by training seed.",
        ),
    ],
    baseline: Annotated[
        str | None, Option(metavar="NAME", help="Compare with this one; default: the first.")
    ] = None,
    tasks: Annotated[
        str | None, Option(metavar="A,B", help="Default: all that the baseline answered.")
    ] = None,
    groups: Annotated[
        bool, Option("--groups", help="Compare the groups of each task too.")
    ] = False,
    metric: Annotated[
        str, Option(metavar="mean|maj|pass@K", help="Of several answers to a question.")
    ] = "mean",
    protocol: Annotated[
        str | None, Option(help="Whose verdicts: official, vlmevalkit, robust; default: the run's.")
    ] = None,
    format: Annotated[str, Option(metavar="|".join(FORMATS), help="What to print.")] = "text",
) -> None:
    """Say whether runs differ, and how surely.

    The difference to the baseline is of the same questions. p is of the exact McNemar test, or of
    flipping the differences of whole clusters where questions share a problem or a picture, or
    have several answers; p (Holm) is corrected for all differences shown. "finds" is the smallest
    difference that as many questions find four times in five, "settles" the questions that a
    difference of the size seen would take, "flips" those on which the two differ.
    """
    from harness.statistics import compare as comparison
    from harness.statistics import pass_at_k

    if format not in FORMATS:
        raise UserError(
            f"there is no format {format!r}: {near(format, FORMATS)}the formats are "
            f"{', '.join(FORMATS)}"
        )
    try:
        pass_at_k.score_of(metric)
    except ValueError as error:
        raise UserError(str(error)) from error
    sides = _sides(runs, protocol)
    base = _baseline(sides, baseline)
    others = [side for side in sides if side is not base]
    if not others:
        raise UserError(f"there is only {base.name}: name a second run to compare with it")
    wanted = _tasks(base, sides, tasks)
    found = comparison.compare(base, others, wanted, metric=metric, groups=groups)
    {"text": _text, "markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}[format](
        found
    )


# What to compare


def _sides(words: Sequence[str], protocol: str | None) -> "list[Side]":
    """Read what is to be compared: run folders, folders of them, methods by seed."""
    from harness.statistics.sides import Side, read_run, short_names

    named: list[tuple[str | None, list[Path]]] = []
    for word in words:
        name, sign, rest = word.partition("=")
        if sign and not Path(word).exists():
            if not name or not rest:
                raise UserError(f"{word!r} is not NAME=RUN,RUN")
            paths = [path for part in rest.split(",") for path in _paths(part)]
            named.append((name, [run for path in paths for run in _run_folders(path)]))
        else:
            found = [run for path in _paths(word) for run in _run_folders(path)]
            named += [(None, [run]) for run in found]
    folders = [folder for _, found in named for folder in found]
    short = dict(zip(folders, short_names(folders), strict=True))
    sides = []
    for label, found in named:
        read = tuple(read_run(folder, short[folder], protocol) for folder in found)
        if bare := [run.folder for run in read if not run.verdicts]:
            raise UserError(
                f"{bare[0]} has no verdict yet: `driftbench score {bare[0]}` makes them"
            )
        sides.append(Side(label or short[found[0]], read))
    names = [side.name for side in sides]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two sides of the comparison are named {twice[0]}")
    return sides


def _paths(word: str) -> list[Path]:
    if Path(word).exists() or not glob.has_magic(word):
        return [Path(word)]
    found = sorted(glob.glob(word))
    if not found:
        raise UserError(f"nothing matches {word}")
    return [Path(path) for path in found]


def _run_folders(path: Path) -> list[Path]:
    """Return the folder if it is a run, else the runs right in it."""
    from harness.statistics.sides import run_folders

    if not path.is_dir():
        hint = near(path.name, [card.parent.name for card in path.parent.glob("*/run.json")])
        raise UserError(f"there is no run folder {path}{': ' + hint.rstrip() if hint else ''}")
    found = run_folders(path)
    if not found:
        raise UserError(f"{path} is not a run folder: it has no run.json, nor have folders in it")
    return found


def _baseline(sides: "Sequence[Side]", name: str | None) -> "Side":
    names = [side.name for side in sides]
    if name is None:
        return sides[0]
    if name not in names:
        raise UserError(
            f"no side is named {name!r}: {near(name, names)}there are {', '.join(names)}"
        )
    return sides[names.index(name)]


def _tasks(baseline: "Side", sides: "Sequence[Side]", wanted: str | None) -> list[str]:
    from harness.statistics.compare import task_names

    known = list(dict.fromkeys(name for side in sides for name in task_names(side)))
    if wanted is None:
        return task_names(baseline)
    names = list(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise UserError(
                f"none of the runs answered {name!r}: {near(name, known)}there are answers to "
                f"{', '.join(known)}"
            )
    if not names:
        raise UserError(f"--tasks names none: there are answers to {', '.join(known)}")
    return names


# As text

HEADS = "run|n|score|difference|95 % interval|p|p (Holm)|finds|settles|flips".split("|")


NARROW = ("run", "n", "score", "difference", "p (Holm)")
"""Those that a terminal of 80 columns has room for."""

WIDE = 110
"""Columns that all of them take, with names of middling length."""


def _columns(row: "Row") -> list[str]:
    """Return the cells of a row under `HEADS`; differences in points."""
    known = math.isfinite(row.low)
    return [
        row.name,
        f"{row.n:,}",
        f"{percent(row.score)} ± {percent(row.stderr)}",
        f"{signed(row.difference)} ± {percent(row.difference_stderr)}",
        f"{signed(row.low)} to {signed(row.high)}" if known else "?",
        p_value(row.p),
        p_value(row.p_holm),
        percent(row.detectable) if math.isfinite(row.detectable) else "–",
        "–" if row.needed is None else f"{row.needed:,}",
        "" if row.above is None else f"+{row.above:,} −{row.below:,}",
    ]


def _base_columns(row: "Row") -> list[str]:
    score = f"{percent(row.baseline_score)} ± {percent(row.baseline_stderr)}"
    return [row.baseline, f"{row.n:,}", score, *[""] * (len(HEADS) - 3)]


def _table(rows: "Sequence[Row]") -> Iterator[tuple[str, list[str]]]:
    """Yield task (and group) and cells of each line: per task the baseline, then the others."""
    last: tuple[str, str, int] | None = None
    for row in rows:
        where = row.task if row.group == "all" else f"{row.task}, {row.group}"
        # A side that answered other questions is compared on others: the baseline once more.
        if (row.task, row.group, row.n) != last:
            yield where, _base_columns(row)
        last = row.task, row.group, row.n
        yield where, _columns(row)


def _sentence(row: "Row", among: int) -> str:
    """Say in words what one difference shows."""
    side = "above" if row.difference > 0 else "below"
    moved = f"{percent(abs(row.difference))} points {side} {row.baseline}"
    if not row.difference:
        moved = f"level with {row.baseline}"
    p = probability(row.p_holm)
    p += f" after Holm for {among}" if among > 1 else ""
    shared = f"{row.n:,} questions"
    if row.clusters < row.n:
        shared += f" in {row.clusters:,} clusters"
    text = f"{row.task}: {row.name} is {moved}: {row.finding} ({shared}, {p})."
    if row.finding == "supported":
        return text
    if row.finding == "cannot be told":
        return f"{text} They came out differently on too few questions for any test."
    if math.isfinite(row.detectable):
        text += f" So many find {percent(row.detectable)} points four times in five"
        if row.needed is not None and row.needed > row.n:
            text += f"; a true difference as small as this takes about {row.needed:,}"
        text += "."
    return text


def _caption(found: "Comparison") -> list[str]:
    among = len(found.rows)
    score = {"mean": "accuracy", "maj": "accuracy of the most frequent answer"}
    texts = [
        f"Scores are {score.get(found.metric, found.metric)} in percent ± standard error; "
        "differences in points, paired on the same questions. Unparsed, truncated and failed "
        "answers count as wrong."
    ]
    if among > 1:
        texts.append(
            f"p (Holm) is corrected for these {among} differences; what they find and what settles "
            f"them is at the level {LEVEL / among:.2g}."
        )
    if found.groups:
        texts.append(
            f"The {len(found.groups)} differences of groups are corrected among themselves."
        )
    return texts


# What to print


def _text(found: "Comparison") -> None:
    from rich.table import Table
    from rich.text import Text

    heads = [head for head in HEADS if console().width >= WIDE or head in NARROW]
    for rows in (found.rows, found.groups):
        if not rows:
            continue
        table = Table("task", *heads, box=None)
        for column in table.columns[2:]:
            column.justify = "right"
        last = None
        for where, cells in _table(rows):
            shown = [cell for head, cell in zip(HEADS, cells, strict=True) if head in heads]
            table.add_row(*(Text(printable(c)) for c in ("" if where == last else where, *shown)))
            last = where
        console().print(table)
    if len(heads) < len(HEADS):
        print(f"a terminal of {WIDE} columns shows more, --format csv everything")
    for text in _sentences(found):
        print(printable(text))
    for row in found.groups:
        if row.finding == "supported":
            print(printable(_sentence(row, len(found.groups)).replace(":", f", {row.group}:", 1)))
    for note in (*_caption(found), *found.notes):
        print(printable(note))


def _markdown(found: "Comparison") -> None:
    for rows in (found.rows, found.groups):
        if not rows:
            continue
        print("| task |", " | ".join(HEADS), "|")
        print("| --- | --- |", "---: | " * (len(HEADS) - 1))
        for where, cells in _table(rows):
            print("|", " | ".join(map(in_markdown, (where, *cells))), "|")
        print()
    for text in (*_sentences(found), *_caption(found), *found.notes):
        print("-", in_markdown(text))


def _sentences(found: "Comparison") -> list[str]:
    return [_sentence(row, len(found.rows)) for row in found.rows]


def _latex(found: "Comparison") -> None:
    print("% Needs \\usepackage{booktabs}.")
    for rows in (found.rows, found.groups):
        if not rows:
            continue
        print(rf"\begin{{tabular}}{{ll{'r' * (len(HEADS) - 1)}}}", r"\toprule", sep="\n")
        print(" & ".join(map(in_latex, ("task", *HEADS))), r"\\")
        last = None
        for where, cells in _table(rows):
            if where != last:
                print(r"\midrule")
            print(" & ".join(map(in_latex, ("" if where == last else where, *cells))), r"\\")
            last = where
        print(r"\bottomrule", r"\end{tabular}", sep="\n")
    for text in (*_sentences(found), *_caption(found), *found.notes):
        print("%", in_latex(text))


def _plain(row: "Row") -> dict[str, Any]:
    """Return a row's fields; what is not known or infinite as None."""
    fields = dataclasses.asdict(row)
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


def _csv(found: "Comparison") -> None:
    rows = [dataclasses.asdict(row) for row in (*found.rows, *found.groups)]
    sys.stdout.write(csv_text(list(rows[0]), rows))


def _json(found: "Comparison") -> None:
    content = {
        "baseline": found.baseline,
        "metric": found.metric,
        "rows": [_plain(row) for row in found.rows],
        "groups": [_plain(row) for row in found.groups],
        "sentences": _sentences(found),
        "notes": list(found.notes),
    }
    print(json.dumps(content, indent=2, ensure_ascii=False))
