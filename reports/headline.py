"""What a report says in ten seconds: a sentence a method, and the figure of its differences.

Both are of the comparison that the tables show. A method that answered a part of the questions
only is named as such; validation splits are in neither.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from common.text import listed, some
from harness.statistics import render
from harness.statistics.compare import MEAN, VALIDATION, Difference
from reports.plots import forest
from reports.plots.style import Plot
from reports.tables import Line, Table, overall

MOST = 12
"""Methods that get a sentence each; more are named by what is said of them."""

PLACES = 5
"""Benchmarks, or families, named in one part of a sentence."""

ROWS = 60
"""Differences that the figure has one above the other."""


@dataclass(frozen=True)
class Said:
    """A sentence on one method, or on several of which the same is to be said."""

    name: str
    verdict: str
    """`better`, `worse`, `mixed` or `undecided`."""
    text: str


def sentences(counted: Sequence[Table]) -> list[Said]:
    """Say what is better than the baseline, what is worse, and what is undecided.

    Args:
        counted: Tables of blocks; those of categories are passed over.
    """
    wholes = _wholes(counted)
    several = len(wholes) > 1
    found = [_said(name, own, several) for name, own in _methods(wholes).items()]
    if len(found) <= MOST:
        return found
    names = {verdict: [one.name for one in found if one.verdict == verdict] for verdict in WORDS}
    return [Said(some(own, MOST), verdict, WORDS[verdict]) for verdict, own in names.items() if own]


WORDS = {
    "better": "better wherever it is told.",
    "worse": "worse wherever it is told.",
    "mixed": "better here, worse there: see the table.",
    "undecided": "undecided throughout.",
}


def _wholes(counted: Sequence[Table]) -> list[Table]:
    return [table for table in counted if table.found and not table.by_group]


def _methods(wholes: Sequence[Table]) -> dict[str, list[tuple[Table, Line]]]:
    """The lines of each method but the baseline, by its name: without the α of one family."""
    found: dict[str, list[tuple[Table, Line]]] = {}
    for table in wholes:
        for line in table.lines:
            if table.found and line.row.label != table.found.baseline:
                found.setdefault(line.row.method or line.row.label, []).append((table, line))
    named = {}
    for own in found.values():
        labels = {line.row.label for _, line in own}
        name = own[0][1].row.label
        named[name if len(labels) == 1 else name.partition(" (")[0]] = own
    return named


def _said(name: str, own: Sequence[tuple[Table, Line]], several: bool) -> Said:
    whole: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    besides: dict[str, list[str]] = {"better": [], "worse": []}
    baselines = Counter[str]()
    for table, line in own:
        known = table.found.differences if table.found else ()
        mine = [one for one in known if one.name == line.row.label]
        if overall(table.block, line.row) is None:
            continue
        baselines.update(one.baseline for one in mine)
        for one in mine:
            where = _place(one, table, several)
            if one.family == "headline":
                whole[_verdict(one)].append(f"{where} ({render.change(one)})")
            elif _against_the_whole(one, mine):
                besides[_verdict(one)].append(f"{where} ({render.change(one)})")
    told = [verdict for verdict in ("better", "worse") if whole[verdict] or besides[verdict]]
    verdict = "mixed" if len(told) == 2 else told[0] if told else "undecided"
    parts = list(_parts(whole, baselines.most_common(1)[0][0] if baselines else ""))
    if not parts:
        validation = "is compared on validation questions alone, which are no headline."
        part = "answered a part of the questions only: see the table."
        return Said(name, "undecided", validation if baselines else part)
    text = "; ".join(parts) + "."
    if groups := [f"{kind} on {some(own, PLACES)}" for kind, own in besides.items() if own]:
        text += f" Among groups of questions, {'; '.join(groups)}."
    return Said(name, verdict, text)


def _parts(whole: dict[str, list[str]], baseline: str) -> Iterator[str]:
    words = {"better": f"better than {baseline} on", "worse": f"worse than {baseline} on"}
    for verdict, places in whole.items():
        if places:
            word = words.get(verdict, "undecided on")
            yield f"{word} {listed(places) if len(places) <= PLACES else some(places, PLACES)}"


def _verdict(one: Difference) -> str:
    if one.finding != "supported":
        return "undecided"
    return "better" if one.difference > 0 else "worse"


def _against_the_whole(one: Difference, all_of: Sequence[Difference]) -> bool:
    """Whether a group tells something that its task does not."""
    if one.finding != "supported" or one.group in ("all", MEAN) or one.task.endswith(VALIDATION):
        return False
    whole = next((w for w in all_of if w.task == one.task and w.family == "headline"), None)
    return whole is not None and _verdict(whole) != _verdict(one)


def _place(one: Difference, table: Table, several: bool) -> str:
    """`mathvista`, `mathvista, geometry`; of several families `perception in LLaVA-NeXT`."""
    parts = [] if one.group == "all" else [one.group]
    if not several or len(table.found.headline if table.found else ()) > 1:
        parts.insert(0, one.task)
    place = ", ".join(parts)
    return f"{place} in {table.title}" if several and place else place or table.title


# The figure


def plot(counted: Sequence[Table]) -> Plot | None:
    """Differences of every method with their intervals, families side by side."""
    wholes = _wholes(counted)
    effects = list(_effects(wholes))
    rows = dict.fromkeys((one.group, one.label) for one in effects)
    if not effects:
        return None
    kept = list(rows)[:ROWS]
    base = wholes[0].found.baseline if wholes[0].found else ""
    text = (
        f"Difference to {base} on the same questions, in points, with its 95 % interval. Filled: "
        "told apart from 0 after correction (Holm); hollow: undecided."
    )
    if any(one.group for one in effects):
        text += " Each row of panels has its own scale."
    if len(rows) > ROWS:
        text += f" Drawn are {ROWS} of {len(rows):,}; comparison.csv has all."
    effects = [one for one in effects if (one.group, one.label) in kept]
    drawn = partial(forest.figure, effects, f"points above {base}")
    return Plot("differences", f"Differences to {base}", text, drawn)


def _effects(wholes: Sequence[Table]) -> Iterator[forest.Effect]:
    """Column by column; of a single method the columns are the names."""
    methods = _methods(wholes)
    several = len(wholes) > 1
    for title in dict.fromkeys(column.title for table in wholes for column in table.columns):
        for name, own in methods.items():
            for table, line in own:
                for column, entry in zip(table.columns, line.entries, strict=True):
                    one = entry.versus
                    if column.title != title or one is None or not overall(table.block, line.row):
                        continue
                    names = (
                        {"label": name, "group": title} if len(methods) > 1 else {"label": title}
                    )
                    yield forest.effect(one, family=table.title if several else "", **names)
