"""Any number of OpenAI-compatible endpoints that serve one model: vLLM's, SGLang's, a company's.

    service = Service((address("http://one:8000"), address("http://two:8000")))
    run([served_checkpoint("Qwen/Qwen2.5-VL-7B-Instruct", service)], …,
        engine=functools.partial(ServerEngine, service=service))

One queue of questions; each endpoint gets as many at a time as it bears. What fails goes back into
the queue, for whichever endpoint is free first.
"""

import asyncio
import contextlib
import heapq
import itertools
import math
import random
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from common.errors import UserError
from common.provenance import canonical, digest
from harness.checkpoints.kinds import AdaptedModel, Checkpoint, ModelFolder, Served, ServedModel
from harness.engines import Request, refusal, rendering
from harness.engines.endpoint import Closed, Endpoint, Failed, Refused, Tokens
from harness.runs.schema import Question, Response, Sampling

FIRST, MOST = 16, 512
"""Questions at a time of one endpoint, in the beginning and at most."""

TRIES = 8
"""Of one question, before it is taken to be the question's fault."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds after the first failure in a row; twice as many after each further one, at most."""

WATCH_SECONDS = 30.0
"""An endpoint that works but has not answered for as long is asked whether it lives."""

MANY_REFUSALS = 20
"""Without one answer: not the questions are wrong, but what is asked of the endpoint."""

PLAIN = Request(
    question=Question(task="", id="", prompt="Say yes."), sampling=Sampling(max_tokens=16)
)
"""A question that whoever lives answers."""


@dataclass(frozen=True)
class Service:
    """Where a model is served, and how patiently it is asked."""

    addresses: tuple[str, ...]
    """As `endpoint.address` returns them."""
    key: str = field(default="", repr=False)
    """Of the endpoints; in no record."""
    timeout: float = 1800.0
    """Seconds for one answer."""
    patience: float = 300.0
    """Seconds that an endpoint may fail without one answer before it is given up."""

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints, none of them connected yet."""
        return [Endpoint(url, self.key, self.timeout) for url in self.addresses]


def served_checkpoint(
    model: str, service: Service, weights: ModelFolder | AdaptedModel | None = None
) -> ServedModel:
    """Name a served model by what its endpoints tell; its weights are out of sight.

    Args:
        model: Its name there.
        service: All endpoints must tell the same of it; one that is down is left to the run.
        weights: The checkpoint that is served, where the user has it at hand and says so.

    Raises:
        UserError: No endpoint answers, one does not serve the model, or they disagree.
    """
    told = asyncio.run(_ask_all(service, lambda endpoint: endpoint.served(model)))
    served = [found for found in told.values() if isinstance(found, Served)]
    for url, found in told.items():
        if isinstance(found, Closed):
            raise UserError(f"{url}: {found}")
        if isinstance(found, Failed) and served:
            print(f"driftbench: {url} is down ({found}): going on without it", file=sys.stderr)
    if not served:
        raise UserError(f"no endpoint answers: {_listed(told)}")
    if len({canonical(found.identity()) for found in served}) > 1:
        raise UserError(f"the endpoints serve different things as {model}: {_listed(told)}")
    identity = {**served[0].identity(), "weights": weights and weights.fingerprint}
    fingerprint = f"served:{model}:{digest(identity)}"
    return ServedModel(
        name=Path(model).name,
        path=Path(model),
        fingerprint=fingerprint,
        surroundings=fingerprint,
        made=weights.made if weights else None,
        served=served[0],
        weights=weights,
    )


async def _ask_all(
    service: Service, call: Callable[[Endpoint], Coroutine[Any, Any, Served]]
) -> dict[str, Any]:
    """Ask all endpoints one thing at once; return each one's answer or exception."""
    endpoints = service.endpoints()
    try:
        found = await asyncio.gather(*map(call, endpoints), return_exceptions=True)
    finally:
        for endpoint in endpoints:
            await endpoint.close()
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, Closed | Failed):
            raise one
    return dict(zip(service.addresses, found, strict=True))


def _listed(told: dict[str, Any]) -> str:
    return "; ".join(
        f"{url} {canonical(found.identity()) if isinstance(found, Served) else found}"
        for url, found in told.items()
    )


class ServerEngine:
    """Endpoints that serve one model, of a `served_checkpoint`."""

    name = "server"
    dtype = "unknown"

    def __init__(self, checkpoint: Checkpoint, service: Service) -> None:
        assert isinstance(checkpoint, ServedModel)
        self._service = service
        self._served, self._weights = checkpoint.served, checkpoint.weights
        self._folder = checkpoint.folder
        self._processor: Any = None
        self._endpoints = service.endpoints()
        self.version = self._served.software or "unknown"
        self.device = " ".join(service.addresses)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known of the answers, so far."""
        place = self._weights and self._weights.path
        taken = f"they are taken to be those of {place}" if place else "only its name is known"
        notes = [f"{self._served.model} is served: its weights could not be verified, {taken}"]
        for endpoint in self._endpoints:
            if endpoint.left_out:
                fields = ", ".join(sorted(endpoint.left_out))
                notes.append(f"{endpoint.url} takes no {fields}: its own settings hold there")
            if others := endpoint.names - {self._served.model}:
                notes.append(f"{endpoint.url} says that {', '.join(sorted(others))} answered")
        return tuple(notes)

    def render(self, question: Question) -> str:
        """Return the prompt, by the chat template of the weights.

        Where they are out of sight, the message: the server makes a prompt of it.
        """
        if self._folder is None:
            return canonical(rendering.content(question))
        if self._processor is None:
            self._processor = rendering.load_processor(self._folder)
        return rendering.render(self._processor, self._folder, question)

    def start(self) -> None:
        """Nothing to load."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer, in the order in which answers finish; see `Engine.generate`.

        The requests are made in a thread of their own: they go on while the caller works.
        """
        if self._folder and self._served.owner == "vllm":
            for endpoint in self._endpoints:
                endpoint.tokens = Tokens(self._processor, self._folder)
        desk = _Desk(requests, self._served, self._endpoints, self._service.patience)
        thread = threading.Thread(target=desk.run, name="endpoints", daemon=True)
        thread.start()
        try:
            while (found := desk.answers.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                yield found
        finally:
            desk.stop()
            thread.join()

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with another checkpoint: never asked for, each has its own surroundings."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to free."""


# The desk


@dataclass
class _Item:
    """A question on its way."""

    request: Request
    tries: int = 0
    """Of those that may be the question's fault."""
    failed: float = math.inf
    """When it failed first."""


class _Line:
    """One endpoint, and how many questions it bears: as TCP finds out what a network bears.

    Each answer raises the limit by one until the first failure, then each full round does; a
    failure halves it, once for all the requests that were on their way together.
    """

    def __init__(self, endpoint: Endpoint, now: float) -> None:
        self.endpoint = endpoint
        self.tasks: set[asyncio.Task[None]] = set()
        self.known = False
        """It has told what it serves since it was last down."""
        self.gone = ""
        """Why it is given up."""
        self.limit = float(FIRST)
        self.heard = now
        self.resumes = -math.inf
        self._doubling = True
        self._failures = 0
        self._failing = math.inf
        self._eased = -math.inf

    def free(self, now: float) -> bool:
        """Whether it can get a question now."""
        room = len(self.tasks) < int(self.limit) if self.known else not self.tasks
        return room and not self.gone and now >= self.resumes

    def succeeded(self, now: float) -> None:
        """Count an answer."""
        self.heard = now
        self._failures, self._failing = 0, math.inf
        self.limit = min(MOST, self.limit + (1 if self._doubling else 1 / self.limit))

    def tired(self, now: float, patience: float) -> bool:
        """Whether it has failed for too long."""
        return now - self._failing > patience

    def failed(self, failure: Failed, began: float, now: float, patience: float) -> str:
        """Count a failure; return why it should be given up, or nothing."""
        self._failing = min(self._failing, now)
        if began >= self._eased:
            self._eased, self._doubling = now, False
            self.limit = max(1.0, self.limit / 2)
            self._failures += 1
            self.resumes = max(self.resumes, now + _backoff(self._failures))
        if failure.wait is not None:
            # Not all at the same moment, when the time has come.
            self.resumes = max(self.resumes, now + failure.wait + random.uniform(0, FIRST_WAIT))
        if failure.down:
            self.known = False
        if (failure.wait or 0) > patience:
            return f"{failure}; it asks to wait {failure.wait:.0f} s"
        return str(failure) if self.tired(now, patience) else ""


def _backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row, with jitter."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1)


class _Desk:
    """Hands questions to endpoints, in an event loop of its own."""

    def __init__(
        self,
        requests: Iterable[Request],
        served: Served,
        endpoints: list[Endpoint],
        patience: float,
    ) -> None:
        self.answers: SimpleQueue[Response | BaseException | None] = SimpleQueue()
        """None is the end."""
        self._source = iter(requests)
        self._served = served
        self._lines = [_Line(endpoint, time.monotonic()) for endpoint in endpoints]
        self._patience = patience
        self._again: list[tuple[float, int, _Item]] = []
        """Heap of what failed: when it is due, and a number that tells equals apart."""
        self._numbers = itertools.count()
        self._more = True
        self._answered = self._refused = 0
        self._heard = -math.inf
        self._loop = asyncio.new_event_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Answer everything; the thread's own function."""
        try:
            self._loop.run_until_complete(self._run())
            self.answers.put(None)
        except BaseException as error:
            self.answers.put(error)
        finally:
            self._loop.close()

    def stop(self) -> None:
        """End, whatever is in flight; from another thread."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._end, None)

    async def _run(self) -> None:
        watch = self._loop.create_task(self._watch())
        self._pump()
        try:
            await self._ended
        finally:
            tasks = [watch, *(task for line in self._lines for task in line.tasks)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for line in self._lines:
                await line.endpoint.close()

    def _end(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def _pump(self) -> None:
        """Give each endpoint with room its next questions; called after whatever happens."""
        if self._ended.done():
            return
        try:
            now = time.monotonic()
            while lines := [line for line in self._lines if line.free(now)]:
                line = min(lines, key=lambda line: len(line.tasks) / line.limit)
                if not self._anything():
                    break
                if not line.known:
                    self._begin(line, self._meet(line))
                elif item := self._take(now):
                    self._begin(line, self._serve(line, item))
                else:
                    break
            if not self._anything() and not any(line.tasks for line in self._lines):
                self._end(None)
            elif all(line.gone for line in self._lines):
                gone = "; ".join(f"{line.endpoint.url} ({line.gone})" for line in self._lines)
                self._end(
                    UserError(
                        f"no endpoint answers any more: {gone}; every answer that came is kept, "
                        "the same command goes on"
                    )
                )
            else:
                self._sleep(now)
        except Exception as error:
            self._end(error)

    def _sleep(self, now: float) -> None:
        """Look again when an endpoint may be asked again, or a question is due."""
        dues = [line.resumes for line in self._lines if line.resumes > now]
        dues += [due for due, _, _ in self._again[:1] if due > now]
        if self._timer:
            self._timer.cancel()
        if dues:
            self._timer = self._loop.call_later(min(dues) - now + 0.001, self._pump)

    def _begin(self, line: _Line, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        line.tasks.add(task)
        task.add_done_callback(lambda task: self._finished(line, task))

    def _finished(self, line: _Line, task: asyncio.Task[None]) -> None:
        line.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._end(error)
        self._pump()

    # Questions

    def _anything(self) -> bool:
        """Whether a question waits; looks one ahead in the source."""
        if not self._again and self._more:
            following = next(self._source, None)
            if following is None:
                self._more = False
            else:
                self._put(_Item(following), -math.inf)
        return bool(self._again)

    def _put(self, item: _Item, due: float) -> None:
        heapq.heappush(self._again, (due, next(self._numbers), item))

    def _take(self, now: float) -> _Item | None:
        """Return the next question: one that failed and is due, else a fresh one."""
        if self._again and self._again[0][0] <= now:
            return heapq.heappop(self._again)[2]
        following = next(self._source, None) if self._more else None
        if following is None:
            self._more = False
            return None
        return _Item(following)

    async def _serve(self, line: _Line, item: _Item) -> None:
        """Put one question to one endpoint."""
        began = time.monotonic()
        try:
            response = await line.endpoint.answer(item.request, self._served.model)
        except asyncio.CancelledError:
            self._put(item, -math.inf)
            raise
        except Refused as refused:
            self._refuse(line, item, str(refused), permanent=True)
        except Closed as closed:
            self._put(item, -math.inf)
            self._give_up(line, str(closed))
        except Failed as failure:
            await self._try_again(line, item, failure, began)
        else:
            self._heard = time.monotonic()
            self._answered += 1
            line.succeeded(self._heard)
            self.answers.put(response)

    async def _try_again(self, line: _Line, item: _Item, failure: Failed, began: float) -> None:
        now = time.monotonic()
        item.tries += failure.counted
        item.failed = min(item.failed, now)
        tired = item.tries >= TRIES or line.tired(now, self._patience)
        if failure.counted and tired and await self._answers_others(line, item):
            reason = f"no answer in {item.tries} tries, at last: {failure}"
            self._refuse(line, item, reason, permanent=False)
            return
        self._put(item, now + _backoff(item.tries) if failure.counted else -math.inf)
        self._failed(line, failure, began)

    async def _answers_others(self, line: _Line, item: _Item) -> bool:
        """Whether it is this question that brings no answer."""
        if self._heard > item.failed:
            return True
        try:
            await line.endpoint.answer(PLAIN, self._served.model)
        except (Refused, Closed, Failed):
            return False
        return True

    def _refuse(self, line: _Line, item: _Item, reason: str, permanent: bool) -> None:
        self._refused += 1
        self.answers.put(refusal(item.request, reason, permanent))
        if not self._answered and self._refused >= MANY_REFUSALS:
            said = f"{line.endpoint.url} answers none of the first {self._refused} questions"
            self._end(UserError(f"{said}: {reason}"))

    # Endpoints

    async def _meet(self, line: _Line) -> None:
        """See that an endpoint lives and serves what the others serve."""
        began = time.monotonic()
        try:
            served = await line.endpoint.served(self._served.model)
        except Closed as closed:
            self._give_up(line, str(closed))
        except Failed as failure:
            self._failed(line, failure, began)
        else:
            line.known = True
            if served.identity() != self._served.identity():
                self._give_up(line, f"it serves something else as {self._served.model} now")

    async def _watch(self) -> None:
        """Take the questions back from an endpoint that hangs."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await asyncio.gather(*map(self._look_after, self._lines))

    async def _look_after(self, line: _Line) -> None:
        began = time.monotonic()
        if not (line.known and line.tasks) or began - line.heard < WATCH_SECONDS:
            return
        for _ in range(2):
            try:
                await line.endpoint.models()
                return
            except Closed:
                return
            except Failed:
                continue
        if line.known and line.heard < began:
            hung = Failed("it takes questions and says nothing", down=True)
            for task in line.tasks:
                task.cancel()
            self._failed(line, hung, began)

    def _failed(self, line: _Line, failure: Failed, began: float) -> None:
        if words := line.failed(failure, began, time.monotonic(), self._patience):
            self._give_up(line, words)

    def _give_up(self, line: _Line, words: str) -> None:
        if not line.gone:
            line.gone = words
            print(f"driftbench: {line.endpoint.url} is given up: {words}", file=sys.stderr)
