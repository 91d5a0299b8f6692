"""How many questions an endpoint gets at a time, beside what it bears, in time that is skipped."""

import asyncio
import itertools
import math
import random
from types import SimpleNamespace

import pytest

from harness.checkpoints.kinds import Served
from harness.engines import Request, desk, pace
from harness.engines.desk import Desk
from harness.engines.pace import Line, backoff
from harness.engines.reply import Failed
from harness.runs.schema import Question, Response

WAY = 0.005
"""Seconds of a request to its endpoint, and of the reply back."""


class Skipping(asyncio.SelectorEventLoop):
    """Does not wait for what is due: its clock is set forward."""

    now = 0.0

    def __init__(self) -> None:
        super().__init__()
        select = self._selector.select

        def skip(timeout):
            assert timeout is not None, "nothing is due any more"
            Skipping.now += timeout
            return select(0)

        self._selector.select = skip

    def time(self) -> float:
        return self.now


class Endpoint:
    """Answers some questions at a time, each after the same time, and counts what it gets."""

    url = "http://pretended"

    def __init__(self, seconds: float, limit: float = math.inf, over: Failed | None = None):
        self.seconds, self.limit, self.over = seconds, limit, over
        self.got = self.busy = 0
        self.begun: list[float] = []
        self.turned_away: list[float] = []
        self.room = asyncio.Semaphore(limit) if over is None and limit < math.inf else None

    async def served(self, model: str) -> Served:
        await asyncio.sleep(2 * WAY)
        return Served(model=model)

    async def models(self) -> list[Served]:
        return []

    async def close(self) -> None:
        pass

    def bears(self) -> bool:
        return self.busy < self.limit

    async def answer(self, request: Request, model: str) -> Response:
        self.got += 1
        await asyncio.sleep(WAY)
        self.begun.append(Skipping.now)
        if self.over is not None and not self.bears():
            self.turned_away.append(Skipping.now)
            await asyncio.sleep(WAY)
            raise self.over
        self.busy += 1
        try:
            if self.room:
                async with self.room:
                    await asyncio.sleep(self.seconds)
            else:
                await asyncio.sleep(self.takes())
        finally:
            self.busy -= 1
        await asyncio.sleep(WAY)
        return Response(
            key="", task="", id=request.question.id, sample=0, text="7", finish="stop",
            tokens_in=1, tokens_image=0, tokens_out=1, seconds=self.seconds,
        )  # fmt: skip

    def takes(self) -> float:
        return self.seconds


BUSY = Failed("too many at once", counted=False, crowded=True)
LATER = Failed("too many at once", wait=1.0, counted=False, crowded=True)
DROPPED = Failed("the connection broke", down=True, counted=False)


class Bucket(Endpoint):
    """Bears so many questions a second, and some at once after a rest."""

    def __init__(self, rate: float, burst: float, over: Failed) -> None:
        super().__init__(5.0, over=over)
        self.rate, self.burst, self.left, self.at = rate, burst, burst, 0.0

    def bears(self) -> bool:
        now = Skipping.now
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Slowing(Endpoint):
    """Takes whatever comes, and the longer the more it has."""

    def takes(self) -> float:
        return self.seconds * (1 + self.busy / 64)


class Out(Endpoint):
    """Out of order for two minutes."""

    def bears(self) -> bool:
        return not 20 < Skipping.now < 140


@pytest.fixture
def ask(monkeypatch):
    """Return a function that puts questions to endpoints and returns the seconds it took."""
    monkeypatch.setattr(asyncio, "new_event_loop", Skipping)
    monkeypatch.setattr(desk, "time", SimpleNamespace(monotonic=lambda: Skipping.now))
    random.seed(0)

    def ask(count: int, *endpoints: Endpoint) -> float:
        Skipping.now = 0.0
        questions = (Question(task="", id=str(n), prompt="?") for n in range(count))
        requests = (Request(question=question) for question in questions)
        asked = Desk(requests, Served(model="vlm"), list(endpoints), patience=300.0)
        asked.run()
        *answers, end = [asked.answers.get() for _ in range(asked.answers.qsize())]
        assert end is None, end
        assert sorted(int(answer.id) for answer in answers) == list(range(count))
        assert {answer.finish for answer in answers} == {"stop"}
        return Skipping.now

    return ask


@pytest.mark.parametrize(
    ("count", "seconds", "limit", "over", "share"),
    [
        (240, 0.2, 120, None, 0.8),
        (240, 0.2, 120, BUSY, 0.8),
        (3000, 5.0, 512, None, 0.95),
        (3000, 5.0, 64, None, 0.95),
        (3000, 5.0, 512, BUSY, 0.95),
        (3000, 5.0, 400, BUSY, 0.9),
        (3000, 5.0, 120, BUSY, 0.95),
        (3000, 5.0, 8, BUSY, 0.95),
        (3000, 5.0, 120, LATER, 0.95),
        (9000, 0.2, 120, LATER, 0.85),
        (3000, 5.0, 400, Failed("out of memory"), 0.9),
        (3000, 5.0, 120, Failed("overloaded", crowded=True), 0.95),
        (3000, 5.0, 8, Failed("out of memory"), 0.95),
        (3000, 5.0, 100, DROPPED, 0.75),
    ],
)
def test_an_endpoint_is_kept_busy_at_its_own_limit(ask, count, seconds, limit, over, share):
    endpoint = Endpoint(seconds, limit, over)
    rounds = math.ceil(count / limit)
    assert ask(count, endpoint) <= rounds * seconds / share
    assert len(endpoint.turned_away) <= max(128, limit) + count / limit


@pytest.mark.parametrize("over", [BUSY, LATER])
def test_an_endpoint_that_bears_so_many_a_second_gets_as_many(ask, over):
    endpoint = Bucket(rate=10, burst=100, over=over)
    assert ask(3000, endpoint) <= 290 / 0.9
    assert len(endpoint.turned_away) <= 300


def test_an_endpoint_that_answers_the_slower_the_more_it_has_gives_what_it_can(ask):
    assert ask(3000, Slowing(1.0)) <= 3000 / 64 / 0.85


def test_nothing_is_asked_before_the_time_that_an_endpoint_names(ask):
    endpoint = Endpoint(0.2, 50, LATER)
    ask(2000, endpoint)
    heard = [at + WAY for at in endpoint.turned_away]
    assert heard
    # What was on its way when the first refusal was heard is refused too.
    firsts = [at for at in heard if not any(at - 1 < other < at for other in heard)]
    for at in firsts:
        assert not [begun for begun in endpoint.begun if at + 2 * WAY < begun < at + 1 + WAY]


@pytest.mark.parametrize("over", [Failed("out of luck"), BUSY, DROPPED])
def test_an_endpoint_that_is_out_of_order_is_asked_less_and_less_and_then_as_much_as_before(
    ask, over
):
    endpoint = Out(5.0, over=over)
    took = ask(6000, endpoint)
    out = [at for at in endpoint.turned_away if at > 22]
    assert len(out) < 512
    pauses = [after - at for at, after in itertools.pairwise(out) if after - at > 0.1]
    assert pauses == sorted(pauses, key=lambda pause: round(math.log2(pause)))
    # Of the two minutes it was out, and up to one more of the last pause.
    assert took <= 6000 / 512 * 5 + 120 + 60 + 60


def test_of_two_endpoints_each_gets_what_it_bears(ask):
    weak, strong = Endpoint(1.0, 20, BUSY), Endpoint(1.0, 200, BUSY)
    assert ask(4400, weak, strong) <= 20 / 0.9
    assert 350 < len(weak.begun) - len(weak.turned_away) < 450


def test_questions_are_on_their_way_before_the_next_are_read(monkeypatch):
    monkeypatch.setattr(asyncio, "new_event_loop", Skipping)
    endpoint = Endpoint(1.0)

    def requests():
        for number in range(100):
            assert number - endpoint.got <= 2 * desk.TOGETHER
            yield Request(question=Question(task="", id=str(number), prompt="?"))

    asked = Desk(requests(), Served(model="vlm"), [endpoint], patience=300.0)
    asked.run()
    assert asked.answers.qsize() == 101


def test_a_limit_is_what_is_borne_when_the_rest_is_turned_away():
    line = Line(None, now=0.0)  # type: ignore[arg-type]
    line.tasks = set(range(128))
    assert line.limit == 128
    for left in range(127, 99, -1):
        assert not line.failed(BUSY, began=1.0, now=2.0, patience=60.0)
        line.tasks = set(range(left))
    assert line.limit == 100
    # The next answer makes room; those of before tell nothing of the limit.
    assert not line.free(now=2.0)
    line.known = True
    line.tasks.pop()
    line.succeeded(began=1.0, now=2.1)
    assert line.limit == 100 and line.free(now=2.1)
    for _ in range(100):
        line.succeeded(began=2.1, now=3.0)
    assert 100.9 < line.limit < 101.0


def test_other_failures_together_halve_the_limit_once_and_answers_bring_that_half_back():
    line = Line(None, now=0.0)  # type: ignore[arg-type]
    line.known, line.tasks = True, {1, 2}
    for _ in range(20):
        line.failed(Failed("busy", wait=1.0), began=1.0, now=2.0, patience=60.0)
    assert line.limit == 64 and 3.0 <= line.resumes <= 3.6
    line.failed(Failed("busy"), began=4.5, now=5.0, patience=60.0)
    assert line.limit == 32
    for _ in range(32):
        line.succeeded(began=6.0, now=7.0)
    assert line.limit == 64
    for _ in range(64):
        line.succeeded(began=7.0, now=8.0)
    assert line.limit == 64
    for _ in range(64):
        line.succeeded(began=29.0, now=30.0)
    assert 64.9 < line.limit < 65.0


def test_an_endpoint_is_given_up_that_fails_or_wants_to_be_left_alone_for_too_long():
    line = Line(None, now=0.0)  # type: ignore[arg-type]
    assert "asks to wait 61 s" in line.failed(Failed("busy", wait=61.0), 6.0, 6.0, patience=60.0)
    assert not line.failed(Failed("busy"), began=65.0, now=65.0, patience=60.0)
    assert line.failed(Failed("busy"), began=66.1, now=66.1, patience=60.0) == "busy"


def test_the_pause_doubles_from_failure_to_failure(monkeypatch):
    monkeypatch.setattr(pace, "FIRST_WAIT", 1.0)
    monkeypatch.setattr(pace, "LONGEST_WAIT", 60.0)
    for failures, longest in [(1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (2000, 60.0)]:
        waits = [backoff(failures) for _ in range(200)]
        assert longest / 2 <= min(waits) < 0.6 * longest < 0.9 * longest < max(waits) <= longest
