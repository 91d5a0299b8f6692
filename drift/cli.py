"""The command line: `driftbench prior | distance | train | families`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from common import imports
from common.command_line import completing, placeable
from common.errors import UserError
from common.hub import link, local
from common.progress import working
from common.terminal import print_next
from common.tracking import trackers
from drift.options import Base, Llm, Out, Overwrite, ReportTo, Seed, Vlm, roles


def _recipes() -> list[str]:
    from drift.training.config import bundled

    return bundled()


def prior(
    vlm: Vlm,
    llm: Llm,
    out: Out,
    variant: Annotated[
        str, typer.Option(help="reasoner-vlm, reasoner-base, random, shuffled or negated.")
    ] = "reasoner-vlm",
    base: Base = None,
    modules: Annotated[
        str, typer.Option(help="Kinds of tensors that get a difference.")
    ] = "attention,mlp,norm",
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16",
    rank: Annotated[
        int | None, typer.Option(help="Store each matrix as its best approximation of this rank.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Store what LLM has beyond the language model of VLM."""
    from drift import delta as priors

    kinds = roles(modules)
    vlm, llm, base = local(vlm), local(llm), base and local(base)
    with working("pairing"):
        made = priors.build(
            vlm,
            llm,
            variant,  # type: ignore[arg-type]
            base=base,
            roles=kinds,
            dtype=dtype,
            seed=seed,
        )
    for line in made.warnings:
        print(f"warning: {line}")
    error = priors.save(made, out, overwrite, rank)
    print(f"{out}: {variant}, {len(made.shapes)} tensors of {made.family}")
    if error is not None:
        worst = max(error.tensors, key=lambda name: error.tensors[name])
        print(
            f"  of rank {rank}: {error.total:.1%} of the prior's norm is lost, at most "
            f"{error.tensors[worst]:.1%} ({worst})"
        )


def train(
    context: typer.Context,
    recipe: Annotated[
        str,
        typer.Argument(
            help="YAML file, or a bundled one such as qwen2_5_vl_drift.",
            autocompletion=completing(_recipes),
        ),
    ],
    out: Annotated[Path | None, typer.Option(callback=placeable, help="Folder to write.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value, winning over the recipe; may be repeated."),
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used, by name.")
    ] = False,
    overwrite: Overwrite = False,
    report_to: ReportTo = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell what memory it takes, and what fits; train not.")
    ] = False,
    device_memory: Annotated[
        float | None,
        typer.Option(min=0.001, help="GiB of a GPU, for --plan; without it, of the one here."),
    ] = None,
) -> None:
    """Fine-tune a VLM: SFT, DRIFT or GRPO, as the recipe says.

    DRIFT is what a recipe with a prior does, GRPO what one with a reward does.
    """
    from drift.training import config as recipes

    names = trackers(report_to)
    given = recipes.from_settings(settings or [])
    config = recipes.load(recipe, given | ({"skip_bad_rows": True} if skip_bad_rows else {}))

    if plan:
        with working("planning"):
            from drift.training import plan as plans

            plans.tell(config, device_memory)
        return
    if out is None:
        raise UserError("train needs --out, the folder to write (or --plan, which writes nothing)")
    # TRL, which a reward needs, hands transformers a data set; rows of files find it again.
    lean = imports.lean(*(() if config.reward else ("datasets",)))
    with working("starting to train"), lean:
        from drift.training.trainer import train as run

    rule = context.obj and context.obj(config.reward)
    run(config, out, overwrite, rule, report_to=names)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"{out}: the checkpoint, made.json (of what, how, at what cost), drift_log.jsonl")
        print_next("eval", out, "--tasks", "…", "--out", f"runs/{out.name}")


def distance(
    vlm: Vlm,
    llm: Llm,
    out: Annotated[Path, typer.Option(callback=placeable, help="JSON file to write.")],
    plot: Annotated[
        Path | None, typer.Option(callback=placeable, help="Also a heat map, PNG or SVG.")
    ] = None,
    of: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also how far this checkpoint or adapter, made from VLM, has gone toward LLM."
        ),
    ] = None,
    modules: Annotated[
        str, typer.Option(help="Kinds of tensors that count for --of.")
    ] = "attention,mlp",
) -> None:
    """Tell how far LLM lies from the language model of VLM."""
    from dataclasses import replace

    from drift import distance as distances
    from drift.displacement import displacement

    counted = roles(modules)
    vlm, llm = local(vlm), local(llm)
    with working("reading both models") as say:
        gone = tuple(displacement(vlm, llm, local(made), counted) for made in of or ())
        found = replace(distances.measure(vlm, llm), displacements=gone)
        distances.save(found, out)
        if plot is not None:
            say("drawing")
            distances.heat_map(found, plot)
    print(distances.table(found))
    print(f"wrote {out}" + (f" and {plot}" if plot else ""))
    print_next("merge", vlm, llm, "--alphas", "0,0.1,0.3,0.5", "--out-dir", "…")


def fetch(
    place: Annotated[str, typer.Argument(help="owner/name[@revision] on the hub, or a folder.")],
    out: Annotated[Path, typer.Option(callback=placeable, help="Link to lay to it.")],
    data: Annotated[bool, typer.Option("--data", help="It is a data set, not a model.")] = False,
    written_by: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="Of a data set: note what this model took, at least, to write it."
        ),
    ] = None,
    rows: Annotated[
        str, typer.Option(metavar="FILE", help="That holds its rows, where it has several.")
    ] = "",
) -> None:
    """Get a model or a data set from the hub's cache or the hub, and lay a link to it.

    With --written-by a note beside the link, OUT.made.json, tells what the answers took to sample,
    and training on them counts it.
    """
    if written_by and not data:
        raise UserError("--written-by is of a data set: add --data")
    print(f"{out} -> {link(place, out, 'dataset' if data else 'model')}")
    if written_by:
        from drift.training import authorship

        made = authorship.write(out / rows, local(written_by), written_by.name, out)
        cost = made.cost or {}
        print(f"{out}: {cost['tokens']:,} tokens of {written_by.name}, {cost['flops']:.2g} FLOP")


def noisy(
    data: Annotated[str, typer.Argument(help="Rows, as `train` takes them.")],
    out: Out,
    seed: Seed = 0,
) -> None:
    """Write rows and as many again with answers that belong to other questions."""
    from drift.training import noise

    count = noise.write(local(data, "dataset"), out, seed)
    print(f"{out}: {count} rows, the second half noise")


def families(
    check: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--check", metavar="VLM LLM", help="Pair these two, tensor by tensor."),
    ] = None,
) -> None:
    """List the families of VLMs, or check a pair."""
    if check is None:
        _print_families()
        return
    from drift import compatibility
    from drift.pairing import pair

    vlm, llm = map(local, check)
    with working("pairing"):
        found = pair(vlm, llm)
        notes = [*found.notes, *compatibility.warnings(vlm, llm)]
    print(f"{found.family.name}: {len(found.weights)} tensors paired")
    for note in notes:
        print(f"  {note}")


def _print_families() -> None:
    from rich.console import Console
    from rich.table import Table

    from drift.families import FAMILIES
    from drift.published import PUBLISHED

    columns = ("family", "model_type", "decoder on disk", "partner", "published pairs checked")
    table = Table(*columns, box=None, pad_edge=False)
    for family in FAMILIES:
        pairs = [
            f"{one.vlm.split('/')[1]} + {one.llm.split('/')[1]}"
            for one in PUBLISHED
            if one.model_type == family.model_type
        ]
        table.add_row(
            family.name,
            family.model_type,
            "\n".join(f"{prefix}layers.*" for prefix, _ in family.layouts),
            ", ".join(family.text_types),
            "\n".join(pairs) or "-",
        )
    # Nothing is cut off in a file or a pipe.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
