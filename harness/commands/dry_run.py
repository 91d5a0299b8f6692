"""What `driftbench eval --dry-run` prints."""

from collections.abc import Sequence

from common.terminal import print_table
from common.text import printable
from harness.evaluate.dry_run import Plan


def print_plans(plans: Sequence[Plan]) -> None:
    """Print what some runs would ask, and how long it may take."""
    heads = ("run", "task", "questions", "answers", "there", "to ask")
    rows = []
    for plan in plans:
        about = "~" if plan.estimated else ""
        for part in plan.parts:
            counts = (part.questions, part.answers, part.there, part.answers - part.there)
            tokens = (part.tokens, part.tokens_image, part.longest)
            words = (*map(_count, counts), *(_count(number, about) for number in tokens))
            rows.append((plan.name, part.task, *words))
    print_table((*heads, "prompt tokens", "of pictures", "longest"), rows, "ll" + 7 * "r")
    for plan in plans:
        for sentence in _sentences(plan):
            print(printable(f"{plan.name}: {sentence}"))


def _count(number: int | None, about: str = "") -> str:
    return "?" if number is None else f"{about}{number:,}"


def _sentences(plan: Plan) -> list[str]:
    said = []
    if any(part.tokens is None for part in plan.parts):
        said.append(f"{plan.engine} keeps its tokenizer to itself: give --checkpoint to count")
    if plan.estimated:
        said.append("tokens of pictures are estimated: some pictures stand for all")
    if plan.pace is None:
        said.append(f"no run beside it by {plan.engine} on this device tells how long it takes")
    else:
        seconds = round(plan.pace.seconds)
        time = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        pace = f"{plan.pace.tokens_per_second:,.0f} tokens/s"
        said.append(f"about {time} at the pace of {plan.pace.run} ({pace}), engine start aside")
    return said
