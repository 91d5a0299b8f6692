"""The command line: `driftbench COMMAND`, or `python -P -m driftbench COMMAND`.

Each command imports what it needs when it runs: `--help` loads no torch.
"""

import importlib
import sys
from collections.abc import Collection

import typer

from common import processes
from common.command_line import guarded
from driftbench import elsewhere, rewards

COMMANDS = {
    "eval": "harness.commands.evaluate:evaluate",
    "sweep": "harness.commands.sweep:sweep",
    "score": "harness.commands.score:score",
    "tasks": "harness.commands.tasks:list_tasks",
    "parity": "harness.commands.parity:parity",
    "doctor": "harness.commands.doctor:doctor",
    "compare": "harness.commands.compare:compare",
    "agree": "harness.commands.agree:agree",
    "show": "harness.commands.show:show",
    "diff": "harness.commands.diff:diff",
    "runs": "harness.commands.runs:runs",
    "compact": "harness.commands.compact:compact",
    "export": "harness.commands.export:export",
    "rows": "harness.commands.rows:rows",
    "serve": "harness.commands.serve:serve",
    "serve-check": "harness.commands.serve_check:serve_check",
    "tune": "harness.commands.tune:tune",
    "reproduce": "harness.commands.reproduce:reproduce",
    "rehearse": "harness.commands.rehearse:rehearse",
    "report": "reports.cli:report",
    "train": "drift.cli:train",
    "prior": "drift.cli:prior",
    "merge": "drift.merge_cli:merge",
    "families": "drift.cli:families",
    "distance": "drift.cli:distance",
    "fetch": "drift.cli:fetch",
    "noisy": "drift.cli:noisy",
    "pocket": "drift.pocket.cli:app",
}
"""Name → module and function, imported when it is named, or all to list them."""

HIDDEN = ("fetch", "noisy")
"""Steps of studies alone."""


def application(names: Collection[str] = COMMANDS) -> typer.Typer:
    """Return the command line with some of its commands."""
    app = typer.Typer(
        name="driftbench",
        help="Did this checkpoint really get better at visual reasoning, and at what cost?",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name in names:
        place, _, attribute = COMMANDS[name].partition(":")
        module = importlib.import_module(place)
        found = getattr(module, attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            settings = getattr(module, "SETTINGS", None)
            app.command(name, hidden=name in HIDDEN, context_settings=settings)(found)
    app.callback(invoke_without_command=True)(driftbench)
    return app


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
    named = [word for word in words[:1] if word in COMMANDS]
    return guarded(application(named or COMMANDS), words, elsewhere.HINTS)


def main() -> None:
    """Run the command line."""
    processes.tie_forks()
    processes.end_on_sigterm()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
