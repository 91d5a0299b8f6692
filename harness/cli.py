"""The command line. Each command imports what it needs when it runs: `--help` loads no torch."""

import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from harness import replicas
from harness.commands import compact, compare, listing, look, parity, scoring, serve
from harness.commands.cells import print_cells
from harness.commands.chosen import (
    Context,
    GpuMemory,
    TensorParallel,
    chosen_engine,
    chosen_shard,
    chosen_tasks,
)
from harness.commands.sweep import sweep
from harness.errors import UserError

app = typer.Typer(
    name="driftbench",
    help="Did this checkpoint really get better at visual reasoning, and at what cost?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

ENGINES = ("auto", "vllm", "hf", "server", "ray")

ELSEWHERE = {
    "train": ("drift", "Fine-tune a VLM: plain, or biased toward a reasoner."),
    "prior": ("drift", "Subtract a VLM's language model from a reasoner."),
    "merge": ("drift", "Merge a reasoner's weights into a VLM."),
    "families": ("drift", "The VLMs that can be paired, or a check of two."),
    "distance": ("drift", "How far apart two models are, layer by layer."),
    "pocket": ("drift", "Make the pocket world and its tiny models."),
    "report": ("reports", "Tables, plots and a page from run folders."),
}
"""Command → the package that has it, and its help. Those packages are never imported here."""


@app.command("eval")
def evaluate(
    checkpoints: Annotated[
        list[str],
        Argument(
            metavar="CKPT...",
            help="Folders or hub ids of models or adapters, or names that are served.",
        ),
    ],
    tasks: Annotated[
        str, Option(metavar="A,B", help="What to ask; `driftbench tasks` lists them.")
    ],
    out: Annotated[Path, Option(help="Run folder; with several checkpoints, one for each in it.")],
    protocol: Annotated[
        str | None,
        Option(help="Whose prompts and rules: official, vlmevalkit; default: robust."),
    ] = None,
    data: Annotated[Path | None, Option(help="Folder of the tasks' rows and pictures.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Questions per task.")] = None,
    engine: Annotated[
        str, Option(metavar="|".join(ENGINES), help="auto: vLLM where it knows the architecture.")
    ] = "auto",
    max_tokens: Annotated[
        int | None, Option(min=1, help="Longest answer; each task has its own default.")
    ] = None,
    temperature: Annotated[float, Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, Option(min=0.0, max=1.0, help="Nucleus of the sampling.")] = 1.0,
    top_k: Annotated[int, Option(min=0, help="Candidates of the sampling; 0 is all.")] = 0,
    seed: Annotated[int, Option(min=0, help="Of the sampling.")] = 0,
    n: Annotated[int, Option(min=1, help="Answers per question.")] = 1,
    force_answer: Annotated[
        int,
        Option(min=0, metavar="TOKENS", help="Close a thought cut at the limit, and ask on."),
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
        Path | None, Option(metavar="CKPT", help="What the endpoints serve, where it is at hand.")
    ] = None,
    timeout: Annotated[
        float, Option(min=1.0, metavar="SECONDS", help="For one answer of an endpoint.")
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

    The same command again goes on where the last one stopped, and asks nothing twice.
    """
    from harness.records import Sampling

    if engine not in ENGINES:
        raise UserError(
            f"there is no engine {engine!r}: {_near(engine, ENGINES)}the engines are "
            f"{', '.join(ENGINES)}"
        )
    wanted = chosen_tasks(tasks, protocol)
    if data is not None and not data.is_dir():
        raise UserError(f"--data {data} is not a folder")
    part = chosen_shard(shard)
    from harness.commands.planned import print_plans
    from harness.run import plans, run

    maker: Any = chosen_engine(engine, tensor_parallel, context, gpu_memory)
    if engine == "server" or (endpoint and engine == "auto"):
        if force_answer:
            raise UserError("--force-answer goes on from inside an answer, which no endpoint does")
        if base or chat_template:
            raise UserError("--base and --chat-template are for weights, not for endpoints")
        opened, maker = serve.at_endpoints(
            checkpoints, endpoint or [], key_env, checkpoint, timeout
        )
    elif endpoint or key_env or checkpoint:
        raise UserError("--endpoint, --key-env and --checkpoint are for --engine server")
    else:
        from harness.checkpoint import open_checkpoint

        opened = [open_checkpoint(where, base, chat_template) for where in checkpoints]
    sampling = Sampling(
        temperature=temperature, top_p=top_p, top_k=top_k, seed=seed, n=n, force=force_answer
    )
    settings: dict[str, Any] = {
        "data": data,
        "limit": limit,
        "engine": maker,
        "sampling": sampling,
        "max_tokens": max_tokens,
        "overwrite": overwrite,
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
    }
    if dry_run:
        print_plans(plans(opened, wanted, out, **settings))
        return
    if data_parallel > 1:
        if part:
            raise UserError("--shard is one of the parts that --data-parallel makes: give one")
        replicas.run(sys.argv[1:], data_parallel, tensor_parallel)
    else:
        run(opened, wanted, out, shard=part, **settings)
    print_cells([out] if len(opened) == 1 else [out / one.name for one in opened])


app.command("sweep")(sweep)
app.command("score")(scoring.score)
app.command("tasks")(listing.list_tasks)
app.command("parity")(parity.parity)


@app.command()
def doctor() -> None:
    """Tell whether this machine is able."""
    from harness import doctor as room

    raise typer.Exit(room.run())


app.command("compare")(compare.compare)
app.command("agree")(compare.agree)
app.command("show")(look.show)
app.command("diff")(look.diff)
app.command("runs")(look.runs)
app.command("compact")(compact.compact)
app.command("serve-check")(serve.serve_check)


@app.command()
def reproduce(
    recipe: Annotated[str, Argument(help="pocket, paper, or a recipe file.")],
    out: Annotated[Path | None, Option(help="Default: runs/<recipe>.")] = None,
    jobs: Annotated[int | None, Option(min=1, help="Steps at a time.")] = None,
) -> None:
    """Redo a whole study, end to end.

    The same command again skips the steps whose inputs are unchanged.
    """
    from harness import reproduce as room

    room.reproduce(recipe, out or Path("runs") / Path(recipe).stem, jobs)


# Commands of the other packages


def _hand_over(package: str, command: str, rest: list[str]) -> None:
    os.execv(sys.executable, [sys.executable, "-m", package, command, *rest])


def _declare(command: str, package: str, help: str) -> None:
    """Name the command in `--help`; `main` hands it over before it would be parsed here."""
    context = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

    @app.command(command, help=help, context_settings=context)
    def elsewhere(context: typer.Context) -> None:
        _hand_over(package, command, context.args)


for _command, (_package, _help) in ELSEWHERE.items():
    _declare(_command, _package, _help)


# Entry


def main() -> None:
    """Run the command line."""
    words = sys.argv[1:] or ["--help"]
    if words[0] in ELSEWHERE:
        _hand_over(ELSEWHERE[words[0]][0], words[0], words[1:])
    sys.exit(guarded(words))


def guarded(words: list[str]) -> int:
    """Run a command; foreseeable trouble becomes one sentence on standard error.

    Args:
        words: The command line after the program's name.

    Returns:
        The exit status: 0, 2 for what the user can put right, 130 after an interruption.
    """
    from typer._click.exceptions import UsageError

    from tasks.errors import TaskError

    try:
        status = app(words, prog_name="driftbench", standalone_mode=False) or 0
    except (UserError, TaskError) as error:
        return _say(str(error), 2)
    except UsageError as error:
        return _say(_usage(error), 2)
    except OSError as error:
        if error.errno is None:
            raise
        where = f": {error.filename}" if error.filename else ""
        return _say(f"{error.strerror}{where}", 2)
    if status == INTERRUPTED:
        _say("interrupted; every answer that came is kept, the same command goes on", status)
    return status


def _say(sentence: str, status: int) -> int:
    print(f"driftbench: {sentence}", file=sys.stderr)
    return status


def _usage(error: Any) -> str:
    """Return a usage error as one sentence with the nearest right word."""
    command = error.ctx.command_path if error.ctx else "driftbench"
    said = error.format_message().rstrip(".")
    if option := getattr(error, "option_name", None):
        known = [name for param in error.ctx.command.params for name in param.opts]
        said = f"no such option {option}: {_near(option, known)}"
    elif said.startswith("No such command"):
        word = said.split("'")[1]
        said = f"no such command {word}: {_near(word, error.ctx.command.commands)}"
    said = f"{said[0].lower()}{said[1:]}".rstrip(": ")
    return f"{said}{' ' if said.endswith('?') else '; '}see `{command} --help`"


def _near(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""


if __name__ == "__main__":
    main()
