"""A study over seeds: methods scored by runs of several seeds, and what its claims turn out to be.

The seeds are the sample: a score is the mean over seeds, and a difference is judged over seeds by
the test that fits their questions (`harness.statistics.pairing`). What is asked of the runs are the
study's own claims (`harness.statistics.claims`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.statistics.claims import Asked, Verdict, judge
from harness.statistics.seeds import SeedDifference
from harness.studies.step import Claim, Tuning
from reports import study_tuning
from reports.study_rows import Mean, Scored, Tried, known, over_seeds
from reports.study_tuning import Setting


@dataclass(frozen=True, kw_only=True)
class MethodStudy:
    """A method in one family."""

    name: str
    label: str
    scores: dict[str, Mean]
    """By group."""
    readable: dict[str, Mean]
    """By group, the share of right ones among the answers that could be read."""
    unread: float
    """Share of answers that are unparsed or truncated, over groups and seeds."""
    rho: Mean | None
    """Displacement along Δ, ⟨w − w₀, Δ⟩ / ‖Δ‖²."""
    moved: Mean | None
    """‖w − w₀‖ / ‖Δ‖."""
    loss: Mean | None
    """Mean of the last tenth of the training's steps."""
    converged: tuple[int, int]
    """Of so many seeds how many trainings converged: converged, known."""
    flops: Mean | None
    processor_seconds: Mean | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim, judged in one family."""

    claim: Claim
    family: str
    found: SeedDifference
    p: float
    """Corrected where the claim is primary."""
    verdict: Verdict
    readable: tuple[float, float]
    """Of both methods, the share of right ones among the answers that could be read."""


@dataclass(frozen=True, kw_only=True)
class FamilyStudy:
    """A family over seeds."""

    name: str
    title: str
    seeds: int
    groups: tuple[str, ...]
    methods: tuple[MethodStudy, ...]
    floors: dict[str, float]
    """Group → what always the same answer scores, mean over seeds."""
    sweep: dict[float, dict[str, Mean]]
    """α of a linear merge → group → score."""
    reached: dict[float, float]
    """α of a linear merge → the ρ that it reached, mean over seeds."""

    def method(self, name: str) -> MethodStudy | None:
        """Return the row of this name, if there is one."""
        return next((method for method in self.methods if method.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All seeds of a study."""

    seeds: int
    answers: int
    """To the test questions, of all its methods."""
    families: tuple[FamilyStudy, ...]
    findings: tuple[Finding, ...]
    """In the order of the claims, then of the families."""
    missing: tuple[tuple[Claim, str], ...]
    """Primary claims and families for which there are not the runs of two seeds."""
    floors: Mapping[str, float]
    """Group → score that needs no more than partial knowledge."""
    rows: tuple[Scored, ...]
    """What all of it is made from."""
    trials: tuple[Tried, ...]
    tuning: Tuning | None
    """The rule that chose among them."""
    settings: tuple[Setting, ...]
    """What was tried, means over the trials' seeds."""

    @property
    def declared(self) -> int:
        """Size of the family of tests that the primary claims are."""
        return sum(one.claim.primary for one in self.findings) + len(self.missing)

    def title(self, family: str) -> str:
        """Return the name of a family in tables."""
        return next((one.title for one in self.families if one.name == family), family)


Sweep = tuple[dict[float, dict[str, Mean]], dict[float, float]]


def build(
    rows: Sequence[Scored],
    tests: Mapping[tuple[Claim, str], SeedDifference | None],
    floors: Mapping[str, float],
    *,
    trials: Sequence[Tried] = (),
    tuning: Tuning | None = None,
    sweeps: Mapping[str, Sweep] | None = None,
) -> Study:
    """Make a study from flat rows, and judge its claims.

    Args:
        rows: Of its methods.
        tests: Claim and family → the difference over seeds; None where it could not be made.
        floors: Group → score that needs no more than partial knowledge.
        trials: Of its tuning.
        tuning: The rule that chooses among them.
        sweeps: Family → its linear merges: scores by α and group, and the ρ that each reached.
    """
    families = dict.fromkeys(row.family for row in rows)
    found = tuple(
        _family([row for row in rows if row.family == name], *(sweeps or {}).get(name, ({}, {})))
        for name in families
    )
    floors = {c.group: floors[c.group] for c, _ in tests if c.group in floors}
    by_name = {family.name: family for family in found}
    judged = judge(
        [
            Asked(
                found=one,
                sign=claim.sign,
                primary=claim.primary,
                floor=floors.get(claim.group),
            )
            for (claim, _), one in tests.items()
        ]
    )
    findings, missing = [], []
    for ((claim, family), one), said in zip(tests.items(), judged, strict=True):
        if one and said:
            both = (by_name[family].method(name) for name in (claim.method, claim.against))
            read = tuple(m.readable[claim.group].mean if m else math.nan for m in both)
            findings.append(
                Finding(
                    claim=claim,
                    family=family,
                    found=one,
                    p=said.p,
                    verdict=said.verdict,
                    readable=(read[0], read[1]),
                )
            )
        elif claim.primary:
            missing.append((claim, family))
    return Study(
        seeds=len({row.seed for row in rows}),
        answers=sum(row.answers for row in rows),
        families=found,
        findings=tuple(findings),
        missing=tuple(missing),
        floors=floors,
        rows=tuple(rows),
        trials=tuple(trials),
        tuning=tuning,
        settings=tuple(study_tuning.settings(trials, tuning)) if tuning else (),
    )


# Counting


def _family(
    rows: Sequence[Scored],
    sweep: dict[float, dict[str, Mean]],
    reached: dict[float, float],
) -> FamilyStudy:
    groups = tuple(dict.fromkeys(row.group for row in rows))
    names = dict.fromkeys(row.method for row in rows)
    # Of each seed once, however many methods were counted on it.
    floors = {
        group: known({row.seed: row.floor for row in rows if row.group == group}.values())
        for group in groups
    }
    return FamilyStudy(
        name=rows[0].family,
        title=rows[0].title,
        seeds=len({row.seed for row in rows}),
        groups=groups,
        methods=tuple(_method([row for row in rows if row.method == name]) for name in names),
        floors={group: mean.mean for group, mean in floors.items() if mean},
        sweep=sweep,
        reached=reached,
    )


def _method(rows: Sequence[Scored]) -> MethodStudy:
    groups = {row.group: [one for one in rows if one.group == row.group] for row in rows}
    each = list({row.seed: row for row in rows}.values())
    settled = [row.training.converged for row in each if row.training.converged is not None]
    label = rows[0].label
    shares = [f"{row.alpha:g}" for row in each if row.alpha is not None]
    if len(shares) == len(each) > 1:
        label += f" (α {shares[0] if len(set(shares)) == 1 else ', '.join(shares)})"
    return MethodStudy(
        name=rows[0].method,
        label=label,
        scores={name: over_seeds(row.score for row in own) for name, own in groups.items()},
        readable={name: over_seeds(row.readable for row in own) for name, own in groups.items()},
        unread=sum(r.unparsed + r.truncated for r in rows) / max(1, sum(r.answers for r in rows)),
        rho=known(row.training.rho for row in each),
        moved=known(row.moved for row in each),
        loss=known(row.training.loss for row in each),
        converged=(sum(settled), len(settled)),
        flops=known(row.training.flops for row in each),
        processor_seconds=known(row.training.processor_seconds for row in each),
    )
