"""What a command starts ends with it, however that ends; and SIGTERM ends a command as Ctrl-C does.

On Linux the kernel kills a process that is tied when the one that started it is gone, SIGKILL
included. Killing loses nothing: what is on disk is whole at any moment. Elsewhere, SIGTERM and
Ctrl-C end what was started, and SIGKILL leaves it.
"""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Protocol

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a command that SIGTERM ended."""

GRACE_SECONDS = 5.0
"""For what is told to end, before it is killed."""
LAST_SECONDS = 8.0
"""After a SIGTERM, a command has ended: whoever sends one kills by force before long."""

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's <sys/prctl.h>."""

_OWN = "DRIFTBENCH_STARTED_BY"
_WATCH = """
import os, sys, time
sys.stdin.buffer.read()
mark = sys.argv[1].encode()
for _ in range(20):
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark in file.read().split(b"\\0"):
                    os.kill(int(pid), 9)
        except OSError:
            pass
    time.sleep(0.1)
"""
"""Waits for the end of standard input, then kills who bears the mark: again and again, as one of
them may just be starting another."""

_prctl: Callable[[int, int], int] | None = None
_forking = 0
"""The process that is about to fork."""
_forks_tied = False
_watched = 0
"""The process whose end is waited for."""
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


def end_spawned() -> None:
    """Kill, once this process is gone, every new program that it started, and what those started.

    For what others start for us and cannot be tied: a spawned process, such as vLLM's engine or a
    rank of torchrun, is a new program, which no hook of a fork reaches. It inherits a mark in its
    environment, and a small process that waits for the end of this one kills all that bear it.
    """
    global _watched
    if sys.platform != "linux" or _watched == os.getpid():
        return
    _watched = os.getpid()
    os.environ[_OWN] = f"{os.getpid()}-{time.time_ns()}"
    reading, _ = os.pipe()  # what is written to closes when this process is gone
    quiet = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, reading, 0)]
    actions += [(os.POSIX_SPAWN_DUP2, quiet, stream) for stream in (1, 2)]
    words = [sys.executable, "-I", "-S", "-c", _WATCH, f"{_OWN}={os.environ[_OWN]}"]
    os.posix_spawn(sys.executable, words, {}, file_actions=actions, setsid=True)
    os.close(reading)
    os.close(quiet)


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does: by an exception, what is complete is kept."""
    signal.signal(signal.SIGTERM, _terminate)


class Process(Protocol):
    """What is asked of a `subprocess.Popen`."""

    def terminate(self) -> None: ...  # noqa: D102
    def kill(self) -> None: ...  # noqa: D102
    def wait(self, timeout: float | None = None) -> int: ...  # noqa: D102


def stop(started: Iterable[Process], tell: bool = True) -> None:
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


def allow_files(count: int) -> None:
    """Let this process have so many files and connections open, where the system allows it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def no_garbage() -> Iterator[None]:
    """Look for no garbage: what is read stays, and looking takes a third of the time to read it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def processor_seconds(living: bool = False) -> float:
    """Return what this process and its children have taken, user and system time, of all cores.

    Args:
        living: Count children that have not ended too, which takes a look at all processes.
    """
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(one.ru_utime + one.ru_stime for one in used)
    if living:
        import psutil

        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                times = child.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


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
