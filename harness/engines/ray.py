"""vLLM on every GPU of a Ray cluster: one queue of questions, an engine in each worker.

The workers run `VllmEngine` itself, so that answers and their keys are those of vLLM in process: a
run begun with one goes on with the other. Ray Data's own vLLM processor runs too, but tells no
finish reason, hands answers over by the batch, and adds a beginning token of its own to a prompt
that has one (ray 2.60).
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from common.errors import UserError
from common.text import said
from harness.checkpoints.kinds import Checkpoint, folder_of
from harness.engines import Request
from harness.engines.vllm import Room, VllmEngine
from harness.runs.schema import Question, Response

CHUNK = 8
"""Questions in one piece of the queue."""
AHEAD = 16
"""Pieces that the queue holds for each worker."""


class RayEngine:
    """As many vLLM engines as the cluster has room for, over the same checkpoint."""

    name = "vllm"
    notes = ()

    def __init__(
        self, checkpoint: Checkpoint, room: Room | None = None, workers: int | None = None
    ) -> None:
        """Describe the engines; none is started.

        Args:
            checkpoint: On a file system that all nodes share.
            room: What each engine takes.
            workers: How many; None: one for each GPU or `room.devices` of them, on a CPU build of
                vLLM one for each node.
        """
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise UserError("Ray is not installed: pip install ray, or choose vllm") from error
        self._room = room or Room()
        self.context = self._room.context
        self._count = workers
        self._checkpoint = checkpoint
        self._here = VllmEngine(checkpoint, self._room)  # renders, and is never started
        self.version, self.dtype = self._here.version, self._here.dtype
        self.device = f"ray: {self._here.device}"
        self._workers: list[Any] = []

    def render(self, question: Question) -> str:
        """Return the prompt as the checkpoint's own chat template makes it."""
        return self._here.render(question)

    def start(self) -> None:
        """Load the weights in all workers now, instead of with the first question."""
        import ray

        if not self._workers:
            self._workers = _hire(self._checkpoint, self._room, self._count)
        starts = {
            worker: worker.start.remote(self._checkpoint, self.version) for worker in self._workers
        }
        for worker, start in starts.items():
            try:
                ray.get(start)
            except ray.exceptions.RayActorError as error:
                self._lose(worker, error)
            except ray.exceptions.RayError as error:
                self.close()
                raise _reported(error) from error
        self.device = f"ray: {len(self._workers)} x {self._here.device}"

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer, in the order in which answers finish; see `Engine.generate`.

        What a worker that is lost had taken is asked of the others.
        """
        self.start()
        left: Iterable[Request] = requests
        try:
            while True:
                feeder = _Feeder(left, len(self._workers))
                yield from self._round(feeder)
                if not feeder.open:
                    break
                left = list(feeder.open.values())
        except BaseException:
            self.close()  # they would go on with what nobody waits for
            raise

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with the weights of a swappable checkpoint, from the next question on."""
        self._checkpoint = checkpoint
        self._here.swap(checkpoint)

    def close(self) -> None:
        """Free everything; the cluster stays."""
        import ray

        for worker in self._workers:
            ray.kill(worker)
        self._workers = []

    def _lose(self, worker: Any, error: Exception) -> None:
        self._workers.remove(worker)
        print(f"driftbench: a worker of Ray is lost: {said(error)}", file=sys.stderr)
        if not self._workers:
            raise UserError(f"all workers of Ray are lost, the last: {said(error)}") from error

    def _round(self, feeder: "_Feeder") -> Iterator[Response]:
        """Ask until the queue is empty or all workers are lost."""
        import ray

        streams = {
            worker.generate.options(num_returns="streaming").remote(feeder.queue): worker
            for worker in self._workers
        }
        with feeder:
            while streams:
                (stream,), _ = ray.wait(list(streams), num_returns=1)
                try:
                    response = ray.get(next(stream))
                except StopIteration:
                    del streams[stream]
                except ray.exceptions.RayActorError as error:
                    self._lose(streams.pop(stream), error)
                except ray.exceptions.RayError as error:
                    raise _reported(error) from error
                else:
                    del feeder.open[_place(response.task, response.id, response.sample)]
                    yield response


def _place(task: str, id: str, sample: int) -> tuple[str, str, int]:
    return task, id, sample


class _Feeder:
    """Fills a queue in a thread, no further ahead than the workers need."""

    def __init__(self, requests: Iterable[Request], workers: int) -> None:
        from ray.util.queue import Queue

        self.queue = Queue(AHEAD * workers)
        self.open: dict[tuple[str, str, int], Request] = {}
        """In the queue or with a worker."""
        self._requests = iter(requests)
        self._ends = workers
        self._trouble: Exception | None = None
        self._left = False
        self._thread = threading.Thread(target=self._feed, name="ray feeder", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self._left = True
        self._thread.join()
        self.queue.shutdown(force=True)
        if self._trouble and kind is None:
            raise self._trouble

    def _feed(self) -> None:
        try:
            while requests := list(islice(self._requests, CHUNK)):
                self.open |= {_place(a.question.task, a.question.id, a.sample): a for a in requests}
                self._put(requests)
        except Exception as error:
            self._trouble = error
        for _ in range(self._ends):
            self._put(None)

    def _put(self, requests: list[Request] | None) -> None:
        from ray.util.queue import Full

        while not self._left:
            try:
                return self.queue.put(requests, timeout=1.0)
            except Full:
                continue


class _Worker:
    """One engine, in a process of the cluster."""

    def __init__(self, checkpoint: Checkpoint, room: Room) -> None:
        self._engine = VllmEngine(checkpoint, room)

    def start(self, checkpoint: Checkpoint, version: str) -> None:
        if self._engine.version != version:
            raise UserError(f"a node of Ray has vLLM {self._engine.version}, not {version}")
        path = folder_of(checkpoint).path
        if not path.exists():
            raise UserError(f"{path} is not on all nodes of Ray: put it where all see it")
        self._engine.swap(checkpoint)
        self._engine.start()

    def generate(self, queue: Any) -> Iterator[Response]:
        pieces = iter(queue.get, None)
        yield from self._engine.generate(request for piece in pieces for request in piece)


def _hire(checkpoint: Checkpoint, room: Room, count: int | None) -> list[Any]:
    """Start the workers in the cluster that RAY_ADDRESS names, else in one of this machine."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"Ray does not start: {said(error)}") from error
    gpus = int(ray.cluster_resources().get("GPU", 0))
    on_cpu = "cpu" in VllmEngine(checkpoint, room).device
    fitting = sum(node["Alive"] for node in ray.nodes()) if on_cpu else gpus // room.devices
    if not (count or fitting):
        raise UserError(f"the cluster of Ray has {gpus} GPUs, and an engine takes {room.devices}")
    needs = {"num_cpus": 1} if on_cpu else {"num_gpus": room.devices}
    hired = ray.remote(_Worker).options(scheduling_strategy="SPREAD", **needs)
    return [hired.remote(checkpoint, room) for _ in range(count or fitting)]


def _reported(error: Exception) -> UserError:
    """Return what went wrong in a worker: its own words where it is the user's to mend."""
    cause = getattr(error, "cause", None)
    return UserError(str(cause) if isinstance(cause, UserError) else f"Ray failed: {said(error)}")
