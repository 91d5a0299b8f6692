"""What passes between asking, grading and counting, and the key of an answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from common.provenance import Made, digest
from common.typed import AnyText, MaybeNan

Finish = Literal["stop", "length", "error"]


How = Literal["rule", "judge", "unparsed", "truncated", "error"]


ELSEWHERE = "elsewhere"
"""Engine of answers that another tool collected: how it asked is not known."""

UTF8 = ("utf-8", "backslashreplace")
"""A lone surrogate in a model's text becomes the JSON escape that reads back as itself."""


@dataclass(frozen=True)
class PixelBudget:
    """How many pixels a model is shown of a picture, instead of what it would make of it."""

    min_pixels: int | None
    max_pixels: int | None
    grid: int = 1
    """Sides are multiples of it."""


@dataclass(frozen=True)
class Image:
    """One picture, as the encoded file that the benchmark ships."""

    sha256: str
    """Of the encoded bytes; the picture's identity in keys and on disk."""
    suffix: str
    """`.png` or `.jpg`."""
    data: bytes = field(repr=False, default=b"")
    """The encoded bytes; empty: see `harness.runs.folder.image_path`."""
    budget: PixelBudget | None = None
    """To be resized to when it is decoded; None: it is left as it is."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One row of a benchmark, ready to be asked."""

    task: str
    """Name of the task, as in `tasks.names()`."""
    id: AnyText
    """The row's own identifier, unique within the task."""
    prompt: AnyText
    """The user's message; `<image>` stands where each picture goes, in order."""
    images: tuple[Image, ...] = ()
    """As many as the prompt has `<image>` marks."""
    row: dict[str, Any] = field(default_factory=dict)
    """The benchmark's row, without pictures; what the verdict needs is in it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How an answer is drawn. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 means all tokens."""
    max_tokens: int = 2048
    """Upper bound of generated tokens."""
    seed: int = 0
    stop: tuple[AnyText, ...] = ()
    n: int = 1
    """Answers drawn per question."""
    force: int = 0
    """Tokens for an answer after a thought that was cut at the limit; 0: none is forced."""
    presence_penalty: float = 0.0
    """Taken off the logit of each token that the answer has already."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a model said, complete, before anything judges it."""

    key: str
    """Content address: see `key()`."""
    task: str
    id: AnyText
    sample: int
    """0 … n − 1."""
    text: AnyText
    """Everything generated, thoughts included, special tokens left out."""
    finish: Finish
    tokens_in: int
    """Prompt tokens, those of the images included."""
    tokens_image: int
    """Prompt tokens that stand for the images."""
    tokens_out: int
    seconds: float
    """From hand-over to the engine until the last token."""
    reason: AnyText = ""
    """Why `finish` is `error` and `text` empty, or why no answer could be forced after a thought
    that was cut; in the engine's words, else empty."""
    forced: bool = False
    """The thought was cut at the limit and closed by us: see `harness.evaluate.budget_forcing`."""
    extraction: AnyText | None = None
    """What another tool read as the answer; it stands for the judge's first reply."""
    lasting: bool = False
    """The error is permanent, the question's own: a prompt beyond the context, an unreadable
    picture. Asked again, it would fail again."""
    opened: AnyText = ""
    """The mark by which the chat template had opened a thought before the model began."""

    @property
    def whole(self) -> str:
        """The text, behind the mark of a thought that was open when it began."""
        return self.opened + self.text


Place = tuple[str, str, int, str]
"""Task, id, sample and key: what tells an answer from all others of a run."""


def place(response: Response) -> Place:
    """Return what tells a response from all others of a run."""
    return response.task, response.id, response.sample, response.key


@dataclass(frozen=True)
class Keys:
    """The keys of a run's answers, as `keys.json` has them."""

    of: str
    """sha256 of what they are made of."""
    keys: dict[AnyText, dict[AnyText, list[AnyText]]]
    """Task → id → key of each answer, by sample."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether one response is right, and how that was found."""

    task: str
    id: AnyText
    sample: int
    correct: bool | None
    """None: not known (unparsed, truncated or error)."""
    answer: AnyText | None
    """What was read as the final answer."""
    how: How
    groups: tuple[AnyText, ...]
    """Groups of the task in which this row counts, `all` first."""
    cluster: AnyText = ""
    """Questions of a task that share a problem or a picture have the same cluster: their answers
    depend on each other. Empty: the question stands alone."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a table, with what stands behind it."""

    run: AnyText
    task: str
    group: AnyText
    n: int
    """Questions in the group."""
    correct: int
    unparsed: int
    """No verdict: the answer could not be read. Counted as not correct."""
    truncated: int
    """Cut at the token limit before an answer. Counted as not correct."""
    error: int
    """The engine failed. Counted as not correct."""
    score: float
    """Share of correct answers, 0 … 1."""
    stderr: MaybeNan
    """Standard error of the score."""


@dataclass(frozen=True, kw_only=True)
class TaskCard:
    """A task as it was when it was asked."""

    name: str
    version: str
    revision: str
    """Of the data: a hub commit or the sha256 of the local rows."""
    n: int
    """Questions asked."""
    protocol: str
    """Whose rule made the verdicts."""
    scoring: str
    """One sentence: that rule."""
    max_tokens: int = 0
    """Upper bound of generated tokens in this task."""
    skipped: int = 0
    """Questions beyond `n`, not asked: they show pictures and the model takes text only."""
    asked: str = ""
    """Whose prompts the questions were asked with; empty: not known."""
    unjudged: int = 0
    """Answers that are unparsed because `protocol` wants a judge to read them, and none did."""
    reworded: int = 0
    """Questions that `protocol` asks in other words than they were asked in."""
    whole: int = 0
    """Questions that the benchmark has; 0: as many as there are."""
    commit: str | None = None
    """Of the hub dataset; None: the rows are local."""
    failed: int | None = None
    """Answers that the engine failed on, and is asked for again when the run goes on; None: they
    were not told from those that would fail again."""


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """The record of one run: enough to redo it and to distrust it."""

    name: AnyText
    checkpoint: AnyText
    fingerprint: str
    """Of the content of weights, config, tokenizer, processor and template."""
    made: Made | None
    """`made.json` of the checkpoint, if it has one."""
    engine: str
    engine_version: str
    sampling: Sampling
    dtype: str
    pixels: dict[str, Any]
    """The pixel budget in force: the image processor's size settings."""
    tasks: tuple[TaskCard, ...]
    limit: int | None
    """Questions per task, None for all."""
    git: str | None
    """Commit of the harness, with `+` when the tree was changed."""
    packages: dict[str, str]
    device: str
    seconds: float
    """Spent asking, summed over resumed sessions; engine start excluded."""
    processor_seconds: float = 0.0
    """Of all cores in that time, the engine's processes included, servers not."""
    finished: bool = False
    """Every question was answered and graded. False while the run goes on, or was interrupted."""
    judge: dict[str, str] | None = None
    """Name, fingerprint and engine of the judge that was asked; None: rules alone."""
    notes: tuple[AnyText, ...] = ()
    """What the engine could not make sure of, a sentence each."""
    day: str | None = None
    """What day the chat template told the model (`2026-01-31`); None: it tells none."""
    context: int | None = None
    """Tokens of prompt and answer together that `--context` allowed; None: the model's own, of vLLM
    and transformers at most 32,768."""
    template_args: dict[str, Any] = field(default_factory=dict)
    """What the chat template was told beside the messages (`enable_thinking`)."""

    @property
    def asked(self) -> int:
        """Answers that a whole run has."""
        return self.sampling.n * sum(task.n for task in self.tasks)


def key(
    *,
    fingerprint: str,
    adapter: str | None,
    prompt: str,
    images: Iterable[str],
    pixels: dict[str, Any],
    sampling: Sampling,
    sample: int,
    engine: str,
    version: str,
    dtype: str,
    context: int | None = None,
    template_args: dict[str, Any] | None = None,
) -> str:
    """Content address of one answer: sha256 over everything that could change it.

    Args:
        fingerprint: Of the checkpoint, see `harness.checkpoints.preflight`.
        adapter: Fingerprint of an adapter over the weights, or None.
        prompt: As rendered by the checkpoint's chat template.
        images: sha256 of each picture's encoded bytes, in order.
        pixels: The image processor's size settings.
        sampling: `n` does not enter: the third of four answers is also the third of eight.
        sample: Which of the `n` answers.
        engine: Name of the engine.
        version: Of the engine.
        dtype: That the engine computes in.
        context: Tokens of prompt and answer together, where the user set a limit.
        template_args: What the chat template is told beside the messages.
    """
    settings = dict(vars(sampling))
    del settings["n"]
    for name in ("force", "presence_penalty"):
        if not settings[name]:
            del settings[name]
    content = {
        "fingerprint": fingerprint,
        "adapter": adapter,
        "prompt": prompt,
        "images": list(images),
        "pixels": pixels,
        "sampling": settings,
        "sample": sample,
        "engine": [engine, version, dtype],
    }
    if context is not None:
        content["context"] = context
    if template_args:
        content["template_args"] = template_args
    return digest(content)
