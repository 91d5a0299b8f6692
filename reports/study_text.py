"""A study over seeds in sentences made from its numbers: what helps, what not, what is open."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from common.text import listed, percent, probability, signed
from reports.study import Finding, Study
from reports.study_tuning import MOST

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

EXPLORATORY = "Exploratory: p is corrected for nothing, and the words are hints"


# Sentences


def heading(study: Study) -> str:
    """Title of all that is said."""
    return "What the study says" if study.families else "What the tuning says"


def lead(study: Study) -> list[tuple[str, str]]:
    """What helps, what does not, what is undecided, of the primary claims.

    Returns:
        Heads and sentences, the first without a head; nothing where no primary claim was tested.
    """
    primary = [one for one in study.findings if one.claim.primary]
    if not primary:
        return []
    counts = [
        f"{sum(one.verdict == word for one in primary)} came out {said}"
        for word, said in (("supported", "as claimed"), ("contradicted", "the other way"))
    ]
    parts = [("", f"Of {study.declared} declared tests, corrected together, {listed(counts)}.")]
    heads = {
        "helps": "What helps:",
        "supported": "Also as claimed:",
        "contradicted": "Not as claimed but the other way round:",
        "below the floor": "Told apart, but below what guessing from a part reaches:",
        "undecided": "Undecided:",
    }
    for word, head in heads.items():
        own = [one for one in primary if _kind(one) == word]
        if own or word == "helps":
            said = [
                f"{_lower(text)} ({listed([_brief(study, one) for one in found])})"
                for text, found in _by_claim(own)
            ]
            parts.append((head, f"{'; '.join(said) or 'nothing of what was claimed'}."))
    if study.missing:
        places = [f"{_lower(claim.text)} in {study.title(f)}" for claim, f in study.missing]
        parts.append(("Not yet run:", f"{'; '.join(places)}."))
    return parts


def _kind(one: Finding) -> str:
    if one.verdict in ("inside the noise", "cannot be told"):
        return "undecided"
    return "helps" if one.verdict == "supported" and one.claim.sign > 0 else one.verdict


def _by_claim(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    for claim, found in groupby(findings, key=lambda one: one.claim):
        yield claim.text, list(found)


def _lower(text: str) -> str:
    """A claim inside a sentence: `Merging raises …` → `merging raises …`; `DRIFT` stays."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _brief(study: Study, one: Finding) -> str:
    return f"{study.title(one.family)} {signed(one.found.difference)}"


def intro(study: Study) -> str:
    """What was done, in a few sentences."""
    if not study.families:
        seeds = listed([str(seed) for seed in sorted({one.seed for one in study.trials})])
        return (
            f"Tuning: {len(study.trials):,} trials on the seeds {seeds}, by which the settings of "
            "each method are chosen. They compare no methods: that is done on other seeds, two or "
            "more of them, which have not been run."
        )
    names = ", ".join(f"{family.title} ({family.seeds})" for family in study.families)
    text = (
        f"Seeds of {names}; {study.answers:,} answers to test questions. Scores are means over "
        "seeds in percent, ± their standard error over seeds. Differences are paired by question "
        "and judged over seeds: by an exact test of their signs, or by t over questions too where "
        "the seeds were asked alike. Intervals are of t over seeds. "
    )
    if study.declared:
        text += (
            f"The {study.declared} tests of the primary claims were declared before and are "
            f"corrected together (Holm); all other claims are exploratory. "
        )
    if study.floors:
        floors = listed([f"{percent(v)} % on {group}" for group, v in study.floors.items()])
        text += (
            "No difference counts whose better side scores no more than who knows part of an "
            f"answer and guesses the rest ({floors})."
        )
    return text.strip()


def most_asked(study: Study) -> list[str]:
    """The groups, those of which most primary claims are first."""
    counts = Counter(one.claim.group for one in study.findings if one.claim.primary)
    counts = counts or Counter(one.claim.group for one in study.findings)
    every = dict.fromkeys(group for family in study.families for group in family.groups)
    return list(dict.fromkeys((*(group for group, _ in counts.most_common()), *every)))


def together(findings: Sequence[Finding]) -> str:
    """What the families say of one claim: a key of `HEADINGS`."""
    said = {finding.verdict for finding in findings}
    if said == {"supported"}:
        return "supported"
    if "contradicted" in said:
        return "mixed" if "supported" in said else "contradicted"
    if "supported" in said:
        return "in part"
    rest = ("below the floor", "inside the noise")
    return next((word for word in rest if word in said), "cannot be told")


def sentences(study: Study, *, primary: bool) -> dict[str, list[tuple[str, str]]]:
    """Heading → claims under it, each with what the families say.

    Args:
        study: It.
        primary: Those of the declared family of tests; else the exploratory ones.
    """
    found: dict[str, list[tuple[str, str]]] = {key: [] for key in HEADINGS}
    own = [one for one in study.findings if one.claim.primary == primary]
    for text, findings in _by_claim(own):
        said = "; ".join(_said(study, finding) for finding in findings)
        found[together(findings)].append((text, said))
    return {HEADINGS[key]: lines for key, lines in found.items() if lines}


def _said(study: Study, finding: Finding) -> str:
    versus = finding.found
    words = {"supported": "", "contradicted": "the contrary, "}
    said = words.get(finding.verdict, f"{finding.verdict}, ")
    inside = [interval(finding), probability(finding.p)]
    if count := seeds(finding):
        inside.append(f"{count} seeds")
    if _turned(finding):
        a, b = finding.readable
        inside.append(f"among readable answers the other way, {signed(a - b)}")
    return f"{study.title(finding.family)} {said}{signed(versus.difference)} ({', '.join(inside)})"


def _turned(finding: Finding) -> bool:
    """Whether the difference comes from answers that could not be read."""
    a, b = finding.readable
    return (a - b) * finding.found.difference < 0


def interval(finding: Finding) -> str:
    """`+1.0 to +5.2`: 95 %, over seeds."""
    found = finding.found
    if math.isnan(found.low):
        return "every seed alike"
    return f"{signed(found.low)} to {signed(found.high)}"


def seeds(finding: Finding) -> str:
    """`9 of 10`: seeds that came out as their mean did; empty where they are not told apart."""
    own = finding.found.differences
    agree = sum(one * finding.found.difference > 0 for one in own)
    return f"{agree} of {len(own)}" if own else ""


def tuning_intro(study: Study) -> str:
    """By which rule settings were chosen, and on what."""
    rule = study.tuning
    if rule is None or not study.settings:
        return ""
    text = (
        f"Each method was tried on seeds that count for nothing else, and its setting chosen by "
        f"the score on {rule.group} of {rule.task}"
    )
    if rule.keeps:
        text += (
            f" among those that lose no more than {rule.points:g} points of {rule.keeps} (kept); "
            "where none keeps so much, the one that loses least"
        )
    return (
        f"{text}. The last column is the least computation among the settings of a method that "
        f"reach {100 * MOST:.0f} % of the best score of any."
    )
