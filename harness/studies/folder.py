"""The folder of a study: whose it is, who runs in it, and that nothing is removed beyond it."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError
from common.files import unlinked
from harness.studies import record
from harness.studies.step import STATE, Study


def claim(out: Path, study: Study, needed: int) -> None:
    """Make the folder, or check that it holds this study.

    Args:
        out: It.
        study: It is to hold.
        needed: Bytes that the study will write there.

    Raises:
        UserError: It holds something else, or its disk has too little room for a new study.
    """
    held = record.name(out)
    if held is not None:
        if held != study.name:
            raise UserError(
                f"{out} holds the study {held!r}, not {study.name!r}; give another --out"
            )
    elif out.exists() and any(_is_foreign(path, out) for path in (out, *out.rglob("*"))):
        raise UserError(f"{out} holds something other than a study; give a new folder as --out")
    place = next(parent for parent in (out, *out.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed and held is None:
        raise UserError(
            f"{place} has {free / 2**30:.1f} GiB free, the study needs {needed / 2**30:.1f}"
        )
    (out / STATE).mkdir(parents=True, exist_ok=True)


def _is_foreign(path: Path, out: Path) -> bool:
    """Whether something is more than what this leaves in a folder before it notes the study."""
    state = out / STATE
    if path in (out, state):
        return not path.is_dir() or (path == state and path.is_symlink())
    return path not in (state / "lock", state / "fingerprints.json")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep others from running a study in its folder.

    Raises:
        UserError: Another process does.
    """
    with open(out / STATE / "lock", "w", opener=unlinked) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is running the study in {out}") from None
        yield


def check_links(out: Path, path: str) -> None:
    """Stop where a link on the way to what a step writes leads out of the study's folder.

    Raises:
        UserError: It does.
    """
    if not (out / path).parent.resolve().is_relative_to(out.resolve()):
        raise UserError(f"it writes {path}, which lies behind a link out of {out}")
