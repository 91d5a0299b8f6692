"""Which steps of a study, what they lack, and what they take: told before anything is touched."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from common.errors import UserError, near
from common.terminal import print_table
from harness.studies.display import clock
from harness.studies.step import Step, Study, Written, within


def choose(study: Study, only: Sequence[str], start: str | None) -> tuple[Step, ...]:
    """Some of a study's steps.

    Args:
        study: The whole.
        only: Patterns of names of steps, or of stages; none: all of them.
        start: A pattern likewise: what it fits, and all that follows from what these write.

    Raises:
        UserError: A pattern fits no step, or no step is left.
    """
    steps = study.steps
    if start is not None:
        first = _fitting(study.steps, start, "--from")
        steps = _following(study.steps, first)
    if only:
        wanted = {step for pattern in only for step in _fitting(study.steps, pattern, "--only")}
        steps = tuple(step for step in steps if step in wanted)
    if not steps:
        raise UserError(f"nothing that --only names follows from {start}: leave one of them out")
    return steps


def _fitting(steps: Sequence[Step], pattern: str, flag: str) -> tuple[Step, ...]:
    found = tuple(
        step
        for step in steps
        if any(fnmatchcase(name, pattern) for name in (step.name, step.stage))
    )
    if not found:
        names = dict.fromkeys(name for step in steps for name in (step.stage, step.name) if name)
        raise UserError(
            f"{flag} {pattern} fits no step; {near(pattern, names)}--plan lists them by stage, and "
            "* stands for anything"
        )
    return found


def _following(steps: Sequence[Step], first: Iterable[Step]) -> tuple[Step, ...]:
    """Those steps, and those that read what they write, and so on; in the order of the study."""
    found = set(first)
    growing = True
    while growing:
        written = [path for step in found for path in step.writes]
        more = {
            step
            for step in steps
            if step not in found and any(within(r, w) for r in step.reads for w in written)
        }
        found |= more
        growing = bool(more)
    return tuple(step for step in steps if step in found)


def check_reads(study: Study, chosen: Sequence[Step], out: Path) -> None:
    """Stop where a chosen step reads what is not there and no chosen step writes.

    Raises:
        UserError: It names the step that writes it.
    """
    written, everything = Written(chosen), Written(study.steps)
    for step in chosen:
        for path in step.reads:
            if written.by(path) or (out / path).exists():
                continue
            maker = next(one.name for one in study.steps if one.name in everything.by(path))
            raise UserError(
                f"step {step.name} reads {path}, which is not in {out}; step {maker} writes it: "
                "choose that too"
            )


# What they take


def show(study: Study, chosen: Sequence[Step], gpus: int) -> None:
    """Print steps of a study by stage with what they are expected to take, and the total."""
    rows = []
    for stage in dict.fromkeys(step.stage for step in chosen):
        steps = [step for step in chosen if step.stage == stage]
        rows.append((stage or study.name, *_figures(steps)))
        rows += [(f"  {step.name}", *_figures([step])) for step in steps]
    rows.append(("all", *_figures(chosen)))
    heads = ("step", "with a GPU", "without", "GiB to fetch", "GiB to write")
    print_table(heads, rows, "lrrrr")
    seconds = sum(step.seconds for step in chosen if step.gpu)
    said = f"{len(chosen)} steps"
    if seconds:
        said += f"; {seconds / 3600:.1f} GPU hours, so at least {clock(seconds / gpus)}"
        said += f" with --gpus {gpus}"
    print(f"{said}. These are estimates, and what is done already is not left out.")


def _figures(steps: Sequence[Step]) -> list[str]:
    gpu = sum(step.seconds for step in steps if step.gpu)
    rest = sum(step.seconds for step in steps if not step.gpu)
    times = [clock(seconds) if seconds else "" for seconds in (gpu, rest)]
    fetched = sum(step.download_gib for step in steps)
    written = sum(step.disk_gib for step in steps)
    return [*times, *(f"{gib:.1f}" if gib else "" for gib in (fetched, written))]
