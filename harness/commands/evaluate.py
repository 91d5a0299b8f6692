"""`driftbench eval`: ask checkpoints the questions of tasks."""

import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from common.errors import UserError, near
from harness.commands import serve_check
from harness.commands.cells import print_cells
from harness.commands.options import (
    Context,
    GpuMemory,
    TensorParallel,
    chosen_engine,
    chosen_shard,
    chosen_tasks,
)
from harness.evaluate import data_parallel as replicas

ENGINES = ("auto", "vllm", "hf", "server", "ray")


def evaluate(
    checkpoints: Annotated[
        list[str],
        Argument(
            metavar="CKPT...",
            help="Folders or hub ids of models or adapters, or names that are served.",
        ),
    ],
    tasks: Annotated[
        str, Option(metavar="A,B", help="Benchmarks, or groups of them: see `driftbench tasks`.")
    ],
    out: Annotated[Path, Option(help="Run folder; with several checkpoints, one for each in it.")],
    protocol: Annotated[
        str | None,
        Option(help="Whose prompts and rules: robust (the default), official, vlmevalkit."),
    ] = None,
    data: Annotated[Path | None, Option(help="Folder of the tasks' rows and pictures.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Questions per task.")] = None,
    engine: Annotated[
        str,
        Option(
            metavar="|".join(ENGINES), help="auto: vLLM where it knows the architecture, else hf."
        ),
    ] = "auto",
    max_tokens: Annotated[
        int | None, Option(min=1, help="Longest answer; each task has its own default.")
    ] = None,
    temperature: Annotated[float, Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[
        float, Option(min=0.0, max=1.0, help="Sample from the likeliest words of this share.")
    ] = 1.0,
    top_k: Annotated[int, Option(min=0, help="Sample from so many words; 0 is all.")] = 0,
    seed: Annotated[int, Option(min=0, help="Of the sampling.")] = 0,
    n: Annotated[int, Option(min=1, help="Answers per question.")] = 1,
    force_answer: Annotated[
        int,
        Option(
            min=0,
            metavar="TOKENS",
            help="Close a thought that was cut at the limit, and let the answer follow.",
        ),
    ] = 0,
    min_pixels: Annotated[
        int | None, Option(min=1, help="Enlarge smaller pictures; default: the model's own way.")
    ] = None,
    max_pixels: Annotated[
        int | None, Option(min=1, help="Shrink larger pictures; default: the model's own way.")
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Drop what --out holds of another run.")
    ] = False,
    retry_errors: Annotated[
        bool,
        Option(
            "--retry-errors",
            help="Ask again also what cannot but fail, such as a prompt beyond the context.",
        ),
    ] = False,
    shard: Annotated[
        str | None, Option(metavar="I/N", help="Ask only this part; other processes the others.")
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Only tell what would be asked, and how long it may take.")
    ] = False,
    endpoint: Annotated[
        list[str] | None,
        Option(metavar="URL[,URL]", help="OpenAI-compatible servers to ask, for --engine server."),
    ] = None,
    key_env: Annotated[
        str | None, Option(metavar="NAME", help="Environment variable with the endpoints' key.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        Option(
            metavar="CKPT", help="The weights that the endpoints serve, where they are at hand."
        ),
    ] = None,
    timeout: Annotated[
        float,
        Option(min=1.0, metavar="SECONDS", help="How long an endpoint may take for one answer."),
    ] = 1800.0,
    base: Annotated[
        str | None,
        Option(metavar="CKPT", help="Model under an adapter, instead of the one that it names."),
    ] = None,
    chat_template: Annotated[
        Path | None, Option(metavar="FILE", help="Instead of the checkpoint's own, if it has one.")
    ] = None,
    tensor_parallel: TensorParallel = 1,
    data_parallel: Annotated[
        int, Option(min=1, help="Processes that share the questions, each with its own GPUs.")
    ] = 1,
    context: Context = None,
    gpu_memory: GpuMemory = None,
) -> None:
    """Ask checkpoints the questions of tasks; grade the answers.

    The same command again goes on where the last one stopped, and asks nothing twice but what the
    engine failed on.
    """
    if engine not in ENGINES:
        raise UserError(
            f"there is no engine {engine!r}: {near(engine, ENGINES)}the engines are "
            f"{', '.join(ENGINES)}"
        )
    wanted = chosen_tasks(tasks, protocol)
    if data is not None and not data.is_dir():
        raise UserError(f"--data {data} is not a folder")
    part = chosen_shard(shard)
    from harness.commands.dry_run import print_plans
    from harness.evaluate.run import EvalConfig, plans, run
    from harness.runs.schema import Sampling

    maker: Any = chosen_engine(engine, tensor_parallel, context, gpu_memory)
    if engine == "server" or (endpoint and engine == "auto"):
        if force_answer:
            raise UserError("--force-answer goes on from inside an answer, which no endpoint does")
        if base or chat_template:
            raise UserError("--base and --chat-template are for weights, not for endpoints")
        opened, maker = serve_check.at_endpoints(
            checkpoints, endpoint or [], key_env, checkpoint, timeout
        )
    elif endpoint or key_env or checkpoint:
        raise UserError("--endpoint, --key-env and --checkpoint are for --engine server")
    else:
        from harness.checkpoints.preflight import open_checkpoint

        opened = [open_checkpoint(where, base, chat_template) for where in checkpoints]
    config = EvalConfig(
        data=data,
        limit=limit,
        sampling=Sampling(temperature, top_p, top_k, seed=seed, n=n, force=force_answer),
        max_tokens=max_tokens,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        overwrite=overwrite,
        retry_errors=retry_errors,
    )
    if dry_run:
        print_plans(plans(opened, wanted, out, config, engine=maker))
        return
    if data_parallel > 1:
        if part:
            raise UserError("--shard is one of the parts that --data-parallel makes: give one")
        replicas.run(sys.argv[1:], data_parallel, tensor_parallel)
    else:
        run(opened, wanted, out, config, engine=maker, shard=part)
    print_cells([out] if len(opened) == 1 else [out / one.name for one in opened])
