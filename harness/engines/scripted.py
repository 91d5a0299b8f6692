"""Answers from a function or a table, for tests and for trying a task without a model."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from common.text import said
from harness.checkpoints.kinds import Checkpoint
from harness.engines import Request, is_permanent, refusal
from harness.runs.schema import Question, Response


class ScriptedEngine:
    """A word is a token; an answer longer than the bound is cut there."""

    name = "scripted"
    context: int | None = None
    version = "1"
    dtype = "none"
    device = "none"
    notes = ()

    def __init__(
        self,
        checkpoint: Checkpoint,
        answers: Callable[[Request], str | Exception | None] | Mapping[str, str],
    ) -> None:
        """Answer by a function of the request, or by a table of question ids.

        None, or an id that the table lacks, is a question that the engine fails on; an exception is
        the trouble with a question.
        """
        self.checkpoint = checkpoint
        self._answer = (
            answers if callable(answers) else lambda request: answers.get(request.question.id)
        )

    def render(self, question: Question) -> str:
        """Return the question's own prompt."""
        return question.prompt

    def start(self) -> None:
        """Nothing to load."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
        """Answer in order."""
        for request in requests:
            text = self._answer(request)
            if isinstance(text, str):
                yield _response(request, text)
            elif text is None:
                yield refusal(request, "no answer in the script")
            else:
                yield refusal(request, said(text), is_permanent(text))

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with another checkpoint."""
        self.checkpoint = checkpoint

    def close(self) -> None:
        """Nothing to free."""


def _response(request: Request, text: str) -> Response:
    words = text.split(" ")
    kept = words[: request.sampling.max_tokens]
    return Response(
        key=request.key,
        task=request.question.task,
        id=request.question.id,
        sample=request.sample,
        text=" ".join(kept),
        finish="stop" if len(kept) == len(words) else "length",
        tokens_in=len(request.prompt.split()),
        tokens_image=len(request.question.images),
        tokens_out=len(kept),
        seconds=0.0,
    )
