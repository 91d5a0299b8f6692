"""What a study is: its steps, the methods that it compares, and what it claims of them.

A study is built by ordinary Python (`pocket.py`, `paper.py`, or a file of one's own with a function
`study`). Every mistake is told while it is built: a path outside the study's folder, an unknown
command, something read that no step writes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from common.errors import UserError, near
from common.typed import settle

GPUS, ACCUMULATE = "{gpus}", "{accumulate}"
"""In the words of a step: the number of GPUs, and the micro-batches of one sample that make up
`global_batch` on them. They are filled in when the step starts."""

STATE = "steps"
"""Folder of a study that holds what was done; no step reads or writes there."""

DRIFT = ("common", "drift")
HARNESS = (*DRIFT, "tasks", "harness")
COMMANDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("distance", "families", "fetch", "merge", "noisy", "pocket"), DRIFT),
    **dict.fromkeys(("prior", "train"), DRIFT),
    **dict.fromkeys(("compare", "eval", "rows", "score", "sweep", "tune"), HARNESS),
    "report": (*HARNESS, "reports"),
}
"""Command of a step → packages whose code decides what it writes, its own last."""

Gpu = Literal["", "one", "all", "ranks"]
Sign = Literal[-1, 0, 1]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One process of a study, `driftbench COMMAND …`.

    Raises:
        UserError: A field is of the wrong kind, a path leaves the study's folder, or the command is
            none.
    """

    name: str
    run: tuple[str, ...]
    """The words after `driftbench`; paths are relative to the study's folder."""
    reads: tuple[str, ...] = ()
    """Paths whose content decides the result."""
    writes: tuple[str, ...] = ()
    seconds: float = 30.0
    """Expected; the time left and the plan are judged by it."""
    gpu: Gpu = ""
    """GPUs that it takes where there are any: one, all that the study may use, or all with a
    process on each (`torchrun`)."""
    resumes: bool = False
    """Goes on by itself from what it wrote before; anything else starts afresh."""
    stage: str = ""
    """Of the study, for the plan."""
    download_gib: float = 0.0
    """Fetched; an estimate, as the seconds and the next are."""
    disk_gib: float = 0.0
    """Written, downloads aside."""

    def __post_init__(self) -> None:
        settle(self, f"step {self.name!r}")
        if min(self.seconds, self.download_gib, self.disk_gib) < 0:
            raise UserError(f"step {self.name} takes less than no time or room")
        if record_name(self.name) in ("", "study", "fingerprints", "lock"):
            raise UserError(f"no step can have the name {self.name!r}: give another")
        if not self.run or self.run[0] not in COMMANDS:
            word = self.run[0] if self.run else ""
            raise UserError(
                f"step {self.name} runs `driftbench {word}`, which no study can; "
                f"{near(word, COMMANDS)}there are {', '.join(COMMANDS)}"
            )
        for path in (*self.reads, *self.writes):
            _check_inside(path, f"step {self.name}")


def step(name: str, *run: str, reads: Iterable[str] = (), **more: Any) -> Step:
    """A step that writes what it is named after, where `more` does not say otherwise.

    >>> step("sft", "train", "my_sft", "--out", "sft", reads=["data"]).writes
    ('sft',)
    """
    return Step(
        name=name, run=run, reads=tuple(dict.fromkeys(reads)), **{"writes": (name,), **more}
    )


@dataclass(frozen=True)
class MethodRun:
    """Where one family and seed of a method was evaluated."""

    family: str
    """Its `model_type`, or a name of the study's own, see `Design.titles`."""
    seed: int
    folder: str
    """A run folder, relative to the study's."""

    def __post_init__(self) -> None:
        settle(self, "run of a method")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting at which a method was tried, on a seed that counts for nothing else.

    Raises:
        UserError: A field is of the wrong kind, or the run lies outside the study's folder.
    """

    method: str
    family: str
    seed: int
    folder: str
    """A run folder, relative to the study's."""
    settings: Mapping[str, int | float | str] = field(default_factory=dict)
    """Name → value; a method that has none is tried once."""

    def __post_init__(self) -> None:
        settle(self, f"trial of {self.method!r}")
        _check_inside(self.folder, f"a trial of {self.method}")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The rule by which a method's settings are chosen among its trials, family by family.

    Of the settings that keep what is to be kept, the one of the highest score; where none keeps
    it, the one that loses least. Scores are means over the trials' seeds.
    """

    task: str
    """Whose questions choose."""
    group: str
    """Of the questions whose score is to be high."""
    keeps: str = ""
    """Group that may not lose more than `points` percentage points; empty: none."""
    points: float = 5.0
    against: str = ""
    """Method from whose trial the loss is counted."""

    def __post_init__(self) -> None:
        settle(self, "the rule of tuning")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One thing that a study compares: a row of its tables.

    Raises:
        UserError: A field is of the wrong kind, or a run lies outside the study's folder.
    """

    name: str
    label: str
    """In tables and sentences."""
    runs: tuple[MethodRun, ...]
    chosen_on: str = ""
    """Task whose questions choose among several runs of a family and seed, see
    `harness.statistics.choice`; they count for nothing else. Empty: there is one run each."""
    sweep: bool = False
    """Its runs are merges by one method at several shares: a curve, and no row of a table."""

    def __post_init__(self) -> None:
        settle(self, f"method {self.name!r}")
        for run in self.runs:
            _check_inside(run.folder, f"method {self.name}")
        places = [(run.family, run.seed) for run in self.runs]
        if not (self.chosen_on or self.sweep) and len(set(places)) < len(places):
            raise UserError(
                f"method {self.name} has two runs of one family and seed: give chosen_on, the task "
                "that chooses between them"
            )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One thing that a study is asked.

    Raises:
        UserError: A field is of the wrong kind.
    """

    text: str
    """As a sentence that may turn out true, false, or beyond what the runs can tell."""
    method: str
    against: str
    """Methods whose difference, the first less the second, decides."""
    group: str
    """Of the questions that decide; a task where the study has several."""
    sign: Sign = 1
    """1: `method` is to score higher; −1: lower; 0: the two are to differ, either way."""
    primary: bool = False
    """Declared before its runs were made: all primary claims of a study and their families are one
    family of tests. Any other is exploratory."""
    families: tuple[str, ...] = ()
    """That it is judged in; none: all that have both methods."""

    def __post_init__(self) -> None:
        settle(self, f"claim {self.text!r}")


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is compared: all that a report needs to know of a study."""

    methods: tuple[Method, ...] = ()
    """In the order of the tables."""
    claims: tuple[Claim, ...] = ()
    baseline: str = ""
    """Method to which a table compares the others; empty: the first."""
    trials: tuple[Trial, ...] = ()
    tuning: Tuning | None = None
    """Of the trials."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Group → share of right answers, 0 … 1, that is within reach of who understands a part of the
    question: a claim whose better method lies below says nothing."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Family → its name in tables, for those that are no `model_type`."""


@dataclass(frozen=True, kw_only=True)
class Study(Design):
    """Steps, and what is compared by them.

    Raises:
        UserError: A field is of the wrong kind, two things have one name, or one of them names what
            is not there.
    """

    name: str
    about: str
    steps: tuple[Step, ...]
    threads: int = 1
    """Of each step; part of the study because float sums depend on it."""
    forked: bool = False
    """Its steps take seconds: without a GPU they fork from a process that has done the imports."""
    global_batch: int | None = None
    """Samples of one optimizer step, on any number of GPUs."""
    sharding: Mapping[str, str] = field(default_factory=dict)
    """Environment of a step that runs as several processes."""

    def __post_init__(self) -> None:
        settle(self, f"study {self.name!r}")
        if not self.steps:
            raise UserError(f"study {self.name} has no steps")
        _check_distinct([record_name(step.name) for step in self.steps], "steps")
        _check_distinct([method.name for method in self.methods], "methods")
        written = Written(self.steps)
        for step in self.steps:
            for path in step.reads:
                if not written.by(path):
                    raise UserError(f"step {step.name} reads {path}, which no step writes")
        try:
            TopologicalSorter(after(self.steps)).prepare()
        except CycleError as error:
            names = ", ".join(error.args[1])
            raise UserError(f"steps of the study wait for one another: {names}") from None
        known = {method.name for method in self.methods}
        tried = dict.fromkeys(trial.method for trial in self.trials)
        named = [("a trial", name) for name in tried]
        if self.tuning and self.tuning.against:
            named.append(("the rule of tuning", self.tuning.against))
        for claim in self.claims:
            named += [(f"claim {claim.text!r}", name) for name in (claim.method, claim.against)]
        if self.baseline:
            named.append(("the baseline", self.baseline))
        for what, name in named:
            if name not in known:
                raise UserError(
                    f"{what} names the method {name!r}, which the study does not have; "
                    f"{near(name, known)}it has {', '.join(sorted(known)) or 'none'}"
                )


def room(steps: Iterable[Step]) -> int:
    """Bytes that some steps fetch and write, as they estimate them."""
    return round(2**30 * sum(step.download_gib + step.disk_gib for step in steps))


def record_name(step: str) -> str:
    """Name of a step's record and log in `STATE`, without their suffix."""
    return step.replace("/", "--")


# What waits for what


def after(steps: Sequence[Step]) -> dict[str, set[str]]:
    """Step → those that write what it reads, see `within`."""
    written = Written(steps)
    return {
        step.name: {name for path in step.reads for name in written.by(path)} - {step.name}
        for step in steps
    }


def within(read: str, write: str) -> bool:
    """Whether what is read is, holds or lies in what is written."""
    a, b = Path(read), Path(write)
    return a == b or a in b.parents or b in a.parents


class Written:
    """Who writes a path, or something in it, or a folder around it."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.writers: dict[Path, set[str]] = {}
        self.inside: dict[Path, set[str]] = {}
        for step in steps:
            for written in map(Path, step.writes):
                self.writers.setdefault(written, set()).add(step.name)
                for place in written.parents:
                    self.inside.setdefault(place, set()).add(step.name)

    def by(self, read: str) -> set[str]:
        """Names of the steps."""
        path = Path(read)
        around = (self.writers.get(place, set()) for place in (path, *path.parents))
        return self.inside.get(path, set()).union(*around)


# Checks


def _check_inside(path: str, whose: str) -> None:
    """Stop at a path that is not strictly inside the study's folder."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] in ("/", "//", STATE) or ".." in parts:
        raise UserError(
            f"{whose} names the path {path!r}; expected one inside the study's folder, relative to "
            f"it, without `..`, and not in {STATE}/"
        )


def _check_distinct(names: Sequence[str], what: str) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UserError(f"the study has two {what} of the name {twice[0]}")
