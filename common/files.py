"""Files written aside and renamed: a reader sees the old one or the new one, whole."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from common.errors import UserError


def write_whole(path: Path, content: bytes, settled: bool = True) -> None:
    """Write a file aside first and then rename it over `path`.

    Args:
        path: Where.
        content: What.
        settled: Wait until it is on the disk; else `settle` has to.

    Raises:
        UserError: It cannot be written; `path` is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            if settled:
                os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def settle(paths: Iterable[Path]) -> None:
    """Wait until files are on the disk: many at once take little longer than one.

    Raises:
        UserError: One cannot be written.
    """
    for path in paths:
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
