"""`driftbench sweep`: how a merge does at every weight, through one engine."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from common.errors import UserError
from harness.commands.cells import print_cells
from harness.commands.options import Context, GpuMemory, TensorParallel, chosen_engine, chosen_tasks


def sweep(
    vlm: Annotated[str, Argument(metavar="VLM", help="The VLM: folder or hub id.")],
    llm: Annotated[str, Argument(metavar="LLM", help="The text-only reasoner: folder or hub id.")],
    alphas: Annotated[str, Option(metavar="A,B", help="Shares of the reasoner, 0 … 1.")],
    tasks: Annotated[str, Option(metavar="A,B", help="What to ask of each merge.")],
    out: Annotated[Path, Option(help="Gets a run folder for each share, merge-0.10 and so on.")],
    method: Annotated[
        str,
        Option(help="linear, task_arithmetic, slerp, ties, dare_linear, dare_ties or layer_swap."),
    ] = "linear",
    base: Annotated[
        str | None, Option(help="The model that both came from, where needed: folder or hub id.")
    ] = None,
    density: Annotated[float, Option(help="Share of entries kept by ties, dare_*.")] = 0.5,
    layers: Annotated[str, Option(help="Layers to swap: 0,1,2 (layer_swap).")] = "",
    modules: Annotated[
        str, Option(help="Kinds of tensors that are merged.")
    ] = "attention,mlp,norm",
    seed: Annotated[int, Option(min=0, help="Of what dare_* draws.")] = 0,
    best: Annotated[
        Path | None,
        Option(metavar="DIR", help="Write the merge that scored highest as a checkpoint."),
    ] = None,
    protocol: Annotated[
        str | None,
        Option(help="Whose prompts and rules: robust (the default), official, vlmevalkit."),
    ] = None,
    data: Annotated[Path | None, Option(help="Folder of the tasks' rows and pictures.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Questions per task.")] = None,
    max_tokens: Annotated[
        int | None, Option(min=1, help="Longest answer; each task has its own default.")
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Drop what --out holds of another sweep.")
    ] = False,
    tensor_parallel: TensorParallel = 1,
    context: Context = None,
    gpu_memory: GpuMemory = None,
) -> None:
    """Ask merges of VLM and LLM at several shares.

    One vLLM engine takes the merges one after the other; none is written. With --best the share is
    tuned: choose it on a validation split, and score its checkpoint on the test.
    """
    from drift.cli import numbers, roles
    from drift.merge import Recipe
    from harness.evaluate import merge_sweep as room
    from harness.evaluate.run import EvalConfig, run

    shares = numbers(alphas, float, "--alphas")
    if not shares:
        raise UserError("--alphas names no share of the reasoner: give some, 0,0.1,0.3")
    if best is not None and best.exists():
        raise UserError(f"--best {best} exists already: choose a new folder")
    wanted = chosen_tasks(tasks, protocol)
    recipe = Recipe(
        method=method,  # type: ignore[arg-type]
        density=density,
        swap_layers=numbers(layers, int, "--layers"),
        seed=seed,
        modules=roles(modules),
    )
    points = room.merges(vlm, llm, recipe, shares, base)
    folders = [out / point.name for point in points]
    run(
        points,
        wanted,
        out if len(points) > 1 else folders[0],
        EvalConfig(data=data, limit=limit, max_tokens=max_tokens, overwrite=overwrite),
        engine=chosen_engine("vllm", tensor_parallel, context, gpu_memory),
    )
    print_cells(folders)
    if best is not None:
        alpha, scores = room.best(folders, shares)
        room.write(points[shares.index(alpha)], best)
        print(f"{best}: alpha {alpha:g}, the highest mean score ({100 * max(scores):.1f})")
