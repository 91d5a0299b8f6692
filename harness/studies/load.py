"""A study by its name, or from a Python file: its function `study` is called with what was asked.

    def study(*, seeds: int = 1, controls: bool = False, length: float = 1.0) -> Study: …

`--seeds`, `--controls` and `--scale` go to the parameters of these names, `--set NAME=VALUE` to any
other. What a study has no parameter for cannot be asked of it.
"""

import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from common.errors import UserError, near
from harness.studies.step import Study

BUNDLED = ("paper", "pocket")


def load(
    name: str,
    *,
    seeds: int = 1,
    controls: bool = False,
    scale: str | None = None,
    settings: Sequence[str] = (),
) -> Study:
    """Build a study.

    Args:
        name: Of a bundled one, or a Python file that ends in `.py`.
        seeds: How often, each time with other random numbers.
        controls: Add the study's controls.
        scale: One of the study's scales, instead of the study itself.
        settings: `NAME=VALUE` of its own parameters.

    Raises:
        UserError: There is no such study, it has no such parameter, or what it builds is none.
    """
    make = _function(name)
    asked = {"seeds": (seeds, 1), "controls": (controls, False), "scale": (scale, None)}
    given: dict[str, Any] = {
        word: value for word, (value, usual) in asked.items() if value != usual
    }
    try:
        parameters = inspect.signature(make).parameters
        kinds = get_type_hints(make)
    except (NameError, TypeError, ValueError) as error:
        raise UserError(f"the parameters of study() in {name} cannot be read: {error}") from None
    free = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    own = [one for one in parameters if one not in asked]
    for word in given:
        if word not in parameters:
            raise UserError(f"the study {name} has no {word}; leave --{word} out")
    for setting in settings:
        word, equals, value = setting.partition("=")
        if not equals or (word not in own and not free):
            there = f"there are {', '.join(own)}" if own else f"{name} has no settings"
            raise UserError(f"--set {setting}: expected NAME=VALUE; {near(word, own)}{there}")
        given[word] = value
    given = {word: _value(word, value, kinds.get(word, str)) for word, value in given.items()}
    made = _called(lambda: make(**given), name)
    if not isinstance(made, Study):
        raise UserError(f"study() in {name} returns a {type(made).__name__}, expected a Study")
    return made


def _function(name: str) -> Callable[..., Any]:
    if name in BUNDLED:
        return import_module(f"harness.studies.{name}").study
    path = Path(name)
    if path.suffix != ".py":
        raise UserError(
            f"no study {name!r}; {near(name, BUNDLED)}there are {', '.join(BUNDLED)}, "
            "or give a Python file that defines study()"
        )
    if not path.is_file():
        raise UserError(f"no file {name}: expected a Python file that defines study()")
    module = sys.modules["driftbench_study"] = ModuleType("driftbench_study")
    _called(lambda: exec(compile(path.read_bytes(), name, "exec"), module.__dict__), name)
    make = getattr(module, "study", None)
    if not callable(make):
        raise UserError(f"{name} defines no function study()")
    return make


def _called(make: Callable[[], Any], name: str) -> Any:
    """Run code of a study; mistakes in a file are told with their line."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        if name in BUNDLED:
            raise
        lines = [part.lineno for part in traceback.extract_tb(error.__traceback__)
                 if part.filename == name]  # fmt: skip
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [1])[-1]
        said = str(error).partition("\n")[0]
        raise UserError(f"{name}, line {line}: {type(error).__name__}: {said}") from None


def _value(word: str, text: Any, kind: Any) -> Any:
    """What is given on the command line, as its parameter wants it."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        if text in (known := get_args(kind)):
            return text
        there = ", ".join(map(str, known))
        raise UserError(f"no {word} {text!r}; {near(text, known)}there are {there}")
    if not isinstance(text, str) or kind not in (int, float, bool, Path):
        return text
    try:
        return {"true": True, "false": False}[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        wanted = "true or false" if kind is bool else f"of kind {kind.__name__}"
        raise UserError(f"{word} is {wanted}, not {text!r}") from None
