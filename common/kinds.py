"""Values from files, command lines and callers as what they are meant to be, or refused."""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from common.errors import UserError, near


def as_kind(value: Any, kind: Any, what: str) -> Any:
    """Return a value as a kind, without guessing: an int is a float too, a list a tuple.

    Args:
        value: As JSON, YAML or Python give it.
        kind: str, int, float, bool, Path or another class; a Literal, tuple[X, ...], Mapping[X, Y]
            or an optional one of these.
        what: How a refusal calls it: `my.yaml: lr`.

    Raises:
        UserError: It is of another kind, a number that is not finite, or a text with control
            characters.
    """
    origin, inner = get_origin(kind), get_args(kind)
    said = reprlib.repr(value)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        return as_kind(value, next(one for one in inner if one is not NoneType), what)
    if origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(as_kind(one, inner[0], what) for one in value)
        raise UserError(f"{what} is a list, not {said}; write [a, b]")
    if origin is Mapping and isinstance(value, Mapping):
        key, item = inner
        return {as_kind(k, key, what): as_kind(v, item, what) for k, v in value.items()}
    if origin is Literal:
        if value in inner:
            return value
        hint = near(str(value), inner).strip()
        known = ", ".join(map(str, inner))
        raise UserError(f"{what} is one of {known}, not {said}{hint and f'; {hint}'}")
    if kind is float and isinstance(value, str):
        # YAML reads 1e-6 (without a point) as text.
        try:
            value = float(value)
        except ValueError:
            pass
    if kind is Path and isinstance(value, str):
        value = Path(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and kind in (float, str):
        value = kind(value)
    fits = isinstance(value, origin or kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise UserError(f"{what} is of type {getattr(kind, '__name__', kind)}, not {said}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{what} is a finite number, not {said}")
    if isinstance(value, str) and not all(c.isprintable() or c in "\n\t" for c in value):
        raise UserError(f"{what} has control characters: {said}")
    return value


def settle(thing: Any, what: str) -> None:
    """Make each field of a new dataclass what its annotation says, see `as_kind`.

    Raises:
        UserError: A field is something else.
    """
    for field in fields(thing):
        value = as_kind(getattr(thing, field.name), field.type, f"{what}: {field.name}")
        object.__setattr__(thing, field.name, value)
