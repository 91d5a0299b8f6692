"""Who may write a run folder: one process alone, or the shards of one run side by side.

A lock is a file in the run folder that a process holds by `flock`: it ends with the process,
however that ends. Shards share `.lock` while they ask, and each holds `.lock.<shard>` alone.
"""

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import UserError
from common.files import unlinked

PATIENCE = 300.0
"""Seconds to wait for who holds a folder but for a moment: to begin a run, or to grade it."""
SILENT_SECONDS = 2.0
"""Who waits for longer is told so."""
SIGNING_SECONDS = 1.0
"""Within them, who takes a lock has written into it who it is."""
BRIEF = "briefly"


class Busy(UserError):
    """Another process holds the folder."""


@contextmanager
def locked(run: Path, part: str = "", *, brief: bool = False) -> Iterator[None]:
    """Hold a run folder, or a part of it, alone.

    Args:
        run: The folder.
        part: A shard, or a file; empty: all of it.
        brief: It is held but for a moment: who wants it too may wait.

    Raises:
        Busy: Another process holds it, and not but for a moment.
    """
    path = run / (f".lock.{part}" if part else ".lock")
    if brief and part:
        handle = _awaited(path, run, fcntl.LOCK_EX)
    elif (taken := _taken(path, fcntl.LOCK_EX)) is None:
        raise _busy(path, run)
    else:
        handle = taken
    _sign(handle, brief)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def shared(run: Path) -> Iterator[None]:
    """Hold a run folder together with other shards, against whoever wants it alone.

    Raises:
        Busy: Another process holds it alone, and not but for a moment.
    """
    path = run / ".lock"
    handle = _awaited(path, run, fcntl.LOCK_SH)
    _sign(handle, brief=False)
    try:
        yield
    finally:
        with suppress(BlockingIOError):  # others share it still
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        os.close(handle)


def _taken(path: Path, how: int) -> int | None:
    """Return the open lock file, None where another process holds it."""
    while True:
        handle = unlinked(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        # The holder before us removed the file between our open and our lock: try the new one.
        with suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        os.close(handle)


def _awaited(path: Path, run: Path, how: int) -> int:
    began = brief = time.monotonic()
    told = False
    while (handle := _taken(path, how)) is None:
        now = time.monotonic()
        if _holder(path).endswith(BRIEF):
            brief = now
        # Who has just taken it may not have signed it yet.
        if now - began > PATIENCE or now - brief > SIGNING_SECONDS:
            raise _busy(path, run)
        if now - began > SILENT_SECONDS and not told:
            told = True
            print(f"driftbench: {run}: waiting for {_named(_holder(path))}", file=sys.stderr)
        time.sleep(0.05)
    return handle


def _sign(handle: int, brief: bool) -> None:
    os.truncate(handle, 0)
    name = f"{os.getpid()} {socket.gethostname()}{' ' + BRIEF if brief else ''}"
    os.pwrite(handle, name.encode(), 0)


def _holder(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def _named(holder: str) -> str:
    """`process 12`, with its machine where that is another."""
    pid, _, rest = holder.partition(" ")
    machine = rest.removesuffix(BRIEF).strip()
    elsewhere = f" on {machine}" if machine and machine != socket.gethostname() else ""
    return f"process {pid or 'unknown'}{elsewhere}"


def _busy(path: Path, run: Path) -> Busy:
    shard = path.name.removeprefix(".lock").removeprefix(".")
    what = f"{run} (shard {shard})" if shard else str(run)
    return Busy(
        f"{what} is being written by {_named(_holder(path))}: wait for it, or choose another --out"
    )
