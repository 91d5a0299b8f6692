"""Files are written aside and renamed: a reader sees the old one or the new one, whole.

Nothing is written through a link: one that lies in a folder from elsewhere could lead to any file
of whoever writes there. What was found out about files is kept while they are not touched.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from common.errors import UserError

T = TypeVar("T")

# One file


def unlinked(path: str | Path, flags: int) -> int:
    """Open a file for writing as `os.open` does, never through a link: also an opener of `open`.

    Raises:
        UserError: There is a link at `path`.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"{path} is a link, which nothing is written through: remove it") from error


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A new place beside `path` that is renamed to it when the block ends well.

    Raises:
        UserError: It cannot be written; `path` is as it was.
    """
    aside = _beside(path)
    try:
        yield aside
        aside.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def write_whole(path: Path, content: bytes, settled: bool = True) -> None:
    """Write a file aside first and then rename it over `path`.

    Args:
        path: Where.
        content: What.
        settled: Wait until it is on the disk; else `settle` has to.

    Raises:
        UserError: It cannot be written; `path` is as it was.
    """
    with replaced(path) as aside, open(aside, "xb", opener=unlinked) as file:
        file.write(content)
        if settled:
            file.flush()
            os.fsync(file.fileno())


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


# A folder


@contextmanager
def written_aside(folder: Path | str, overwrite: bool | None = None) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place when the block ends well.

    Args:
        folder: Where.
        overwrite: Whether what is there may be replaced; None: no, and there is no option for it.

    Raises:
        UserError: `folder` is already there and may not be replaced.
    """
    folder = Path(folder)
    refuse_existing(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = _beside(folder)
    aside.mkdir()
    try:
        yield aside
        put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def refuse_existing(folder: Path, overwrite: bool | None = None) -> None:
    """Stop when `folder` has something in it and may not be replaced: see `written_aside`."""
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        instead = "" if overwrite is None else " or add --overwrite"
        raise UserError(f"{folder} is already there; give another --out{instead}")
    _refuse_nameless(folder)


def refuse_below_file(path: Path, what: str = "--out") -> None:
    """Stop before there is work to lose when a file lies above a path that is to be written.

    Args:
        path: Where something is to be written; what is missing above it will be made.
        what: How a refusal calls it.

    Raises:
        UserError: What it would lie in is no folder.
    """
    above = next((one for one in path.parents if os.path.lexists(one)), None)
    if above is not None and not above.is_dir():
        raise UserError(
            f"{what} {path} lies in {above}, which is a file: expected a folder, or nothing there "
            "yet"
        )


def refuse_file(folder: Path) -> None:
    """Stop when a file lies where a folder is to be written, or above it: see `written_aside`."""
    refuse_below_file(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"--out {folder} is a file: expected a folder, or nothing there yet")


def put_in_place(aside: Path, folder: Path) -> None:
    """Rename `aside` to `folder`, replacing what was there."""
    old = _beside(folder).with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def own_folder(folder: Path) -> Path:
    """Make a folder inside one that is there, unless it is there too.

    Raises:
        UserError: A link is there, or a file.
    """
    with suppress(FileExistsError):
        folder.mkdir()
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder} is a link or a file, where a folder is written: remove it")
    return folder


def _beside(path: Path) -> Path:
    """Return a name that nobody else has; each container on a shared folder has a process 1."""
    _refuse_nameless(path)
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}.partial")


def _refuse_nameless(path: Path) -> None:
    if not path.name:
        raise UserError(f"nothing can be renamed to {path}: give a file or folder by its name")


def clear(path: Path) -> None:
    """Remove a file or folder, and what a killed writer left beside it."""
    for leftover in (path, *path.parent.glob(f".{path.name}.*.partial")):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


# What was found out about files


def cache_folder() -> Path:
    """Return where what can be made again is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "driftbench"


def stamp(path: Path | str) -> list[int]:
    """Return size, times and inode, which tell whether a file was touched.

    Nobody can put back the time of its last change, `st_ctime`.
    """
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class Stamped:
    """What was found out about files, as JSON: it holds for each while its stamp stays."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known: dict[str, tuple[list[int], Any]] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            kept = json.loads(place.read_bytes()).items()
            self._known = {name: (then, value) for name, (then, value) in kept}
        self.fresh = 0
        """What was found out since."""

    def get(self, name: str, now: list[int]) -> Any:
        """Return what is known of a file with this stamp, or None."""
        then, value = self._known.get(name, (None, None))
        return value if then == now else None

    def put(self, name: str, now: list[int], value: Any) -> None:
        """Keep what was found out about a file; the stamp is that of before it was read."""
        self._known[name] = now, value
        self.fresh += 1

    def of(self, path: Path, find: Callable[[Path], T]) -> T:
        """Return what `find` tells of a file, asked only when the file was touched since."""
        now = stamp(path)
        found = self.get(str(path), now)
        if found is None:
            found = find(path)
            self.put(str(path), now, found)
        return found

    def save(self) -> None:
        """Keep it for the next process; a cache that cannot be written costs time, nothing else."""
        with suppress(OSError, UserError):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._place, json.dumps(self._known).encode())
