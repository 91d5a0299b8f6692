"""Answers from a function or a table, for tests and for trying a task without a model."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from harness.checkpoints.preflight import Checkpoint
from harness.engines import Ask, is_lasting, refusal, said
from harness.runs.schema import Question, Response


class ScriptedEngine:
    """A word is a token; an answer longer than the bound is cut there."""

    name = "scripted"
    version = "1"
    dtype = "none"
    device = "none"
    notes = ()

    def __init__(
        self,
        checkpoint: Checkpoint,
        answers: Callable[[Ask], str | Exception | None] | Mapping[str, str],
    ) -> None:
        """Answer by a function of the ask, or by a table of question ids.

        None, or an id that the table lacks, is a question that the engine fails on; an exception is
        the trouble with a question.
        """
        self.checkpoint = checkpoint
        self._answer = answers if callable(answers) else lambda ask: answers.get(ask.question.id)

    def render(self, question: Question) -> str:
        """Return the question's own prompt."""
        return question.prompt

    def start(self) -> None:
        """Nothing to load."""

    def ask(self, asks: Iterable[Ask]) -> Iterator[Response]:
        """Answer in order."""
        for ask in asks:
            text = self._answer(ask)
            if isinstance(text, str):
                yield _response(ask, text)
            elif text is None:
                yield refusal(ask, "no answer in the script")
            else:
                yield refusal(ask, said(text), is_lasting(text))

    def swap(self, checkpoint: Checkpoint) -> None:
        """Go on with another checkpoint."""
        self.checkpoint = checkpoint

    def close(self) -> None:
        """Nothing to free."""


def _response(ask: Ask, text: str) -> Response:
    words = text.split(" ")
    kept = words[: ask.sampling.max_tokens]
    return Response(
        key=ask.key,
        task=ask.question.task,
        id=ask.question.id,
        sample=ask.sample,
        text=" ".join(kept),
        finish="stop" if len(kept) == len(words) else "length",
        tokens_in=len(ask.prompt.split()),
        tokens_image=len(ask.question.images),
        tokens_out=len(kept),
        seconds=0.0,
    )
