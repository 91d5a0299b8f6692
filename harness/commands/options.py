"""The options of a run, for every command that makes one, and what they choose."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Option

from common.command_line import completing, placeable
from common.errors import UserError, near
from common.tracking import trackers
from drift.options import ReportTo

if TYPE_CHECKING:
    from harness.engines import Maker
    from harness.evaluate.config import EvalConfig, Shard
    from tasks import Task

RESERVED = ("messages", "tools", "documents", "add_generation_prompt", "strftime_now")

ENGINES = ("auto", "vllm", "hf", "server", "ray")


def task_names() -> list[str]:
    """Names that --tasks takes."""
    import tasks

    return [*tasks.names(), *tasks.groups()]


def _protocols() -> list[str]:
    from tasks import DATED

    return ["robust", "official", "vlmevalkit", *DATED]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What is set of a run, whatever models are asked. Each field is an option of that name."""

    tasks: Annotated[
        str,
        Option(
            metavar="A,B",
            help="Benchmarks, or groups of them: see `driftbench tasks`.",
            autocompletion=completing(task_names),
        ),
    ]
    out: Annotated[
        Path, Option(callback=placeable, help="Run folder; of several models, one for each in it.")
    ]
    protocol: Annotated[
        str | None,
        Option(
            help="Whose prompts and rules: robust (the default), official, vlmevalkit.",
            autocompletion=completing(_protocols),
        ),
    ] = None
    data: Annotated[Path | None, Option(help="Folder of the tasks' rows and pictures.")] = None
    limit: Annotated[int | None, Option(min=1, help="Questions per task.")] = None
    engine: Annotated[
        str,
        Option(
            metavar="|".join(ENGINES),
            help="auto: vLLM where it knows the architecture, else hf.",
            autocompletion=completing(lambda: ENGINES),
        ),
    ] = "auto"
    max_tokens: Annotated[
        int | None, Option(min=1, help="Longest answer; each task has its own default.")
    ] = None
    temperature: Annotated[float, Option(min=0.0, help="0 is greedy.")] = 0.0
    top_p: Annotated[
        float, Option(min=0.0, max=1.0, help="Sample from the likeliest words of this share.")
    ] = 1.0
    top_k: Annotated[int, Option(min=0, help="Sample from so many words; 0 is all.")] = 0
    presence_penalty: Annotated[
        float,
        Option(min=-2.0, max=2.0, help="Taken off the logit of tokens that the answer has."),
    ] = 0.0
    seed: Annotated[int, Option(min=0, help="Of the sampling.")] = 0
    n: Annotated[int, Option(min=1, help="Answers per question.")] = 1
    force_answer: Annotated[
        int,
        Option(
            min=0,
            metavar="TOKENS",
            help="Close a thought that was cut at the limit, and let the answer follow.",
        ),
    ] = 0
    min_pixels: Annotated[
        int | None, Option(min=1, help="Enlarge smaller pictures; default: the model's own way.")
    ] = None
    max_pixels: Annotated[
        int | None, Option(min=1, help="Shrink larger pictures; default: the model's own way.")
    ] = None
    overwrite: Annotated[
        bool, Option("--overwrite", help="Drop what --out holds of another run.")
    ] = False
    retry_errors: Annotated[
        bool,
        Option(
            "--retry-errors",
            help="Ask again also what cannot but fail, such as a prompt beyond the context.",
        ),
    ] = False
    shard: Annotated[
        str | None, Option(metavar="I/N", help="Ask only this part; other processes the others.")
    ] = None
    dry_run: Annotated[
        bool, Option("--dry-run", help="Only tell what would be asked, and how long it may take.")
    ] = False
    chat_template: Annotated[
        Path | None, Option(metavar="FILE", help="Instead of the checkpoint's own, if it has one.")
    ] = None
    template_args: Annotated[
        list[str] | None,
        Option(
            metavar="NAME=VALUE",
            help="Tell the chat template, as enable_thinking=true; may be repeated.",
        ),
    ] = None
    tensor_parallel: Annotated[int, Option(min=1, help="vLLM: GPUs that share every layer.")] = 1
    data_parallel: Annotated[
        int, Option(min=1, help="Processes that share the questions, each with its own GPUs.")
    ] = 1
    context: Annotated[
        int | None,
        Option(
            min=1,
            help="vLLM: longest prompt and answer together; default: the model's, at most 32768.",
        ),
    ] = None
    gpu_memory: Annotated[
        float | None, Option(min=0.01, max=1.0, help="vLLM: share of each GPU's memory.")
    ] = None
    report_to: ReportTo = None


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a run, in place of its parameter `options`."""
    hints = get_type_hints(RunOptions, include_extras=True)
    shared = {
        field.name: inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(RunOptions)
    }
    own = dict(inspect.signature(command).parameters)
    del own["options"]
    needed = [one for one in own.values() if one.default is inspect.Parameter.empty]
    others = [one for one in own.values() if one not in needed]
    parameters = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in (*needed, *shared.values(), *others)
    ]

    def whole(**given: Any) -> None:
        options = RunOptions(**{name: given.pop(name) for name in shared if name in given})
        command(**given, options=options)

    whole.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    whole.__annotations__ = {one.name: one.annotation for one in parameters}
    whole.__name__, whole.__doc__ = command.__name__, command.__doc__
    return whole


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the options of a run choose."""

    tasks: "list[Task]"
    config: "EvalConfig"
    engine: "str | Maker"
    shard: "Shard | None"
    report_to: tuple[str, ...]
    """Trackers that are told the scores."""


def chosen(options: RunOptions) -> Chosen:
    """Read the options, before a checkpoint is opened.

    Raises:
        UserError: One of them names nothing, or they do not go together.
    """
    from harness.evaluate.config import EvalConfig
    from harness.runs.schema import Sampling

    if options.engine not in ENGINES:
        raise UserError(
            f"there is no engine {options.engine!r}: {near(options.engine, ENGINES)}the engines "
            f"are {', '.join(ENGINES)}"
        )
    if options.data is not None and not options.data.is_dir():
        named = near(str(options.data).lower().partition("_")[0], task_names())
        benchmark = f"; benchmarks are named by --tasks: {named.strip()}" if named else ""
        raise UserError(f"--data {options.data} is not a folder{benchmark}")
    if options.shard and options.data_parallel > 1:
        raise UserError("--shard is one of the parts that --data-parallel makes: give one")
    sampling = Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=options.seed,
        n=options.n,
        force=options.force_answer,
        presence_penalty=options.presence_penalty,
    )
    config = EvalConfig(
        data=options.data,
        limit=options.limit,
        sampling=sampling,
        max_tokens=options.max_tokens,
        template_args=_template_args(options.template_args or ()),
        min_pixels=options.min_pixels,
        max_pixels=options.max_pixels,
        overwrite=options.overwrite,
        retry_errors=options.retry_errors,
    )
    return Chosen(
        tasks=_tasks(options.tasks, options.protocol),
        config=config,
        engine=_engine(options),
        shard=_shard(options.shard) if options.shard else None,
        report_to=trackers(options.report_to),
    )


def _template_args(words: Sequence[str]) -> dict[str, Any]:
    """Read `enable_thinking=true`: a JSON value, or else a word as it stands."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(
                f"--template-args takes NAME=VALUE, as enable_thinking=true, not {word}"
            )
        if name in RESERVED:
            raise UserError(f"--template-args {name} is what every chat template is given")
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = {"True": True, "False": False}.get(text, text)
    return found


def _tasks(names: str, protocol: str | None) -> "list[Task]":
    """Load the tasks that comma-separated names choose, groups of tasks spelled out."""
    import tasks

    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UserError(f"--tasks names none: the tasks are {', '.join(tasks.names())}")
    return [tasks.load(name, protocol) for name in tasks.expand(wanted)]


def _engine(options: RunOptions) -> "str | Maker":
    """Return what `run` takes for an engine: its name, or one with the room it is given."""
    room = options.tensor_parallel, options.context, options.gpu_memory
    if options.engine != "ray" and room == (1, None, None):
        return options.engine
    if options.engine not in ("auto", "vllm", "ray"):
        raise UserError(
            "--tensor-parallel, --context and --gpu-memory are vLLM's, not those of "
            f"{options.engine}"
        )
    from harness.engines.ray import RayEngine
    from harness.engines.vllm import Room, VllmEngine

    kind = RayEngine if options.engine == "ray" else VllmEngine
    return partial(kind, room=Room(*room))


def _shard(text: str) -> "Shard":
    """Return the part of the questions that `2/4` names."""
    from harness.evaluate.config import Shard

    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(f"--shard {text} names no part: the second of four is --shard 2/4")
    return Shard(int(index), int(count))
