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
from types import ModuleType
from typing import Any, get_type_hints

from common.errors import UserError, near
from common.typed import as_kind
from drift.training.config import from_settings
from harness.studies.step import Study

BUNDLED = ("paper", "pocket", "small")


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
    asked = {"seeds": seeds, "controls": controls, "scale": scale}
    usual = {"seeds": 1, "controls": False, "scale": None}
    given: dict[str, Any] = {word: asked[word] for word in asked if asked[word] != usual[word]}
    try:
        parameters = inspect.signature(make).parameters
        kinds = get_type_hints(make)
    except (NameError, TypeError, ValueError) as error:
        raise UserError(f"the parameters of study() in {name} cannot be read: {error}") from None
    for word in given:
        if word not in parameters:
            raise UserError(f"the study {name} has no {word}; leave --{word} out")
    free = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    own = [one for one in parameters if one not in asked]
    given |= (said := from_settings(list(settings)))
    for word in given:
        if word not in parameters and not free:
            there = f"there are {', '.join(own)}" if own else f"{name} has no settings"
            raise UserError(f"--set {word}=…: {near(word, own)}{there}")
    for word, value in given.items():
        kind = kinds.get(word) or _kind(parameters.get(word), str if word in said else Any)
        given[word] = as_kind(value, kind, word)
    made = _called(lambda: make(**given), name)
    if not isinstance(made, Study):
        raise UserError(f"study() in {name} returns a {type(made).__name__}, expected a Study")
    return made


def _kind(parameter: inspect.Parameter | None, otherwise: Any) -> Any:
    """Of a parameter that is not annotated: its default's."""
    default = parameter.default if parameter else None
    if isinstance(default, bool | int | float | str | Path):
        return type(default)
    return otherwise if default in (None, inspect.Parameter.empty) else Any


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
