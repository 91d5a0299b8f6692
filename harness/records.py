"""What passes between asking, grading and counting, and how it lies on disk.

A run folder holds one checkpoint's answers:

    run.json           RunCard: what was asked, of what, how; counts and seconds
    questions.jsonl    Question without the image bytes: their sha256 names a file in ../images/
    responses.jsonl    Response, one line each, appended the moment it finishes
    verdicts.jsonl     Verdict of each response under the protocol of the run card
    cells.json         list of Cell: what the tables print

The images lie beside the run folder, in `../images/<sha256><suffix>`, shared by neighbouring runs.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Finish = Literal["stop", "length", "error"]
How = Literal["rule", "judge", "open", "truncated", "error"]


@dataclass(frozen=True)
class Image:
    """One picture, as the encoded file that the benchmark ships."""

    sha256: str
    """Of the encoded bytes; the picture's identity in keys and on disk."""
    suffix: str
    """`.png` or `.jpg`."""
    data: bytes = field(repr=False)
    """The encoded bytes."""


@dataclass(frozen=True)
class Question:
    """One row of a benchmark, ready to be asked."""

    task: str
    """Name of the task, as in `tasks.names()`."""
    id: str
    """The row's own identifier, unique within the task."""
    prompt: str
    """The user's message; `<image>` stands where each picture goes, in order."""
    images: tuple[Image, ...]
    """As many as the prompt has `<image>` marks."""
    row: dict[str, Any]
    """The benchmark's row, without pictures; what the verdict needs is in it."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 means all tokens."""
    max_tokens: int = 2048
    """Upper bound of generated tokens."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    n: int = 1
    """Answers drawn per question."""


@dataclass(frozen=True)
class Response:
    """What a model said, complete, before anything judges it."""

    key: str
    """Content address: see `key()`."""
    task: str
    id: str
    sample: int
    """0 … n − 1."""
    text: str
    """Everything generated, thoughts included, special tokens left out."""
    finish: Finish
    tokens_in: int
    """Prompt tokens, those of the images included."""
    tokens_image: int
    """Prompt tokens that stand for the images."""
    tokens_out: int
    seconds: float
    """From hand-over to the engine until the last token."""


@dataclass(frozen=True)
class Verdict:
    """Whether one response is right, and how that was found."""

    task: str
    id: str
    sample: int
    correct: bool | None
    """None: not known (open, truncated or error)."""
    answer: str | None
    """What was read as the final answer."""
    how: How
    groups: tuple[str, ...]
    """Groups of the task in which this row counts, `all` first."""


@dataclass(frozen=True)
class Cell:
    """One number of a table, with what stands behind it."""

    run: str
    task: str
    group: str
    n: int
    """Questions in the group."""
    correct: int
    open: int
    """No verdict: the answer could not be read. Counted as not correct."""
    truncated: int
    """Cut at the token limit before an answer. Counted as not correct."""
    error: int
    """The engine failed. Counted as not correct."""
    score: float
    """Share of correct answers, 0 … 1."""
    stderr: float
    """Standard error of the score."""


@dataclass(frozen=True)
class TaskCard:
    """A task as it was when it was asked."""

    name: str
    version: str
    revision: str
    """Of the data: a hub commit or the sha256 of the local rows."""
    n: int
    protocol: str
    scoring: str
    """One sentence: the rule behind the verdicts."""


@dataclass(frozen=True)
class RunCard:
    """The record of one run: enough to redo it and to distrust it."""

    name: str
    checkpoint: str
    fingerprint: str
    """Of the weights' content and everything else that shapes an answer (config, tokenizer, template)."""
    made: dict[str, Any] | None
    """`made.json` of the checkpoint, if it has one: parents, method, settings, cost."""
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
