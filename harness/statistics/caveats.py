"""What the reader of a comparison has to know: sentences on what makes it less than it seems."""

from collections.abc import Iterator, Sequence

from common.text import percent, some
from harness.statistics import pass_at_k
from harness.statistics.pairing import enough, own_questions
from harness.statistics.sides import Side, other_questions, reworded, unlike

Notes = dict[tuple[str, str], list[str]]
"""Task and what is to be said → of which sides."""


def note(notes: Notes, task: str, side: Side, text: str) -> None:
    """Keep what is true of a side on a task."""
    notes.setdefault((task, text), []).append(side.name)


def told(notes: Notes) -> Iterator[str]:
    """Yield each note once, of all sides that it is true of."""
    for (task, text), names in notes.items():
        yield f"{task}: {some(names)} {text}."


def about(side: Side, base: Side, task: str, k: int) -> Iterator[str]:
    """Yield what makes a comparison less than it seems."""
    a, b = side.runs[0], base.runs[0]
    if len(side.runs) + len(base.runs) > 2 and own_questions(side, base, task):
        yield (
            f"and {base.name} were asked different questions by each seed: compared over "
            f"{len(side.runs)} seeds, not question by question"
        )
    else:
        mine, other = (
            [{v.id for v in enough(run.verdicts[task, "all"], k)} for run in one.runs]
            for one in (side, base)
        )
        others = other_questions(a, b, task)
        common = set.intersection(*mine, *other) - others
        if any(ids - others != common for ids in (*mine, *other)):
            yield (
                f"answered {len(set.union(*mine)):,} questions and {base.name} "
                f"{len(set.union(*other)):,}; compared on the {len(common):,} that they share"
            )
        if others:
            yield (
                f"saw other questions than {base.name} under {len(others):,} of the ids; "
                "they are left out"
            )
        if count := len(reworded(a, b, task)) - len(others):
            yield (
                f"saw {count:,} of the shared questions in other words or with other pictures "
                f"than {base.name}"
            )
    if differing := "; ".join(unlike(a.card, b.card, task)):
        yield f"had other settings than {base.name}: {differing}"


def of_runs(sides: Sequence[Side], tasks: Sequence[str], metric: str) -> Iterator[str]:
    """Yield what is to be known of single runs."""
    for run in (run for side in sides for run in side.runs):
        part = f"{run.graded:,} of {run.card.asked:,}"
        if not run.card.finished:
            yield f"{run.name} is not finished: {part} answers are graded."
        elif not run.whole:
            yield f"{run.name} has lost answers: it was finished, and {part} are there."
    if metric != "mean":
        return
    for task in tasks:
        for side in (side for side in sides if len(side.runs) == 1 and task in side.tasks):
            if found := pass_at_k.spread(side.runs[0].verdicts[task, "all"]):
                yield (
                    f"{task}: of the standard error of {side.name}, "
                    f"{percent(found.stderr_between)} comes from the choice of questions and "
                    f"{percent(found.stderr_within)} from drawing {found.answers:g} answers to "
                    "each."
                )
