"""What a file or Python gives for options: each is checked as if it were typed."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from typer import Context

from common.errors import UserError, near

Given = Mapping[str, Any]
"""Option, with `-` or `_` → its value; None: as if it were not given."""


def context_of(command: Callable[..., None]) -> Context:
    """Return the context of a command that nothing was typed for yet."""
    import typer

    app = typer.Typer(add_completion=False)
    app.command()(command)
    return Context(typer.main.get_command(app))


def checked(context: Context, given: Given, where: str = "") -> dict[str, Any]:
    """Return what each option makes of what was given for it.

    Args:
        context: Of the command.
        given: What was given; one value stands for a list of one.
        where: What a refusal begins with, such as a file.

    Raises:
        UserError: There is no such option, or it does not take the value.
    """
    from typer._click.exceptions import BadParameter

    options = {one.name: one for one in context.command.params}
    found: dict[str, Any] = {}
    for word, value in given.items():
        name = word.replace("-", "_")
        if name not in options:
            known = near(name, options) or f"the options are {', '.join(map(str, options))}"
            raise UserError(f"{where}there is no option {word}: {known.strip()}")
        if value is None:
            continue
        found[name] = _as_typed(value, options[name])
        if options[name].is_eager:
            continue  # it decides on the others, when the command is parsed
        try:
            found[name] = options[name].process_value(context, found[name])
        except BadParameter as error:
            raise UserError(f"{where}{word} is {value!r}: {error.message}") from None
    return found


def parse(context: Context, words: Sequence[str], given: Given) -> None:
    """Parse a command as if words and options were typed: `context.params` has all of them.

    Raises:
        UserError: See `checked`; or one is missing.
    """
    from typer._click.exceptions import MissingParameter

    context.default_map = checked(context, given)
    try:
        with context:
            context.command.parse_args(context, ["--", *words])
    except MissingParameter as error:
        raise UserError(f"{error.param.name if error.param else 'an option'} is missing") from None


def each(value: Any) -> list[Any]:
    """Return several values as a list, and one alone as a list of one."""
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | os.PathLike)
    return list(value) if several else [value]


def _as_typed(value: Any, option: Any) -> Any:
    """Return a value as it would be typed: a number that is none must not become one."""
    if getattr(option, "is_flag", False):
        return value
    words = list(map(str, each(value)))
    return words if option.multiple or option.nargs == -1 else ",".join(words)
