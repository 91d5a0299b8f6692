"""The command line: `driftbench COMMAND`, or `python -P -m driftbench COMMAND`.

Each command imports what it needs when it runs: `--help` loads no torch.
"""

import copy
import sys

import typer

from common import processes
from common.command_line import guarded
from drift import cli as drift
from drift import merge_cli
from drift.pocket import cli as pocket
from driftbench import elsewhere, rewards
from harness.commands import (
    agree,
    compact,
    compare,
    diff,
    doctor,
    evaluate,
    export,
    parity,
    rehearse,
    reproduce,
    rows,
    runs,
    score,
    serve,
    serve_check,
    show,
    sweep,
    tasks,
    tune,
)
from reports import cli as reports

app = typer.Typer(
    name="driftbench",
    help="Did this checkpoint really get better at visual reasoning, and at what cost?",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command("eval")(evaluate.evaluate)
app.command("sweep")(sweep.sweep)
app.command("score")(score.score)
app.command("tasks")(tasks.list_tasks)
app.command("parity")(parity.parity)
app.command("doctor")(doctor.doctor)
app.command("compare")(compare.compare)
app.command("agree")(agree.agree)
app.command("show")(show.show)
app.command("diff")(diff.diff)
app.command("runs")(runs.runs)
app.command("compact")(compact.compact)
app.command("export")(export.export)
app.command("rows")(rows.rows)
app.command("serve", context_settings=serve.SETTINGS)(serve.serve)
app.command("serve-check")(serve_check.serve_check)
app.command("tune")(tune.tune)
app.command("reproduce")(reproduce.reproduce)
app.command("rehearse")(rehearse.rehearse)
app.command("report")(reports.report)
app.command("train")(drift.train)
app.command("prior")(drift.prior)
app.command("merge")(merge_cli.merge)
app.command("families")(drift.families)
app.command("distance")(drift.distance)
app.command("fetch", hidden=True)(drift.fetch)
app.command("noisy", hidden=True)(drift.noisy)
app.add_typer(pocket.app, name="pocket")


@app.callback(invoke_without_command=True)
def driftbench(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    """Did this checkpoint really get better at visual reasoning, and at what cost?"""
    if version:
        from importlib.metadata import version as installed

        print(f"driftbench {installed('driftbench')}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
    context.obj = rewards.rule


def run(words: list[str]) -> int:
    """Run the command that `words` name; return its exit status."""
    own = copy.copy(app)
    if named := [one for one in app.registered_commands if [one.name] == words[:1]]:
        # To look at the parameters of all the others takes longer than a light command runs.
        own.registered_commands, own.registered_groups = named, []
    return guarded(own, words, elsewhere.HINTS)


def main() -> None:
    """Run the command line."""
    processes.tie_forks()
    processes.end_on_sigterm()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
