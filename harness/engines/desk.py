"""Questions handed to endpoints: each gets as many at a time as it bears, what fails goes back.

Who is at fault, a question or its endpoint, is told by a plain question: an endpoint that refuses
that too refuses all, and what it refused is asked again.
"""

import asyncio
import contextlib
import heapq
import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from common.errors import UserError
from harness.checkpoints.kinds import Served
from harness.engines import Request, refusal
from harness.engines.endpoint import Endpoint
from harness.engines.pace import Line, backoff
from harness.engines.reply import Closed, Failed, Refused, Unreadable
from harness.runs.schema import Question, Response, Sampling

TRIES = 8
"""Of one question, before it is taken to be the question's fault."""

WATCH_SECONDS = 30.0
"""An endpoint that works but has not answered for as long is asked whether it lives."""

MANY_REFUSALS, REFUSALS_OF_ONE = 20, 3
"""Without one answer under the same settings: not the questions are wrong, but what is asked of the
endpoint."""

TOGETHER = 8
"""Questions that are taken from the source at a time: each may have pictures to read and encode."""

PLAIN = Question(task="", id="", prompt="Say yes.")
"""A question that whoever lives answers."""
PLAIN_TOKENS = 16
"""Of the answer to it, where its length is not in question."""


@dataclass
class _Item:
    """A question on its way."""

    request: Request
    tries: int = 0
    """Of those that may be the question's fault."""
    refused: bool = False
    """By an endpoint that answered another question since."""
    refusals: int = 0
    """By an endpoint that refused a plain question too."""
    failed: float = math.inf
    """When it failed first."""


class Desk:
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
        self._lines = [Line(endpoint, time.monotonic()) for endpoint in endpoints]
        self._patience = patience
        self._again: list[tuple[float, int, _Item]] = []
        """Heap of what failed: when it is due, and a number that tells equals apart."""
        self._numbers = itertools.count()
        self._more = True
        self._answered: set[Sampling] = set()
        """Settings under which something was answered."""
        self._refusals: Counter[Sampling] = Counter()
        self._unreadable = 0
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
            for line in self._lines:
                line.climb(now)
            self._hand_out(now)
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

    def _hand_out(self, now: float) -> None:
        """Give free endpoints some questions: they are on their way before the next are read."""
        for _ in range(TOGETHER):
            lines = [line for line in self._lines if line.free(now)]
            if not lines or not self._anything():
                return
            line = min(lines, key=lambda line: len(line.tasks) / line.limit)
            if not line.known:
                self._begin(line, self._meet(line))
            elif item := self._take(now):
                self._begin(line, self._serve(line, item))
            else:
                return
        self._loop.call_soon(self._pump)

    def _sleep(self, now: float) -> None:
        """Look again when an endpoint may get more questions, or a question is due."""
        for line in self._lines:
            line.climb(now)
        times = (at for line in self._lines for at in (line.resumes, line.climbs))
        dues = [at for at in times if now < at < math.inf]
        dues += [due for due, _, _ in self._again[:1] if due > now]
        if self._timer:
            self._timer.cancel()
        if dues:
            self._timer = self._loop.call_later(min(dues) - now + 0.001, self._pump)

    def _begin(self, line: Line, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        line.tasks.add(task)
        task.add_done_callback(lambda task: self._finished(line, task))

    def _finished(self, line: Line, task: asyncio.Task[None]) -> None:
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

    async def _serve(self, line: Line, item: _Item) -> None:
        """Put one question to one endpoint."""
        began = time.monotonic()
        try:
            await self._request(line, item, began)
        except asyncio.CancelledError:
            self._put(item, -math.inf)
            raise

    async def _request(self, line: Line, item: _Item, began: float) -> None:
        try:
            response = await line.endpoint.answer(item.request, self._served.model)
        except Refused as refused:
            await self._refused(line, item, refused, began)
        except Closed as closed:
            self._put(item, -math.inf)
            self._give_up(line, str(closed))
        except Unreadable as failure:
            await self._unread(line, item, failure)
        except Failed as failure:
            await self._try_again(line, item, failure, began)
        else:
            self._heard = time.monotonic()
            self._answered.add(item.request.sampling)
            line.succeeded(began, self._heard)
            self.answers.put(response)

    async def _refused(self, line: Line, item: _Item, refused: Refused, began: float) -> None:
        """Believe a refusal when it comes twice, and another question is answered in between."""
        if refused.certain or item.refused:
            self.answers.put(refusal(item.request, str(refused), permanent=True))
            return
        sampling = item.request.sampling
        most = PLAIN_TOKENS if sampling in self._answered else sampling.max_tokens
        item.refused = await self._answers_plainly(line, item, most)
        self._put(item, -math.inf)
        if item.refused:
            return
        self._refusals[sampling] += 1
        item.refusals += 1
        many = self._refusals[sampling] >= MANY_REFUSALS or item.refusals >= REFUSALS_OF_ONE
        if many and sampling not in self._answered:
            self._end(UserError(f"{line.endpoint.url} refuses whatever it is asked: {refused}"))
        else:
            self._failed(line, Failed(str(refused)), began)

    async def _unread(self, line: Line, item: _Item, failure: Unreadable) -> None:
        """Try again; in the end, such a reply costs its own question only."""
        item.tries += 1
        if item.tries < TRIES:
            self._put(item, time.monotonic() + backoff(item.tries))
            return
        self._unreadable += 1
        many = self._unreadable >= MANY_REFUSALS and not self._answered
        sound = not many or await self._answers_plainly(line, item)
        self._fail(item, failure)
        if not sound:
            self._end(UserError(f"{line.endpoint.url} answers nothing that can be read: {failure}"))

    async def _try_again(self, line: Line, item: _Item, failure: Failed, began: float) -> None:
        now = time.monotonic()
        item.tries += failure.counted
        item.failed = min(item.failed, now)
        tired = item.tries >= TRIES or line.tired(now, self._patience)
        if failure.counted and tired:
            # Is it this question that brings no answer?
            if self._heard > item.failed or await self._answers_plainly(line, item):
                self._fail(item, failure)
                return
        self._put(item, now + backoff(item.tries) if failure.counted else -math.inf)
        self._failed(line, failure, began)

    async def _answers_plainly(self, line: Line, item: _Item, most: int = PLAIN_TOKENS) -> bool:
        """Whether an endpoint answers a plain question that is asked as this one is.

        Args:
            line: To the endpoint.
            item: What it did not answer.
            most: Tokens of the answer; as many as of the other tells whether they are refused.
        """
        sampling = replace(item.request.sampling, max_tokens=most)
        plain = Request(question=PLAIN, sampling=sampling)
        try:
            await line.endpoint.answer(plain, self._served.model)
        except (Refused, Closed, Failed):
            return False
        return True

    def _fail(self, item: _Item, failure: Failed) -> None:
        reason = f"no answer in {item.tries} tries, at last: {failure}"
        self.answers.put(refusal(item.request, reason))

    # Endpoints

    async def _meet(self, line: Line) -> None:
        """See that an endpoint lives and serves what the others serve."""
        began = time.monotonic()
        try:
            served = await line.endpoint.served(self._served.model)
        except Closed as closed:
            self._give_up(line, str(closed))
        except Failed as failure:
            self._failed(line, failure, began)
        else:
            if _facts(served) < _facts(self._served):
                less = Failed(f"it tells less of {self._served.model} than it did")
                return self._failed(line, less, began)
            line.known = True
            if served.identity() != self._served.identity():
                self._give_up(line, f"it serves something else as {self._served.model} now")

    async def _watch(self) -> None:
        """Take the questions back from an endpoint that hangs."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await asyncio.gather(*map(self._look_after, self._lines))

    async def _look_after(self, line: Line) -> None:
        began = time.monotonic()
        if not (line.known and line.tasks) or began - line.heard < WATCH_SECONDS:
            return
        for _ in range(2):
            try:
                await line.endpoint.listed()
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

    def _failed(self, line: Line, failure: Failed, began: float) -> None:
        if words := line.failed(failure, began, time.monotonic(), self._patience):
            self._give_up(line, words)

    def _give_up(self, line: Line, words: str) -> None:
        if not line.gone:
            line.gone = words
            print(f"driftbench: {line.endpoint.url} is given up: {words}", file=sys.stderr)


def _facts(served: Served) -> set[tuple[str, str]]:
    """Return all that an endpoint told of a model, each thing with its name."""
    software, _, version = served.software.partition(" ")
    told = {**served.identity(), "software": software, "version": version}
    return {(name, value) for name, value in told.items() if value}
