"""A comparison as text: cells and sentences, and the whole of it in each format."""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence

from common.text import (
    csv_text,
    in_latex,
    in_markdown,
    latex_row,
    listed,
    markdown_table,
    p_value,
    percent,
    probability,
    signed,
    some,
    with_error,
)
from harness.statistics.compare import FAMILIES, MEAN, Comparison, Difference, Family
from harness.statistics.gate import Gate
from harness.statistics.resampling import LEVEL

HEADS = (
    *("run", "n", "score", "difference", "95 % interval", "p", "p (Holm)", "finding"),
    *("finds", "settles", "flips"),
)
ALIGN = "lrrrrrrlrrr"

SAID = 8
"""Most differences of a family that get a sentence each; of more they are counted."""


# Cells


def change(one: Difference) -> str:
    """`+1.6 ± 1.0`, in points; where the error is no measure, the interval instead."""
    if one.difference_stderr == 0 and math.isfinite(one.low):
        return f"{signed(one.difference)} ({interval(one)})"
    return f"{signed(one.difference)} ± {percent(one.difference_stderr)}"


def interval(one: Difference) -> str:
    """`−1.9 to +1.9`: 95 %."""
    return f"{signed(one.low)} to {signed(one.high)}" if math.isfinite(one.low) else "?"


def place(one: Difference) -> str:
    """`mathvista`, `mathvista, geometry`, `mean over mathvista and mmstar`."""
    if one.group == MEAN:
        return f"mean over {some(one.task.split('+'))}"
    return one.task if one.group == "all" else f"{one.task}, {one.group}"


def sections(differences: Sequence[Difference]) -> Iterator[tuple[str, list[str]]]:
    """Yield place and cells under `HEADS` of each line: in a place the baseline first.

    A side that answered other questions is compared on others: below those that answered all, under
    the baseline's score on these.
    """
    parts: dict[tuple[str, int, float], list[Difference]] = {}
    for one in differences:
        parts.setdefault((place(one), -one.n, one.baseline_score), []).append(one)
    places = {where: turn for turn, (where, *_) in enumerate(parts)}
    for (where, *_), own in sorted(parts.items(), key=lambda part: (places[part[0][0]], part[0])):
        first = own[0]
        score = with_error(first.baseline_score, first.baseline_stderr)
        yield where, [first.baseline, f"{first.n:,}", score, "baseline", *[""] * 7]
        yield from ((where, _cells(one)) for one in own)


def _cells(one: Difference) -> list[str]:
    error = f" ± {percent(one.difference_stderr)}" if one.difference_stderr else ""
    return [
        one.name,
        f"{one.n:,}",
        with_error(one.score, one.stderr),
        signed(one.difference) + error,
        interval(one),
        p_value(one.p),
        p_value(one.p_holm),
        one.finding,
        percent(one.detectable) if math.isfinite(one.detectable) else "–",
        "–" if one.needed is None else f"{one.needed:,}",
        "" if one.above is None else f"+{one.above:,} −{one.below:,}",
    ]


# Sentences


def sentences(found: Comparison, family: Family) -> list[str]:
    """Say what the differences of a family show: one by one, or counted where they are many."""
    own = found.family(family)
    if len(own) <= SAID:
        return [sentence(one, len(own)) for one in own]
    return list(_counted(own))


def sentence(one: Difference, among: int) -> str:
    """Say what one difference of so many shows."""
    side = "above" if one.difference > 0 else "below"
    moved = f"{percent(abs(one.difference))} points {side} {one.baseline}"
    if not one.difference:
        moved = f"level with {one.baseline}"
    p = probability(one.p_holm) + (f" after Holm for {among}" if among > 1 else "")
    shared = f"{one.n:,} questions"
    if one.clusters < one.n:
        shared += f" in {one.clusters:,} cluster{'s' if one.clusters > 1 else ''}"
    if one.above is None:
        shared += f", {one.test}"
    text = f"{place(one)}: {one.name} is {moved}: {one.finding} ({shared}, {p})."
    return f"{text} {_why(one)}".rstrip()


def _why(one: Difference) -> str:
    """Say what keeps a difference from being supported, and what would settle it."""
    if one.finding == "supported":
        return ""
    if one.finding == "cannot be told":
        if one.clusters < 2:
            return "All of them are one cluster, which says nothing about its own error."
        if one.above is None and not one.difference_stderr:
            return "Every seed came out alike, which leaves no spread to judge by."
        if one.above is None:
            return "Had every seed agreed, so few would still not have been enough."
        return "They came out differently on too few questions for any test."
    if not math.isfinite(one.detectable):
        return ""
    text = f"So many find {percent(one.detectable)} points four times in five"
    if one.needed is not None and one.needed > one.n:
        text += f"; a true difference as small as this takes about {one.needed:,}"
    return f"{text}."


def _counted(differences: Sequence[Difference]) -> Iterator[str]:
    for where in dict.fromkeys(map(place, differences)):
        own = [one for one in differences if place(one) == where]
        found: dict[str, list[str]] = {}
        for one in own:
            side = (" above" if one.difference > 0 else " below") * (one.finding == "supported")
            found.setdefault(f"{one.finding}{side}", []).append(one.name)
        parts = [f"{len(names)} {word} ({some(names)})" for word, names in found.items()]
        yield f"{where}: of {len(own)} differences to {own[0].baseline} {listed(parts)}."


def caption(found: Comparison) -> list[str]:
    """Say what the numbers are, and which are corrected together."""
    score = {"mean": "accuracy", "maj": "accuracy of the most frequent answer"}
    texts = [
        f"Scores are {score.get(found.metric, found.metric)} in percent ± standard error, all "
        "questions of a place pooled; differences in points, paired on the same questions. "
        "Unparsed, truncated and failed answers count as wrong."
    ]
    headline, exploratory = found.family("headline"), found.family("exploratory")
    if len(headline) > 1:
        texts.append(
            f"Headline: each run against {found.baseline}, a task each. p (Holm) is corrected for "
            f"these {len(headline)} differences; what they find and what settles them is at the "
            f"level {LEVEL / len(headline):.2g}."
        )
    if exploratory:
        why = "not what the runs were compared for"
        if len(exploratory) > 1:
            why = f"their {len(exploratory)} differences are corrected among themselves, and {why}"
        texts.append(f"Exploratory: {listed(_kinds(exploratory))}; {why}.")
    return texts


def _kinds(exploratory: Sequence[Difference]) -> list[str]:
    """What is looked at besides the tasks that count."""
    kinds = {MEAN: "the mean over tasks", "all": "validation splits"}
    there = {kinds.get(one.group, "groups") for one in exploratory}
    return [
        kind for kind in ("the mean over tasks", "groups", "validation splits") if kind in there
    ]


def remarks(found: Comparison) -> list[str]:
    """Everything that is said of a comparison beside its numbers."""
    exploratory = found.family("exploratory")
    supported = [one for one in exploratory if one.finding == "supported"]
    texts = sentences(found, "headline")
    if len(supported) <= SAID:
        texts += [sentence(one, len(exploratory)) for one in supported]
    return [*texts, *caption(found), *found.notes]


# Formats


def _families(found: Comparison) -> list[tuple[Difference, ...]]:
    return [own for family in FAMILIES if (own := found.family(family))]


def markdown(found: Comparison) -> str:
    """Write a table a family, and the remarks as a list."""
    parts = []
    for own in _families(found):
        rows = [list(map(in_markdown, (where, *cells))) for where, cells in sections(own)]
        parts.append(markdown_table(("task", *HEADS), rows, "l" + ALIGN))
    parts.append("\n".join(f"- {in_markdown(text)}" for text in remarks(found)))
    return "\n\n".join(parts) + "\n"


def latex(found: Comparison) -> str:
    r"""Write a `tabular` a family, and the remarks as comments; needs `\usepackage{booktabs}`."""
    lines = ["% Needs \\usepackage{booktabs}."]
    for own in _families(found):
        lines += [rf"\begin{{tabular}}{{l{ALIGN}}}", r"\toprule", latex_row(("task", *HEADS))]
        last = None
        for where, cells in sections(own):
            lines += [r"\midrule"] if where != last else []
            lines.append(latex_row(("" if where == last else where, *cells)))
            last = where
        lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {in_latex(text)}" for text in remarks(found))]) + "\n"


FIELDS = tuple(Difference.__dataclass_fields__)


def csv(found: Comparison) -> str:
    """Write a line a difference at full precision; what is not known is empty."""
    return csv_text(FIELDS, map(dataclasses.asdict, found.differences))


def as_json(found: Comparison, gate: Gate | None = None) -> str:
    """Write everything as JSON; what is not known or infinite is null."""
    content: dict[str, object] = {
        "baseline": found.baseline,
        "sides": found.sides,
        "metric": found.metric,
        "headline": [_known(one) for one in found.family("headline")],
        "exploratory": [_known(one) for one in found.family("exploratory")],
        "sentences": sentences(found, "headline"),
        "notes": found.notes,
    }
    if gate:
        content["gate"] = dataclasses.asdict(gate)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _known(one: Difference) -> dict[str, object]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in dataclasses.asdict(one).items()
    }
