"""What others wrote, in files and on command lines: read within bounds, and of the types meant.

    card = record(RunCard, read_json(path), path)

Every refusal is one sentence: the file, the field, its value, what was expected.
"""

import json
import math
import os
import re
import reprlib
import stat
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    BinaryIO,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from common.errors import UserError, near

T = TypeVar("T")

MOST_BYTES = 2**30
"""Of a file that is read as a whole."""
MOST_DEPTH = 100
"""Lists and objects in one another."""
MOST_DIGITS = 40
"""Of a whole number; `model_max_length` of some tokenizers has 31."""

AnyText = Annotated[str, "with control characters"]
"""What a model, a benchmark or another program said: all else is a name, without such characters.
"""
MaybeNan = Annotated[float, "null where it is not known"]
"""JSON has no nan."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


# Files


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a file as a whole.

    Raises:
        FileNotFoundError: There is none.
        UserError: It is no regular file, larger than `most`, or cannot be read.
    """
    with opened(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise UserError(
                f"{path} has {size:,} bytes, expected at most {most:,}: is it the right file?"
            )
        return file.read()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file, open for reading.

    Raises:
        FileNotFoundError: There is none.
        UserError: It is no regular file, or cannot be read.
    """
    try:
        # A pipe would let whoever opens it wait.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{path} is no regular file")
            yield file
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read: {said}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: There is none.
        UserError: The file holds something else.
    """
    found = as_json(read_bytes(path), path)
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a JSON object")
    return found


def as_json(content: bytes | str, what: object) -> Any:
    """Return what JSON says; of a field that stands twice in an object the second counts.

    Raises:
        UserError: It is not JSON, nested too deeply, or has a number of too many digits.
    """
    try:
        if isinstance(content, bytes):
            coding = "utf-8" if content.startswith(b'{"') else json.detect_encoding(content)
            content = content.decode(coding, "surrogatepass")
        found = _DECODER.decode(content)
        if content.count("[") + content.count("{") <= MOST_DEPTH:
            return found
        level = [found]
        for _ in range(MOST_DEPTH):
            level = [below for one in level for below in _children(one)]
            if not level:
                return found
    except RecursionError:
        pass
    except ValueError as error:
        raise UserError(f"{what} is not JSON: {error}") from None
    raise UserError(f"{what} is nested more than {MOST_DEPTH} deep")


def _children(value: Any) -> Iterable[Any]:
    kind = type(value)
    parts = value.values() if kind is dict else value if kind is list else ()
    return [part for part in parts if type(part) in (dict, list)]


def _int(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, expected at most {MOST_DIGITS}")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_int)


def as_yaml(text: bytes | str, what: object) -> Any:
    """Return what YAML says, dates as text.

    Raises:
        UserError: It is no YAML, refers to another place in itself, or gives a field twice.
    """
    import yaml

    foreseen = ArithmeticError, AttributeError, LookupError, TypeError, ValueError
    try:
        return yaml.load(text, Loader=_loader())
    except RecursionError:
        raise UserError(f"{what} is nested too deeply") from None
    except (yaml.YAMLError, *foreseen) as error:
        said = textwrap.shorten(str(error), 200, placeholder=" …")
        raise UserError(f"{what} is no valid YAML ({said})") from None


@cache
def _loader() -> Any:
    """A SafeLoader whose work is bounded by the length of the text."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {
            first: [one for one in found if not one[0].endswith(":timestamp")]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                line = self.peek_event().start_mark.line + 1
                raise yaml.YAMLError(f"an alias in line {line}: write out what it stands for")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(names)) < len(names):
                twice = next(name for at, name in enumerate(names) if name in names[:at])
                raise yaml.YAMLError(f"the field {twice} stands there twice")
            return super().construct_mapping(node, deep)

        def construct_whole(self, node: Any) -> int:
            value = self.construct_yaml_int(node)
            if abs(value) >= 10**MOST_DIGITS:
                raise ValueError(f"a number of more than {MOST_DIGITS} digits")
            return value

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_whole)
    return Loader


# Types


def record(kind: type[T], row: Any, what: object, *, part: bool = False) -> T:
    """Build a dataclass from a JSON object, each field as its annotation says: see `as_kind`.

    Args:
        kind: The dataclass.
        row: The object.
        what: How a refusal calls it, such as its file.
        part: The object has more fields, which are left aside.

    Raises:
        UserError: A field is missing, unknown, or something else.
    """
    if part and isinstance(row, dict):
        row = {field.name: row[field.name] for field in fields(kind) if field.name in row}  # type: ignore[arg-type]
    found: T = as_kind(row, kind, what)
    return found


def as_kind(value: Any, kind: Any, what: object) -> Any:
    """Return a value as a kind, without guessing: an int is a float too, a list a tuple.

    Args:
        value: As JSON, YAML or Python give it.
        kind: str, int, float, bool, Path or another class, a dataclass; a Literal,
            tuple[X, ...], list[X], dict[X, Y], Mapping[X, Y], `AnyText`, `MaybeNan`, or an
            optional one of these; Any.
        what: How a refusal calls it: `my.yaml: lr`.

    Raises:
        UserError: It is of another kind, a number that is not finite, or a name with control
            characters.
    """
    try:
        return _reader(kind)(value)
    except _Unfit as error:
        raise UserError(error.sentence(what)) from None


def settle(thing: Any, what: str) -> None:
    """Make each field of a new dataclass what its annotation says, see `as_kind`.

    Raises:
        UserError: A field is something else.
    """
    for field in fields(thing):
        value = as_kind(getattr(thing, field.name), field.type, f"{what}: {field.name}")
        object.__setattr__(thing, field.name, value)


class _Unfit(Exception):
    """A value is not what it is meant to be."""

    def __init__(self, said: str, place: str = "") -> None:
        super().__init__(said)
        self.said, self.place = said, place

    def sentence(self, what: object) -> str:
        place = f": {self.place[1:]}" if self.place.startswith(".") else self.place
        return f"{what}{place} {self.said}"


Reader = Callable[[Any], Any]


@cache
def _reader(kind: Any) -> Reader:
    """Return what makes a value of a kind, or raises `_Unfit`."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if kind == AnyText:
        return lambda value: value if type(value) is str else _scalar(str, value)
    if kind == MaybeNan:
        return lambda value: math.nan if value is None else _scalar(float, value)
    if origin in (Union, UnionType):
        reads = [_reader(one) for one in inner if one is not NoneType]
        return _union_reader(reads, or_none=NoneType in inner)
    if origin in (list, tuple):
        return _list_reader(origin, _reader(inner[0]))
    if origin in (dict, Mapping):
        return _mapping_reader(*map(_reader, inner))
    if origin is Literal:
        return _literal_reader(inner)
    if is_dataclass(kind):
        return _record_reader(kind)
    if kind in (int, bool):
        return lambda value: value if type(value) is kind else _scalar(kind, value)
    if kind is float:
        return lambda value: (
            value if type(value) is float and math.isfinite(value) else _scalar(float, value)
        )
    if kind is str:
        return lambda value: value if _is_name(value) else _scalar(str, value)
    return lambda value: _scalar(kind, value)


def _is_name(value: Any) -> bool:
    return type(value) is str and not _CONTROL.search(value)


def _within(place: str, read: Reader, value: Any) -> Any:
    try:
        return read(value)
    except _Unfit as error:
        raise _Unfit(error.said, place + error.place) from None


def _union_reader(reads: list[Reader], *, or_none: bool) -> Reader:
    """The first of several kinds that a value is of."""

    def of(value: Any) -> Any:
        if value is None and or_none:
            return None
        for read in reads[:-1]:
            with suppress(_Unfit):
                return read(value)
        return reads[-1](value)

    return of


def _list_reader(kind: Any, read: Reader) -> Reader:
    def of(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise _Unfit(f"is a list, not {reprlib.repr(value)}; write [a, b]")
        return kind(_within(f"[{at}]", read, one) for at, one in enumerate(value))

    return of


def _mapping_reader(read_key: Reader, read: Reader) -> Reader:
    def of(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _Unfit(f"is a table of names and values, not {reprlib.repr(value)}")
        return {read_key(name): _within(f".{name}", read, one) for name, one in value.items()}

    return of


def _literal_reader(known: tuple[Any, ...]) -> Reader:
    words = frozenset(one for one in known if type(one) is str)

    def of(value: Any) -> Any:
        if type(value) is str and value in words:
            return value
        for one in known:
            if type(one) is type(value) and one == value:
                return one
        hint = near(str(value), known).strip() if isinstance(value, str) else ""
        names = ", ".join(map(str, known))
        raise _Unfit(f"is one of {names}, not {reprlib.repr(value)}{hint and f'; {hint}'}")

    return of


def _record_reader(kind: Any) -> Reader:
    hints = get_type_hints(kind, include_extras=True)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = {
        field.name: None
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    }

    def of(row: Any) -> Any:
        if type(row) is kind:
            return row
        if not isinstance(row, dict):
            raise _Unfit(f"is an object, not {reprlib.repr(row)}")
        found = {}
        for name, value in row.items():
            if name not in readers:
                hint = near(str(name), readers).strip()
                raise _Unfit(f"has the unknown field {reprlib.repr(name)}{hint and f'; {hint}'}")
            try:
                found[name] = readers[name](value)
            except _Unfit as error:
                raise _Unfit(error.said, f".{name}{error.place}") from None
        if not needed.keys() <= found.keys():
            raise _Unfit(f"has no field {next(name for name in needed if name not in found)}")
        try:
            return kind(**found)
        except UserError as error:  # its own rules
            raise _Unfit(f"cannot be so: {error}") from None

    return of


def _scalar(kind: Any, value: Any) -> Any:
    """Return a text, a number, a bool or a path; YAML reads 1e-6 (without a point) as text."""
    given = value
    if kind is float and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            pass
    if kind is Path and isinstance(value, str):
        value = Path(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and kind in (float, str):
        value = kind(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise _Unfit(f"is of type {kind.__name__}, not {reprlib.repr(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unfit(f"is a finite number, not {reprlib.repr(given)}")
    if isinstance(value, str | Path) and _CONTROL.search(str(value)):
        raise _Unfit(f"has control characters: {reprlib.repr(value)}")
    return value
