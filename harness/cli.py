"""The command line. Each command imports what it needs when it runs: `--help` loads no torch."""

import os
import sys
from typing import Any

import typer

from harness.commands import compact, compare, listing, look, parity, scoring, serve, study
from harness.commands.evaluate import evaluate
from harness.commands.sweep import sweep
from harness.errors import UserError, near

app = typer.Typer(
    name="driftbench",
    help="Did this checkpoint really get better at visual reasoning, and at what cost?",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

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


app.command("eval")(evaluate)
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
app.command("reproduce")(study.reproduce)


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
        said = f"no such option {option}: {near(option, known)}"
    elif said.startswith("No such command"):
        word = said.split("'")[1]
        said = f"no such command {word}: {near(word, error.ctx.command.commands)}"
    said = f"{said[0].lower()}{said[1:]}".rstrip(": ")
    return f"{said}{' ' if said.endswith('?') else '; '}see `{command} --help`"


if __name__ == "__main__":
    main()
