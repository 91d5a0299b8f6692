"""A study over seeds as text: what is supported, what is not, what cannot be told; its tables.

Every sentence is made from the numbers.
"""

import math
from collections.abc import Sequence
from itertools import groupby

from common.text import (
    csv_text,
    in_markdown,
    latex_row,
    latex_table,
    markdown_table,
    p_value,
    percent,
    probability,
    signed,
    with_error,
)
from reports.study import FamilyStudy, Finding, Mean, Scored, Study

HEADINGS = {
    "supported": "Supported",
    "in part": "Supported in some families, inside the noise in others",
    "mixed": "Supported in some families, contradicted in others",
    "contradicted": "Contradicted",
    "below the floor": "Below the floor: a difference among guesses",
    "inside the noise": "Inside the noise",
    "cannot be told": "Cannot be told",
}
"""What the families say of a claim together → heading, in the order of the report."""


def intro(study: Study) -> str:
    """What was done, in a few sentences."""
    names = ", ".join(family.title for family in study.families)
    return (
        f"{study.seeds} seeds of {names}; of each, every checkpoint answered up to "
        f"{study.questions:,} test questions ({study.answers:,} answers in all, those on "
        "validation questions included). Scores are means over seeds in percent, ± their standard "
        "error over seeds. Differences are paired by question and judged over seeds by an exact "
        "test of their signs, where seeds were asked alike by t over questions too; p is corrected "
        "(Holm) over all that the study claims of any family."
    )


def together(findings: Sequence[Finding]) -> str:
    """What the families say of one claim: a key of `HEADINGS`."""
    said = {finding.verdict for finding in findings}
    if said == {"supported"}:
        return "supported"
    if "contradicted" in said:
        return "mixed" if "supported" in said else "contradicted"
    if "supported" in said:
        return "in part"
    if "below the floor" in said:
        return "below the floor"
    return "inside the noise" if "inside the noise" in said else "cannot be told"


def sentences(study: Study) -> dict[str, list[tuple[str, str]]]:
    """Heading → claims under it, each with what the families say."""
    titles = {family.name: family.title for family in study.families}
    found: dict[str, list[tuple[str, str]]] = {key: [] for key in HEADINGS}
    for claim, group in groupby(study.findings, key=lambda finding: finding.claim):
        findings = list(group)
        said = "; ".join(_said(finding, titles[finding.family]) for finding in findings)
        found[together(findings)].append((claim.text, said))
    return {HEADINGS[key]: lines for key, lines in found.items() if lines}


def _said(finding: Finding, title: str) -> str:
    versus = finding.found
    words = {"supported": "", "contradicted": "the contrary, "}
    said = words.get(finding.verdict, f"{finding.verdict}, ")
    return (
        f"{title} {said}{signed(versus.difference)} ({interval(finding)}, {probability(finding.p)})"
    )


def interval(finding: Finding) -> str:
    """`+1.0 to +5.2`: 95 %, over seeds."""
    found = finding.found
    if math.isnan(found.low):
        return "every seed alike"
    return f"{signed(found.low)} to {signed(found.high)}"


def score(mean: Mean | None) -> str:
    """`62.5 ± 3.4`, in percent."""
    return with_error(mean.mean, mean.stderr) if mean else "–"


def plain(mean: Mean | None) -> str:
    """`0.86 ± 0.02`."""
    if mean is None:
        return "–"
    if math.isnan(mean.stderr):
        return f"{mean.mean:.2f}"
    return f"{mean.mean:.2f} ± {mean.stderr:.2f}".replace("-", "−")


def header(family: FamilyStudy) -> list[str]:
    """Titles of the columns."""
    return ["", *family.groups, "unread", "ρ", "moved", "seconds"]


def lines(family: FamilyStudy) -> list[list[str]]:
    """The rows of a family's table, the guess floor last."""
    found = [_line(family, method) for method in family.methods]
    if family.floors:
        floors = [family.floors.get(group) for group in family.groups]
        shown = ["–" if floor is None else percent(floor) for floor in floors]
        found.append(["always the same answer", *shown, "", "", "", ""])
    return found


def _line(family: FamilyStudy, method: Scored) -> list[str]:
    scores = [score(method.scores.get(group)) for group in family.groups]
    seconds = "" if method.seconds is None else f"{method.seconds:.0f}"
    unread = f"{100 * method.unread:.1f}"
    return [method.label, *scores, unread, plain(method.rho), plain(method.moved), seconds]


LEGEND = (
    "unread: percent of answers that were unparsed (no answer could be read) or truncated; they "
    "count as wrong. ρ = ⟨w − w₀, Δ⟩ / ‖Δ‖², moved = ‖w − w₀‖ / ‖Δ‖, over attention and MLPs: how "
    "far toward the reasoner, and how far in all. seconds: of training, one thread."
)


def markdown(study: Study, figures: Sequence[tuple[str, str]] = ()) -> str:
    """The whole study as Markdown.

    Args:
        study: What was found.
        figures: File names and captions, shown after the sentences.
    """
    parts = ["# What the study says", intro(study)]
    for heading, claims in sentences(study).items():
        parts += [f"## {heading}", "\n".join(f"- {text}. {said}." for text, said in claims)]
    parts += [f"![{caption}]({name})" for name, caption in figures]
    for family in study.families:
        parts += [f"## {family.title}", _table([header(family), *lines(family)])]
    parts += [LEGEND, "## Every difference"]
    parts += [_table([FINDING, *(finding_line(study, one) for one in study.findings)])]
    return "\n\n".join(parts) + "\n"


FINDING = ["claim", "family", "group", "difference", "95 %", "p", "p (Holm)", ""]


def finding_line(study: Study, finding: Finding) -> list[str]:
    """One row of the table of differences."""
    titles = {family.name: family.title for family in study.families}
    found = finding.found
    return [
        finding.claim.text,
        titles[finding.family],
        finding.claim.group,
        f"{signed(found.difference)} ± {percent(found.stderr)}",
        interval(finding),
        p_value(found.p),
        p_value(finding.p),
        finding.verdict,
    ]


def _table(rows: Sequence[Sequence[str]]) -> str:
    heads, *lines = ([in_markdown(cell) for cell in row] for row in rows)
    return markdown_table(heads, lines, "l" + "r" * (len(heads) - 1))


def latex(study: Study) -> str:
    """A booktabs table a family, ready to paste."""
    found = []
    for family in study.families:
        rows = [header(family), *lines(family)]
        shown = list(map(latex_row, rows))
        columns = "l" + "r" * (len(rows[0]) - 1)
        caption = f"{family.title}: means over {study.seeds} seeds, in percent."
        body = [shown[0], r"\midrule", *shown[1:]]
        found.append(latex_table(caption, f"study-{family.name}", columns, body))
    return "\n".join(found)


def long_form(study: Study) -> str:
    """CSV, a line for each family, method, group and seed."""
    rows = []
    for family in study.families:
        for method in family.methods:
            moves = {"rho": method.rho, "moved": method.moved}
            for quantity, mean in {**method.scores, **moves}.items():
                for seed, value in enumerate(mean.values if mean else ()):
                    rows.append((family.name, method.name, quantity, seed, _short(value)))
    fields = ("family", "method", "quantity", "seed", "value")
    return csv_text(fields, (dict(zip(fields, row, strict=True)) for row in rows))


def findings_csv(study: Study) -> str:
    """CSV, a line for each claim and family, the differences of the seeds last."""
    seeds = [f"seed_{place}" for place in range(study.seeds)]
    numbers = ("difference", "stderr", "stderr_questions", "low", "high", "p")
    rows = []
    for one in study.findings:
        claim = one.claim
        row: dict[str, object] = {"claim": claim.text, "family": one.family, "group": claim.group}
        row |= {
            "method": claim.method,
            "against": claim.against,
            "verdict": one.verdict,
            "p_holm": _short(one.p),
        }
        row |= {name: _short(getattr(one.found, name)) for name in numbers}
        rows.append(row | dict(zip(seeds, map(_short, one.found.differences), strict=False)))
    names = ("claim", "family", "method", "against", "group", *numbers, "p_holm", "verdict", *seeds)
    return csv_text(names, rows)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
