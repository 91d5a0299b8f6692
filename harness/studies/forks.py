"""Steps that fork from one process, which has imported what takes longer than many a step.

A study whose steps take seconds spends a third of them on importing torch, transformers and vLLM.
Here one process imports them, and the words of a step run in a fork of it, with an environment, a
working folder and standard streams of their own. Nothing else is shared: no model, file or setting.

    python -P -m harness.studies.forks FD     serves a socket: a message a step, see `Forks.start`
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from common import processes
from common.errors import UserError

_MOST = 1 << 20
"""Bytes of a message."""


class Fork:
    """A step under way, with what is asked of `subprocess.Popen`."""

    returncode: int | None = None

    def __init__(self, forks: "Forks", pid: int) -> None:
        self._forks, self.pid = forks, pid

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            self._forks.look()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: It runs after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(0.02)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Forks:
    """The process that steps fork from; it ends with this one, and its steps with it."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        """Start it.

        Args:
            environment: While it imports.
            log: File for what it says.
        """
        self._log = log
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its, open(log, "wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                pass_fds=[its.fileno()],
                preexec_fn=processes.tie(),
            )
        self._running: dict[int, Fork] = {}
        """By process; Linux gives the number of one that has ended to another."""

    def start(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], log: int
    ) -> Fork:
        """Run a module as `python -P -m` would.

        Args:
            words: Its name, and its arguments.
            cwd: Where.
            environment: All of it.
            log: Open file for what it says.

        Raises:
            UserError: There is nothing to fork from any more.
        """
        step = {"words": list(words), "cwd": str(cwd), "environment": dict(environment)}
        try:
            socket.send_fds(self._socket, [json.dumps(step).encode()], [log])
        except OSError as error:
            raise UserError(f"nothing to fork from: {error.strerror}; see {self._log}") from None
        while (said := self._receive(wait=True)) is not None:
            if said["status"] is None:
                fork = self._running[said["pid"]] = Fork(self, said["pid"])
                return fork
            self._end(**said)
        raise UserError(f"the process that steps fork from has ended; see {self._log}")

    def look(self) -> None:
        """Note which steps have ended."""
        is_over = self._process.poll() is not None  # before the last that it said is read
        while (said := self._receive(wait=False)) is not None:
            self._end(**said)
        if is_over:
            for pid in list(self._running):
                self._end(pid, -signal.SIGKILL)  # it was tied

    def _end(self, pid: int, status: int) -> None:
        self._running.pop(pid).returncode = status

    def stop(self) -> None:
        """End it."""
        self._socket.close()
        processes.stop([self._process])

    def _receive(self, *, wait: bool) -> dict[str, Any] | None:
        self._socket.setblocking(wait)
        try:
            message = self._socket.recv(_MOST)
        except OSError:  # nothing is there yet, or it is gone
            return None
        return json.loads(message) if message else None


# The process itself


def _serve(with_runner: socket.socket) -> None:
    _import()
    gc.freeze()  # or each fork goes through it all again, and copies it
    # A terminal's Ctrl-C reaches the steps too, unless it is ignored all over.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.tie_forks()
    with selectors.DefaultSelector() as selector:
        selector.register(with_runner, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    message, files, _, _ = socket.recv_fds(with_runner, _MOST, 1)
                    if not message:
                        return  # the study is over
                    pid = os.fork()
                    if pid == 0:
                        selector.close()
                        with_runner.close()
                        signal.signal(signal.SIGINT, interrupt)
                        _run(files[0], **json.loads(message))
                    os.close(files[0])
                    status = None
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                else:
                    pid = key.data
                    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                with_runner.send(json.dumps({"pid": pid, "status": status}).encode())


def _import() -> None:
    import drift.training.trainer  # noqa: F401
    from harness.engines import vllm

    vllm.preload()
    with suppress(ImportError):
        # With all that it imports it is looked at whenever a tokenizer is loaded.
        import transformers.tokenization_mistral_common  # noqa: F401


def _run(log: int, words: list[str], cwd: str, environment: dict[str, str]) -> NoReturn:
    """Become a step."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    sys.argv[:] = words
    status: int | str | None = 1
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    # To take apart all that was imported would take longer than many a step.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as one:
        _serve(one)
