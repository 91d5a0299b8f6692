"""`driftbench sweep`: how a merge does at every weight, through one engine."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from common.command_line import placeable
from common.errors import UserError
from common.hub import local
from drift.options import Method
from harness.commands.evaluate import carry_out
from harness.commands.options import RunOptions, chosen, with_run_options


@with_run_options
def sweep(
    vlm: Annotated[str, Argument(metavar="VLM", help="The VLM: folder or hub id.")],
    llm: Annotated[
        str,
        Argument(
            metavar="OTHER",
            help="A text-only reasoner, another VLM of the family, or a prior: folder or hub id.",
        ),
    ],
    alphas: Annotated[str, Option(metavar="A,B", help="Shares of OTHER, 0 … 1.")],
    options: RunOptions,
    method: Method = "linear",
    base: Annotated[
        str | None, Option(help="The model that both came from, where needed: folder or hub id.")
    ] = None,
    density: Annotated[
        float | None, Option(help="Share of entries kept by ties, dare_*; default: 0.5.")
    ] = None,
    layers: Annotated[str, Option(help="Layers to swap: 0,1,2 (layer_swap).")] = "",
    modules: Annotated[
        str | None,
        Option(help="Kinds that are merged; default: attention,mlp,norm, of two VLMs everything."),
    ] = None,
    merge_seed: Annotated[int, Option(min=0, help="Of what dare_* draws.")] = 0,
    best: Annotated[
        Path | None,
        Option(
            callback=placeable,
            metavar="DIR",
            help="Write the merge that scored highest as a checkpoint.",
        ),
    ] = None,
) -> None:
    """Ask merges of VLM and OTHER at several shares.

    One vLLM engine takes the merges one after the other; none is written. --out gets a run folder
    for each share, merge-0.10 and so on. With --best the share is tuned: choose it on a validation
    split, and score its checkpoint on the test.
    """
    from drift.merge import usual_modules
    from drift.merge_methods import Recipe, density_for
    from drift.options import numbers, roles
    from harness.evaluate import merge_sweep

    shares = numbers(alphas, float, "--alphas")
    if best is not None and best.exists():
        raise UserError(f"--best {best} exists already: choose a new folder")
    if best is not None and (options.shard or options.dry_run):
        raise UserError("--best compares whole runs: give it without --shard and --dry-run")
    if options.engine in ("hf", "server"):
        raise UserError("merges are loaded into vLLM alone: choose --engine vllm or ray")
    what = chosen(options)
    chosen_roles = roles(modules) if modules else None
    recipe = Recipe(
        method=method,  # type: ignore[arg-type]
        density=density_for(method, density),
        swap_layers=numbers(layers, int, "--layers") if layers else (),
        seed=merge_seed,
        modules=chosen_roles or usual_modules(local(vlm), local(llm)),
    )
    points = merge_sweep.merges(vlm, llm, recipe, shares, base, template=options.chat_template)
    folders = [options.out / point.name for point in points]
    out = options.out if len(points) > 1 else folders[0]
    what = replace(what, engine="vllm" if what.engine == "auto" else what.engine)
    carry_out(points, out, options, what, dropped=("--best",))
    if best is not None:
        alpha, scores = merge_sweep.best(folders, shares)
        merge_sweep.write(points[shares.index(alpha)], best)
        print(f"{best}: alpha {alpha:g}, the highest mean score ({100 * max(scores):.1f})")
