"""What a command starts ends with it, however that ends; and SIGTERM ends a command as Ctrl-C does.

On Linux the kernel kills a process that is tied when the one that started it is gone, SIGKILL
included. Killing loses nothing: what is on disk is whole at any moment. Elsewhere, SIGTERM and
Ctrl-C end what was started, and SIGKILL leaves it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a command that SIGTERM ended."""

GRACE_SECONDS = 5.0
"""For what is told to end, before it is killed."""
LAST_SECONDS = 8.0
"""After a SIGTERM, a command has ended: whoever sends one kills by force before long."""

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's <sys/prctl.h>."""

_prctl: Callable[[int, int], int] | None = None
_forking = 0
"""The process that is about to fork."""
_forks_tied = False
terminating = False
"""Whether a SIGTERM came."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which unlike Ctrl-C reaches one process and not all that it started."""


def tie() -> Callable[[], None]:
    """Return the `preexec_fn` of a process that is to end with this one."""
    _load()
    return partial(_tie, os.getpid())


def tie_forks() -> None:
    """Tie whatever this process forks from now on, and what is forked from there."""
    global _forks_tied
    if not _forks_tied:
        _forks_tied = True
        _load()
        os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def follow() -> None:
    """Tie this process, where it is one that multiprocessing or torchrun started for a command."""
    made = sys.modules.get("multiprocessing.process")
    # A spawned one imports the main module before it is told who its parent is.
    spawned = made and (
        made.parent_process() or getattr(made.current_process(), "_inheriting", False)
    )
    if spawned or "TORCHELASTIC_RUN_ID" in os.environ:
        tie_forks()
        _tie(os.getppid())


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does: by an exception, what is complete is kept."""
    signal.signal(signal.SIGTERM, _terminate)


def stop(started: Iterable["subprocess.Popen[bytes]"], tell: bool = True) -> None:
    """End processes: by SIGTERM, by force if that takes long.

    Args:
        started: They.
        tell: False: they have been told, as a terminal's Ctrl-C tells all of a group.
    """
    processes = list(started)
    if tell:
        for process in processes:
            process.terminate()
    end = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _terminate(number: int, frame: FrameType | None) -> None:
    global terminating
    terminating = True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The exception waits for C code to come back, and may be raised where nobody hears it.
    last = threading.Timer(LAST_SECONDS, os._exit, [TERMINATED])
    last.daemon = True
    last.start()
    raise Terminated


def _load() -> None:
    """Find prctl beforehand: little can be done between fork and exec."""
    global _prctl
    if sys.platform == "linux" and _prctl is None:
        import ctypes

        _prctl = ctypes.CDLL(None).prctl


def _tie(parent: int) -> None:
    if _prctl is not None:
        _prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(TERMINATED)


def _before_fork() -> None:
    global _forking
    _forking = os.getpid()


def _after_fork() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _tie(_forking)
