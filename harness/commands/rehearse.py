"""`driftbench rehearse`: whether a study fits its models and this machine, before it is begun."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from common.errors import UserError, near
from harness.commands.reproduce import Controls, Only, Out, Seeds, Settings, Start, Study

if TYPE_CHECKING:
    from harness.studies.rehearsal import Finding

FORMATS = ("text", "markdown", "json")
HEADS = ("step", "fits", "why")
ASSUMED = 81559 * 2**20
"""Bytes of an H100 of 80 GB, as `nvidia-smi` counts them."""


def rehearse(
    study: Study,
    out: Out = None,
    seeds: Seeds = 1,
    controls: Controls = False,
    only: Only = None,
    start: Start = None,
    gpus: Annotated[int, Option(min=1, help="GPUs that it would use.")] = 1,
    device_memory: Annotated[
        float | None,
        Option(
            min=1.0,
            metavar="GIB",
            help="Of each; default: that of the smallest here, or of an H100 of 80 GB.",
        ),
    ] = None,
    format: Annotated[str, Option(help="text, markdown or json.")] = "text",
    settings: Settings = None,
) -> None:
    """Tell which steps of a study fit models and machine.

    Nothing is trained, asked or written; of models only their papers and the names, shapes and
    types of their tensors are fetched. Exit status 1 where a step does not fit.
    """
    from harness.engines import gpus as gpus_here
    from harness.studies import load, plan, rehearsal, runner

    if format not in FORMATS:
        raise UserError(
            f"no format {format!r}; {near(format, FORMATS)}there are text, markdown, json"
        )
    made = load.load(study, seeds=seeds, controls=controls, settings=settings or ())
    runner.check_gpus(made, gpus)
    chosen = plan.choose(made, only or [], start)
    known, memory = "as given", round((device_memory or 0) * 2**30)
    if not memory:
        known, memory = "the smallest here", gpus_here.memory() or 0
    if not memory:
        known, memory = "as an H100 has it, since none is here to tell", ASSUMED
    here = len(gpus_here.visible())
    machine = rehearsal.Machine(gpus=gpus, memory=memory, known=known, here=here)
    found = rehearsal.rehearse(made, chosen, out or Path("runs") / Path(study).stem, machine)
    _print(found, format)
    raise typer.Exit(int(any(one.fits is False for one in found)))


def _print(found: "Sequence[Finding]", format: str) -> None:
    from common.terminal import print_table
    from common.text import in_markdown, markdown_table

    if format == "json":
        json.dump([asdict(one) for one in found], sys.stdout, indent=2)
        print()
        return
    rows = []
    for (fits, why), alike in groupby(found, key=lambda one: (one.fits, one.why)):
        names = [one.step for one in alike]
        last = f" … {names[-1].rpartition('/')[2]} ({len(names)} steps)" if names[1:] else ""
        rows.append((names[0] + last, {True: "yes", False: "NO", None: "?"}[fits], why))
    if format == "markdown":
        print(markdown_table(HEADS, [tuple(map(in_markdown, row)) for row in rows], "lll"))
        return
    print_table(HEADS, rows, "lll")
    counts = [sum(one.fits is fits for one in found) for fits in (True, False, None)]
    print(f"{counts[0]} fit, {counts[1]} do not, {counts[2]} could not be tried")
