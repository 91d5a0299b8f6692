"""Running a command: foreseeable trouble becomes one sentence; words that a shell completes."""

import errno
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from common import processes
from common.errors import UserError, near
from common.files import refuse_below_file
from common.text import printable

INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def completing(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes a word in a shell, or the last of several with commas between.

    Args:
        names: Called then, returns what may stand there.
    """

    def complete(incomplete: str) -> list[str]:
        before, comma, word = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(word)]

    return complete


def placeable(context: Any, option: Any, path: Path | None) -> Path | None:
    """Return the path that is to be written: the callback of every option that names one.

    Raises:
        UserError: It lies in something that is no folder.
    """
    if path is not None:
        refuse_below_file(path, option.opts[0])
    return path


def guarded(app: Any, words: list[str], hints: Mapping[str, str] = {}) -> int:
    """Run a typer application.

    Args:
        app: It, or one of its commands.
        words: The command line after the program's name.
        hints: Option that `eval` does not have, with `-` for `_` → what to type instead.

    Returns:
        The exit status: 0, 2 for what the user can put right, 130 after Ctrl-C, 143 after SIGTERM.
    """
    from typer._click.exceptions import UsageError

    try:
        status = app(words, prog_name="driftbench", standalone_mode=False) or 0
    except UserError as error:
        return _say(str(error), 2)
    except UsageError as error:
        return _say(_usage(error, hints), 2)
    except OSError as error:
        if error.errno is None:
            raise
        where = f": {error.filename}" if error.filename else ""
        full = error.errno == errno.ENOSPC
        said = "the disk is full; make room, then run it again" if full else error.strerror
        return _say(f"{said}{where}", 2)
    if status == INTERRUPTED:
        how, status = ("interrupted", INTERRUPTED)
        if processes.terminating:
            how, status = ("terminated", processes.TERMINATED)
        _say(f"{how}; what is complete is kept, the same command goes on", status)
    return status


def _say(sentence: str, status: int) -> int:
    """Say a sentence, in which nothing from a file or a server steers the terminal."""
    lines = map(printable, f"driftbench: {sentence}".split("\n"))
    print("\n".join(lines), file=sys.stderr)
    return status


def _usage(error: Any, hints: Mapping[str, str]) -> str:
    """Return a usage error as one sentence with the nearest right word."""
    command = error.ctx.command_path if error.ctx else "driftbench"
    said = error.format_message().rstrip(".")
    if option := getattr(error, "option_name", None):
        known = [name for param in error.ctx.command.params for name in param.opts]
        hint = hints.get(option.replace("_", "-")) if error.ctx.info_name == "eval" else None
        said = f"no such option {option}: {hint or near(option, known)}"
    elif said.startswith("No such command"):
        word = said.split("'")[1]
        said = f"no such command {word}: {near(word, error.ctx.command.commands)}"
    said = f"{said[0].lower()}{said[1:]}".rstrip(": ")
    return f"{said}{' ' if said.endswith('?') else '; '}see `{command} --help`"
