"""`driftbench tasks`: what can be asked, and whether it loads."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from common.errors import UserError
from common.progress import counted
from common.terminal import print_table

if TYPE_CHECKING:
    from tasks import Row


def list_tasks(
    check: Annotated[
        bool, Option("--check", help="Load every task, offline where its files are in --data.")
    ] = False,
    data: Annotated[Path | None, Option(help="Folder of the tasks' files, for --check.")] = None,
) -> None:
    """List the tasks, or see whether they load.

    With --check the exit status is 2 if a task that finds its files does not load.
    """
    if data is not None and not check:
        raise UserError("--data is for --check")
    if check:
        _check(data)
    else:
        _list()


def _list() -> None:
    import tasks

    rows = []
    for name, source, protocols, parity in tasks.listed():
        own = (str(source.n), source.licence) if source else ("", "yours")
        rows.append((name, *own, ", ".join(protocols), parity))
    heads = ("task", "n", "licence", "protocols", "compared with published verdicts")
    print_table(heads, rows, "lrlll")
    for group, members in tasks.groups().items():
        print(f"{group} = {', '.join(members)}")


def _check(data: Path | None) -> None:
    import tasks

    found = []
    loaded, whole = 0, True
    names = tasks.names()
    for name in counted("loading tasks", names, len(names)):
        source = tasks.load(name).source
        rows: Sequence[tasks.Row] = ()
        try:
            rows = tasks.load(name).rows(data)
            troubles = list(_shortcomings(name, rows))
            whole = whole and not troubles
        except UserError as error:
            troubles = [str(error)]
            whole = whole and (data is not None or source is None)
        loaded += bool(rows)
        n = str(source.n) if source else ""
        found.append((name, str(len(rows) or ""), n, "; ".join(troubles) or "ok"))
    print_table(("task", "rows", "n", ""), found, "lrrl")
    print(f"{loaded} of {len(names)} load")
    raise typer.Exit(0 if whole and loaded else 2)


def _shortcomings(name: str, rows: "Sequence[Row]") -> Iterator[str]:
    """Yield what rows lack that were loaded; pictures are not counted: they may lie elsewhere."""
    import tasks
    from tasks.data import first

    task = tasks.load(name)
    if task.source is not None and len(rows) != task.source.n:
        yield f"{len(rows)} rows, expected {task.source.n}"
    for protocol in task.protocols:
        own = tasks.load(name, protocol)
        for what, function in (("prompt", own.to_prompt), ("groups", own.groups)):
            broken = {row["id"]: error for row in rows if (error := _breaks(function, row))}
            if broken:
                names, reason = first(list(broken)), next(iter(broken.values()))
                yield f"{protocol}: no {what} for {len(broken)} rows ({names}): {reason}"


def _breaks(function: "Callable[[Row], object]", row: "Row") -> str:
    """Return why a function of a row fails, empty where it does not."""
    try:
        function(row)
    except KeyError as error:
        return f"no field {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
