"""`driftbench score`: grade what is on disk, under any protocol, with or without a judge."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from common.command_line import completing, placeable
from common.errors import UserError
from common.text import printable
from harness.commands.options import task_names

if TYPE_CHECKING:
    from harness.evaluate.judge import Judge
    from harness.runs.schema import Verdict

END = 300
"""Characters at the end of a response that --diff shows."""

REPLY_SECONDS = 120.0
"""That a judge may take, unless the user says otherwise."""


def score(
    runs: Annotated[
        list[Path] | None, Argument(metavar="[RUN...]", help="Run folders.", show_default=False)
    ] = None,
    protocol: Annotated[
        str | None, Option(help="Whose rules: official, vlmevalkit, robust; default: the run's.")
    ] = None,
    diff: Annotated[
        bool, Option("--diff", help="Show where robust and --protocol (official) disagree.")
    ] = False,
    judge: Annotated[
        str | None, Option(metavar="URL", help="OpenAI-compatible server of the judge.")
    ] = None,
    judge_model: Annotated[
        str | None, Option(metavar="NAME|CKPT", help="The judge: served at --judge, or loaded.")
    ] = None,
    judge_key_env: Annotated[
        str | None, Option(metavar="NAME", help="Environment variable with the judge's key.")
    ] = None,
    judge_timeout: Annotated[
        float, Option(min=1.0, metavar="SECONDS", help="How long the judge may take for one reply.")
    ] = REPLY_SECONDS,
    responses: Annotated[
        Path | None, Option(metavar="FILE", help="Score another tool's answers, instead of RUN.")
    ] = None,
    task: Annotated[
        str | None,
        Option(help="The task that --responses answers.", autocompletion=completing(task_names)),
    ] = None,
    out: Annotated[
        Path | None, Option(callback=placeable, help="Run folder to make of --responses.")
    ] = None,
    data: Annotated[Path | None, Option(help="Folder of the task's rows, for --responses.")] = None,
    name: Annotated[str | None, Option(help="Name of the model that made --responses.")] = None,
    filter_name: Annotated[
        str | None,
        Option("--filter", metavar="NAME", help="Score what this filter of lm-eval left of them."),
    ] = None,
) -> None:
    """Grade runs again, or answers that another tool collected.

    After a scoring rule has changed, under another protocol, or with a judge. No model is asked for
    answers. The verdicts of another protocol lie beside the run's own, in RUN/scored.
    """
    from harness.runs.folder import without_pictures

    runs = without_pictures(runs or [])
    if responses is not None:
        if runs or diff:
            raise UserError("--responses makes a run of its own: leave RUN and --diff out")
        if task is None or out is None:
            raise UserError("--responses needs --task TASK and --out RUN")
        from harness.evaluate.import_responses import run_of

        with _hired(judge, judge_model, judge_key_env, judge_timeout) as judge_of:
            run_of(
                responses,
                task,
                out,
                protocol=protocol,
                data=data,
                name=name,
                filter_name=filter_name,
            )
            _grade([out], None, judge_of)
    elif not runs:
        raise UserError("name a run folder, or --responses FILE")
    elif task or out or data or name or filter_name:
        raise UserError("--task, --out, --data, --name and --filter are for --responses")
    elif diff:
        if judge or judge_model or judge_key_env or judge_timeout != REPLY_SECONDS:
            raise UserError("--diff compares what rules say: leave the options of the judge out")
        import tasks

        for folder in runs:
            _print_diff(folder, tasks.resolved(protocol or "official"))
    else:
        with _hired(judge, judge_model, judge_key_env, judge_timeout) as judge_of:
            _grade(runs, protocol, judge_of)


def _grade(
    folders: list[Path], protocol: str | None, judge_of: "Callable[[Path], Judge | None]"
) -> None:
    from harness.commands.cells import print_cells
    from harness.evaluate.grade import score as grade

    scored, troubles = [], []
    for folder in folders:
        judge = judge_of(folder)
        scored.append(grade(folder, protocol, judge))
        if judge is not None and not judge.replied + judge.failed + judge.unusable:
            troubles.append(
                f"{folder}: nothing was left to the judge: robust asks none, and official none of "
                "what its rules read"
            )
        if judge is not None and judge.failed:
            troubles.append(
                f"{folder}: the judge left {judge.failed} requests unanswered, at first: "
                f"{printable(judge.reason) or 'it went away'}; the same command asks again"
            )
        if judge is not None and judge.unusable:
            troubles.append(
                f"{folder}: {judge.unusable} answers are unparsed because what the judge replied "
                f"could not be used, at first: {printable(judge.reason)}; the same command asks "
                "again"
            )
    print_cells(scored)
    for trouble in troubles:
        print(trouble)


@contextmanager
def _hired(
    url: str | None, model: str | None, key_env: str | None, timeout: float
) -> "Iterator[Callable[[Path], Judge | None]]":
    """Yield a function from a run folder to its judge; None where none is wanted."""
    if url is None and (key_env or timeout != REPLY_SECONDS):
        raise UserError("--judge-key-env and --judge-timeout are for a judge at --judge URL")
    if model is None:
        if url:
            raise UserError("--judge needs the judge's name, --judge-model")
        yield lambda run: None
        return
    from harness.evaluate.judge import Judge, record

    if url is not None:
        from harness.commands.serve_check import at_endpoints

        (checkpoint,), make = at_endpoints([model], [url], key_env, None, timeout)
    else:
        from harness.checkpoints.preflight import open_checkpoint
        from harness.engines.choice import maker

        checkpoint = open_checkpoint(model)
        make = maker("auto", checkpoint, None)
    engine = make(checkpoint)
    try:
        yield lambda run: Judge(run, record(checkpoint, engine), engine)
    finally:
        engine.close()


def _print_diff(folder: Path, protocol: str) -> None:
    from harness.evaluate.grade import disagreements
    from harness.runs import log
    from harness.runs.folder import read_card

    card = read_card(folder)
    print(f"{card.name}: where robust and {protocol} disagree")
    count = 0
    for question, response, robust, other in disagreements(folder, protocol):
        count += 1
        print(f"\n{printable(question.task)} {printable(question.id)}", end="")
        print(f" ({response.sample})" if card.sampling.n > 1 else "", end="")
        print(f"  robust: {_said(robust)}  {protocol}: {_said(other)}")
        print(f"  …{printable(response.text[-END:])}" if response.text else "  (empty)")
    print(f"\n{count} of {len(log.read_responses(folder))} answers")


def _said(verdict: "Verdict") -> str:
    judged = {True: "right", False: "wrong", None: verdict.how}[verdict.correct]
    if verdict.answer is None:
        return judged
    read = printable(verdict.answer)
    return f"{judged}, read {read if len(read) <= END else read[:END] + '…'}"
