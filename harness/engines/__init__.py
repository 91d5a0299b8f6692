"""One file an engine. Questions in, responses out as each finishes.

An engine is made cheaply and starts with the first question; until then nothing heavy is loaded.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.checkpoints.kinds import Checkpoint
from harness.runs.schema import Place, Question, Response, Sampling


@dataclass(frozen=True, kw_only=True)
class Request:
    """One answer that is wanted."""

    question: Question
    prompt: str = ""
    """The question as the engine's `render` gave it."""
    sampling: Sampling = Sampling()
    sample: int = 0
    key: str = ""

    @property
    def seed(self) -> int:
        """Of this one answer: the order of asking and the neighbours in a batch do not matter."""
        name = f"{self.sampling.seed}/{self.question.task}/{self.question.id}/{self.sample}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1

    @property
    def place(self) -> Place:
        """That of its response."""
        return self.question.task, self.question.id, self.sample, self.key


class Engine(Protocol):
    """What all engines offer."""

    name: str
    version: str
    dtype: str
    device: str
    context: int | None
    """Tokens of prompt and answer together, where the user allows fewer than the model."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the engine cannot make sure of, so far; a sentence each."""

    def render(self, question: Question) -> str:
        """Return the prompt as the checkpoint's own chat template makes it."""

    def start(self) -> None:
        """Load the weights now, instead of with the first question."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer, in the order in which answers finish.

        A request that cannot be answered gives a Response with finish `error` and a reason;
        `lasting` where the error is permanent (a prompt beyond the context).

        Raises:
            UserError: The engine fails for all.
        """

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with a swappable checkpoint, from the next question on."""

    def close(self) -> None:
        """Free everything; another engine can start in this process."""


Maker = Callable[[Checkpoint], Engine]


def refusal(request: Request, reason: str, permanent: bool = False) -> Response:
    """Return the response to a request that cannot be answered, for good or this time."""
    question = request.question
    return Response(
        key=request.key,
        task=question.task,
        id=question.id,
        sample=request.sample,
        text="",
        finish="error",
        tokens_in=0,
        tokens_image=0,
        tokens_out=0,
        seconds=0.0,
        reason=reason,
        lasting=permanent,
    )


def is_permanent(error: Exception) -> bool:
    """Whether preparing a question fails whenever it is tried.

    It may not for want of memory, a file or a device, the last of which torch calls RuntimeError.
    """
    return not isinstance(error, MemoryError | OSError | RuntimeError)
