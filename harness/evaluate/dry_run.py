"""What a run would ask: questions, answers that are there, tokens, time. Nothing is written.

No engine starts: prompts are rendered and counted by the checkpoint's own tokenizer, pictures by
what its processor says of their sizes.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.pictures import decoded
from harness.checkpoints.image_size import fit, fitted
from harness.checkpoints.kinds import ModelFolder
from harness.engines import Request, rendering
from harness.evaluate.config import Workload
from harness.evaluate.requests import Job, requests_of
from harness.runs import log
from harness.runs.folder import read_card
from harness.runs.schema import Image, Question, RunCard

SAMPLE = 8
"""Pictures to process where a processor does not tell their tokens by their size."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One task of a run."""

    task: str
    questions: int
    answers: int
    """Wanted: questions times the answers drawn of each."""
    there: int
    """Of them, answered already."""
    tokens: int | None
    """Of the prompts of all answers that are to be asked; None: no tokenizer is at hand."""
    tokens_image: int | None
    """Of them, those that stand for pictures."""
    longest: int | None
    """Tokens of the longest prompt to be asked."""


@dataclass(frozen=True)
class Pace:
    """How fast an earlier run went."""

    run: Path
    tokens_per_second: float
    """Generated, of all answers together."""
    seconds: float
    """That what is left would take at this pace."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run folder."""

    name: str
    engine: str
    parts: tuple[Part, ...]
    estimated: bool
    """Tokens of pictures are not counted but extrapolated."""
    pace: Pace | None
    """None: no earlier run tells."""


def plan(job: Job, pictures: dict[str, Path], afresh: bool = False) -> Plan:
    """Count what a run would ask.

    Args:
        job: The run; its folder need not be there.
        pictures: sha256 → where the picture lies.
        afresh: What is in the folder would be dropped.
    """
    requests = list(requests_of(job, job.questions))
    retry = job.workload.config.retry_errors
    there = job.folder.is_dir() and not afresh
    known = set(log.answered(job.folder, permanent=not retry)) if there else set()
    left = [request for request in requests if request.place not in known]
    counter = _counter(job, pictures)
    parts = [_part(task.name, requests, left, counter) for task in job.workload.tasks]
    return Plan(
        name=job.folder.absolute().name,
        engine=f"{job.engine.name} {job.engine.version}",
        parts=tuple(parts),
        estimated=counter is not None and counter.estimated,
        pace=_pace(job, left),
    )


def _part(
    task: str, requests: Sequence[Request], left: Sequence[Request], counter: "_Counter | None"
) -> Part:
    own = [request for request in requests if request.question.task == task]
    wanted = [request for request in left if request.question.task == task]
    counts = [counter.count(request) for request in wanted] if counter else None
    return Part(
        task=task,
        questions=len({request.question.id for request in own}),
        answers=len(own),
        there=len(own) - len(wanted),
        tokens=None if counts is None else sum(whole for whole, _ in counts),
        tokens_image=None if counts is None else sum(image for _, image in counts),
        longest=None if counts is None else max((whole for whole, _ in counts), default=0),
    )


# Tokens


def _counter(job: Job, pictures: dict[str, Path]) -> "_Counter | None":
    folder = job.checkpoint.folder
    return None if folder is None else _Counter(job.workload, folder, pictures)


class _Counter:
    """Counts the tokens of prompts as the checkpoint's processor would make them."""

    def __init__(self, workload: Workload, folder: ModelFolder, pictures: dict[str, Path]) -> None:
        self.estimated = False
        self._folder, self._pictures = folder, pictures
        self._budget = workload.budget(folder)
        self._processor = rendering.load_processor(folder)
        self._tokenizer = getattr(self._processor, "tokenizer", self._processor)
        self._text: dict[str, int] = {}
        self._image: dict[str, int] = {}

    def count(self, request: Request) -> tuple[int, int]:
        """Return the tokens of a prompt, and those of them that stand for pictures."""
        if request.prompt not in self._text:
            special = rendering.adds_special_tokens(self._processor, self._folder, request.prompt)
            ids = self._tokenizer(request.prompt, add_special_tokens=special)["input_ids"]
            self._text[request.prompt] = len(ids)
        images = sum(self._tokens(image.sha256) for image in request.question.images)
        # Each picture's placeholder is one token of the text.
        return self._text[request.prompt] - len(request.question.images) + images, images

    def _tokens(self, sha256: str) -> int:
        """Return how many tokens a picture takes; 0 if it cannot be read."""
        if sha256 not in self._image:
            if self.estimated and len(self._image) >= SAMPLE:
                return round(sum(self._image.values()) / len(self._image))
            self._image[sha256] = 0
            with suppress(OSError, ValueError):
                self._image[sha256] = self._measured(self._pictures[sha256])
        return self._image[sha256]

    def _measured(self, path: Path) -> int:
        from PIL import Image as Picture

        with Picture.open(path) as picture:
            sides = picture.size
        if hasattr(self._processor, "_get_num_multimodal_tokens"):
            # vLLM's transformers backend counts by it too. Height comes first.
            width, height = fit(*sides, self._budget) if self._budget else sides
            told = self._processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
            return told["num_image_tokens"][0]
        self.estimated = True
        question = Question(
            task="plan", id="", prompt=rendering.MARK, images=(Image(path.name, "", b""),)
        )
        prompt = rendering.render(self._processor, self._folder, question)
        special = rendering.adds_special_tokens(self._processor, self._folder, prompt)
        text = self._tokenizer(prompt, add_special_tokens=special)["input_ids"]
        shown = fitted(decoded(path), self._budget)
        whole = self._processor(text=[prompt], images=[[shown]], add_special_tokens=special)
        return len(whole["input_ids"][0]) - len(text) + 1


# Time


def _pace(job: Job, left: Sequence[Request]) -> Pace | None:
    """Estimate by the run itself, as far as it is, else by the run beside it that is most alike."""
    beside = [path.parent for path in sorted(job.folder.parent.glob("*/run.json"))]
    cards = {folder: card for folder in beside if (card := _alike(job, folder))}
    if not cards:
        return None
    folder = max(
        cards,
        key=lambda one: (
            one == job.folder,
            cards[one].fingerprint == job.checkpoint.fingerprint,
            cards[one].seconds,
        ),
    )
    made: dict[str, list[int]] = {}
    for response in log.read_responses(folder):
        if response.finish != "error":
            made.setdefault(response.task, []).append(response.tokens_out)
    every = [count for counts in made.values() for count in counts]
    if not sum(every):
        return None
    means = {task: sum(counts) / len(counts) for task, counts in made.items()}
    usual = sum(every) / len(every)
    tokens = sum(means.get(request.question.task, usual) for request in left)
    rate = sum(every) / cards[folder].seconds
    return Pace(folder, rate, tokens / rate)


def _alike(job: Job, folder: Path) -> RunCard | None:
    """Return the card of a run that the same engine made on the same device."""
    with suppress(UserError):
        card = read_card(folder)
        same = (card.engine, card.device) == (job.engine.name, job.engine.device)
        return card if same and card.seconds > 0 else None
    return None
