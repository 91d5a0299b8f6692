"""What is asked: the user's settings, the questions that they choose, a part of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.checkpoints.image_size import budget_of
from harness.checkpoints.kinds import Checkpoint
from harness.runs.schema import PixelBudget, Question, Sampling
from tasks import Task


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What the user sets of a run."""

    data: Path | None = None
    """Folder of the tasks' local rows."""
    limit: int | None = None
    """Questions per task."""
    sampling: Sampling = Sampling()
    """`max_tokens` in it is not used."""
    max_tokens: int | None = None
    """Upper bound of generated tokens, instead of the tasks' own."""
    template_args: dict[str, Any] = field(default_factory=dict)
    """What the chat template is told beside the messages: `{"enable_thinking": True}`."""
    min_pixels: int | None = None
    """Smaller pictures are enlarged to so many pixels; None: as the checkpoint does."""
    max_pixels: int | None = None
    """Larger pictures are shrunk to so many pixels; None: as the checkpoint does."""
    overwrite: bool = False
    """Drop what a run folder holds of another run, instead of refusing."""
    retry_errors: bool = False
    """Ask again also after permanent errors: a prompt beyond the context, an unreadable picture."""
    repeats: dict[str, str] = field(default_factory=dict)
    """Checkpoint's name → the `run.yaml` that its run folder keeps."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is asked of every checkpoint."""

    config: EvalConfig
    tasks: tuple[Task, ...]
    questions: tuple[Question, ...]
    """Of all tasks, in order; the images without their bytes."""
    revisions: dict[str, str]
    """Task → sha256 of its rows."""
    commits: dict[str, str | None]
    """Task → commit of the hub dataset; None: the rows are local."""

    def sampling_of(self, task: str) -> Sampling:
        """Return the sampling of one task: its own bound of tokens, unless the user set one."""
        own = next(t.max_tokens for t in self.tasks if t.name == task)
        return replace(self.config.sampling, max_tokens=self.config.max_tokens or own)

    def budget(self, checkpoint: Checkpoint) -> PixelBudget | None:
        """Return the pixel budget that is asked of a checkpoint."""
        return budget_of(checkpoint, self.config.min_pixels, self.config.max_pixels)


@dataclass(frozen=True)
class Shard:
    """A part of the questions: each `count`th of them."""

    index: int
    """1 … count."""
    count: int

    @property
    def name(self) -> str:
        """In the names of files."""
        return f"{self.index}of{self.count}"

    def of(self, questions: Sequence[Question]) -> Sequence[Question]:
        """Return its questions."""
        return questions[self.index - 1 :: self.count]
