"""What a rule asks a judge, and how a verdict that may ask one is driven.

A verdict is a plain function, or a generator function where the benchmark's protocol lets a
language model read the answer: it yields each `Request`, receives the reply, and returns what a
plain one returns. Whether a reply can be used, and how often to ask again, is the protocol's own
business and stands in the generator.

    >>> def official(row, text):
    ...     reply = yield Request(f"Which letter does this name? {text}")
    ...     return reply.strip(), reply.strip() == row["answer"]
    >>> settle(official, {"answer": "B"}, "the second one", ["B"])
    (('B', True), True)
    >>> settle(official, {"answer": "B"}, "the second one")
    ((None, None), False)
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from tasks.data import Row

Reading = tuple[str | None, bool | None]
"""What was read as the answer, and whether it is right; None where that is not known."""

UNPARSED: Reading = (None, None)
"""Nobody could read the answer."""


@dataclass(frozen=True)
class Request:
    """One question to the judge."""

    prompt: str
    """The user's message, the response quoted in it as the protocol quotes it."""
    system: str | None = None
    """Stands at the head of the message: many chat templates have no turn of its own for it."""
    temperature: float = 0.0
    max_tokens: int = 256
    attempt: int = 0
    """Tells the same question asked again apart from the first time."""


Judging = Generator[Request, str, Reading]
"""A verdict under way: yields requests, receives replies, returns the reading."""

Verdict = Callable[[Row, str], Reading | Judging]


def metrics(**verdicts: Verdict) -> Callable[[Row, list[str]], dict[str, float]]:
    """Return lm-eval's `process_results`: each metric is 1 where its verdict is right, else 0.

    lm-eval has no judge: an answer that only one could read counts as one that cannot be read.
    """

    def process_results(row: Row, results: list[str]) -> dict[str, float]:
        return {
            name: float(settle(verdict, row, results[0])[0][1] is True)
            for name, verdict in verdicts.items()
        }

    return process_results


def settle(
    verdict: Verdict, row: Row, text: str, replies: Iterable[str] = ()
) -> tuple[Reading, bool]:
    """Reach a verdict with the replies at hand.

    Args:
        verdict: A plain function or a generator function.
        row: Of the benchmark.
        text: The model's response.
        replies: What a judge said, in the order in which it is asked.

    Returns:
        The reading, `UNPARSED` where more replies were asked for than there are; and whether one of
        them was used.
    """
    reached = verdict(row, text)
    if not isinstance(reached, Generator):
        return reached, False
    given, used = iter(replies), False
    try:
        next(reached)
        for reply in given:
            used = True
            reached.send(reply)
    except StopIteration as end:
        return end.value, used
    reached.close()
    return UNPARSED, used
