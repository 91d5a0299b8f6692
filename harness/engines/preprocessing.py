"""Work on questions ahead of an engine, in processes beside it, so that the engine never waits.

What a question needs before a model can take it (decoding and resizing its pictures, tokens) is
mostly Python and runs on one core; an accelerator answers faster than one core prepares.
"""

import io
import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any

from harness.engines import Request

MOST_WORKERS = 8
CHUNK = 8
"""Requests handed to a process at a time."""
WORTHWHILE = 32
"""Fewer are prepared in this process: starting others would take longer."""

Prepare = Callable[[Request], Any]
"""What the engine needs of one request; trouble with it is returned as an exception."""

_prepare: Prepare
"""In a worker: inherited by forking, so that nothing is loaded twice."""


def workers() -> int:
    """How many processes pay beside an accelerator: none on a single core."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) // 2)


class Prepared:
    """Requests with what was prepared for them, in order, some ahead of the consumer.

    Use as a context manager; leaving it ends the processes.
    """

    def __init__(
        self, requests: Iterable[Request], prepare: Prepare, ahead: int, processes: int = 0
    ) -> None:
        source = iter(requests)
        self._prepare = prepare
        self._chunks = max(1, ahead // CHUNK)
        self._ready: deque[tuple[Request, Any]] = deque()
        self._works: deque[tuple[list[Request], Future[bytes]]] = deque()
        self._pool: ProcessPoolExecutor | None = None
        first = list(islice(source, WORTHWHILE))
        if len(first) == WORTHWHILE and processes:
            self._pool = _pool(prepare, processes)
        self._source = chain(first, source)

    def __enter__(self) -> "Prepared":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, wait: bool) -> tuple[Request, Any] | None:
        """Return the next request; None if it is not ready and `wait` is false.

        Raises:
            StopIteration: There is none left.
        """
        if not self._ready:
            self._advance(wait)
        return self._ready.popleft() if self._ready else None

    def _advance(self, wait: bool) -> None:
        try:
            if self._pool:
                self._collect(wait)
                return
        except BrokenProcessPool:
            # A process was killed, mostly for memory: this one goes on alone.
            self._pool = None
            self._source = chain(
                [request for requests, _ in self._works for request in requests], self._source
            )
        request = next(self._source)
        self._ready.append((request, self._prepare(request)))

    def _collect(self, wait: bool) -> None:
        assert self._pool is not None
        while len(self._works) < self._chunks and (requests := list(islice(self._source, CHUNK))):
            self._works.append((requests, Future()))
            self._works[-1] = (requests, self._pool.submit(_work, requests))
        if not self._works:
            raise StopIteration
        requests, future = self._works[0]
        if wait or future.done():
            results = pickle.loads(future.result())
            self._works.popleft()
            self._ready.extend(zip(requests, results, strict=True))


def _pool(prepare: Prepare, processes: int) -> ProcessPoolExecutor:
    global _prepare
    _prepare = prepare
    return ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("fork"), initializer=_settle
    )


def _settle() -> None:
    import signal

    import torch

    torch.set_num_threads(1)
    # Ctrl-C is the front process's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(requests: list[Request]) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump([_prepare(request) for request in requests])
    return file.getvalue()


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays: a tenth of the time of torch's own way, and no shared memory."""

    def reducer_override(self, value: Any) -> Any:
        import torch

        if not isinstance(value, torch.Tensor):
            return NotImplemented
        # numpy knows no bfloat16.
        flat = value.contiguous().view(torch.int16) if value.dtype is torch.bfloat16 else value
        return _tensor, (flat.numpy(), value.dtype is torch.bfloat16)


def _tensor(array: Any, bfloat16: bool) -> Any:
    import torch

    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if bfloat16 else tensor
