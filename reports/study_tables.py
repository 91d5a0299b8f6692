"""The tables of a study over seeds: heads and cells, for every format."""

import math

from common.text import p_value, percent, signed, with_error
from reports.study import FamilyStudy, Finding, MethodStudy, Study
from reports.study_rows import SETTLED, Mean
from reports.study_text import interval, seeds
from reports.study_tuning import MOST, until_most


def score(mean: Mean | None) -> str:
    """`62.5 ± 3.4`, in percent."""
    return with_error(mean.mean, mean.stderr) if mean else "–"


def plain(mean: Mean | None, digits: int = 2) -> str:
    """`0.86 ± 0.02`."""
    if mean is None:
        return "–"
    text = f"{mean.mean:.{digits}f}"
    if not math.isnan(mean.stderr):
        text += f" ± {mean.stderr:.{digits}f}"
    return text.replace("-", "−")


def header(family: FamilyStudy) -> list[str]:
    """Titles of the columns."""
    more = ["seeds", "unread", "ρ", "moved", "last loss", "converged", "GFLOP", "processor s"]
    return ["", *family.groups, *more]


def lines(family: FamilyStudy) -> list[list[str]]:
    """The rows of a family's table, the guess floor last."""
    found = [_line(family, method) for method in family.methods]
    if family.floors:
        floors = [family.floors.get(group) for group in family.groups]
        shown = ["–" if floor is None else percent(floor) for floor in floors]
        found.append(["always the same answer", *shown, *[""] * 8])
    return found


def _line(family: FamilyStudy, method: MethodStudy) -> list[str]:
    return [
        method.label,
        *(score(method.scores.get(group)) for group in family.groups),
        str(max(len(mean.values) for mean in method.scores.values())),
        f"{100 * method.unread:.1f}",
        plain(method.rho),
        plain(method.moved),
        plain(method.loss, 3),
        _of(method.converged),
        giga(method.flops),
        f"{method.processor_seconds.mean:.0f}" if method.processor_seconds else "–",
    ]


def _of(counts: tuple[int, int]) -> str:
    return f"{counts[0]} of {counts[1]}" if counts[1] else "–"


def giga(flops: Mean | None) -> str:
    """Write operations in billions."""
    return f"{flops.mean / 1e9:,.0f}" if flops else "–"


LEGEND = (
    "Means over the seeds of each method: of methods with different seeds only the differences, "
    "taken on the same ones, compare. unread: percent of answers that were unparsed (no answer "
    "could be read) or truncated; they count as wrong. ρ = ⟨w − w₀, Δ⟩ / ‖Δ‖², moved = "
    "‖w − w₀‖ / ‖Δ‖, over attention and MLPs: how far toward the reasoner, and how far in all. "
    "last loss: mean of the last tenth of the steps. converged: trainings of which the second half "
    f"brought less than {100 * SETTLED:.0f} % of all that the loss fell. GFLOP and processor "
    "seconds: what it took to make, from what all methods begin with."
)

FINDING = (
    *("claim", "primary", "family", "group", "scores", "readable", "difference", "95 %", "seeds"),
    *("p", "p (Holm)", ""),
)


def finding_line(study: Study, finding: Finding) -> list[str]:
    """One row of the table of differences, under `FINDING`."""
    found = finding.found
    return [
        finding.claim.text,
        "yes" if finding.claim.primary else "no",
        study.title(finding.family),
        finding.claim.group,
        f"{percent(found.score_a)} / {percent(found.score_b)}",
        " / ".join(map(percent, finding.readable)),
        f"{signed(found.difference)} ± {percent(found.stderr)}",
        interval(finding),
        seeds(finding),
        p_value(found.p),
        p_value(finding.p) if finding.claim.primary else "–",
        finding.verdict,
    ]


DIFFERENCES = (
    "scores and readable: of the two sides, the second among answers that could be read alone. "
    "seeds: how many came out as the mean did."
)

TUNING = (
    *("method", "tried", "chosen", "score", "kept", "last loss", "converged", "GFLOP"),
    f"GFLOP to {100 * MOST:.0f} %",
)


def tuning_lines(study: Study) -> dict[str, list[list[str]]]:
    """Title of a family → its rows under `TUNING`, a method each."""
    reach = until_most(study.settings)
    found: dict[str, list[list[str]]] = {}
    for one in (one for one in study.settings if one.chosen):
        own = [s for s in study.settings if (s.family, s.method) == (one.family, one.method)]
        most = reach.get((one.family, one.method))
        found.setdefault(one.title, []).append(
            [
                one.label,
                str(len(own)),
                one.said,
                score(one.score),
                score(one.kept),
                plain(one.loss, 3),
                _of(one.converged),
                giga(one.flops),
                "–" if most is None else f"{most / 1e9:,.0f}",
            ]
        )
    return found
