"""Arms at their own best: tried at the settings of a grid, chosen by the study's rule, counted.

Trials lie in `tuning-<n>/<family>/`, of seeds of training that count for nothing else. What was
chosen is filled into the words of a step when it starts, see `harness.studies.tuning`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.text import share
from harness.studies import parts
from harness.studies.scale import Scale
from harness.studies.step import Step, Trial, step
from harness.studies.tuning import word

SEEDS = (1000, 1001)
"""Of training, on which settings are chosen."""
CHOSEN, CHOSEN_LATER = "tuned.json", "tuned-later.json"
"""Of the arms that start from no other, and of WiSE-FT, which does."""
TUNED, WISE = "tuned", "wise_ft"
"""Merges of VLM and reasoner, and of VLM and the chosen SFT (arXiv 2109.01903)."""
Settings = Mapping[str, int | float | str]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A training with settings of its own."""

    label: str
    recipe: str
    """What stands behind the family in the name of its recipe."""
    grid: tuple[Settings, ...]
    """What is tried, equally many of each arm: fields of the recipe, and under `start` the merge of
    VLM and reasoner that it starts from."""
    like: str = ""
    """Arm whose choice it takes, with the same grid, instead of trials of its own."""
    fixed: tuple[str, ...] = ()
    """Settings that make it this arm."""
    start: str = "vlm"
    """Model of the family that it starts from, where the grid names none."""
    rows: tuple[str, ...] = ()
    """Instead of the study's, which an empty name stands for."""
    cost: Mapping[str, Any]
    """Fields of the step."""


def grid(*names: str, at: Sequence[Sequence[float | str]]) -> tuple[Settings, ...]:
    """The settings of an arm.

    >>> grid("lr", at=[[1e-6], [5e-6]])
    ({'lr': 1e-06}, {'lr': 5e-06})
    """
    return tuple(dict(zip(names, values, strict=True)) for values in at)


def tried(scale: Scale, family: str, arms: Mapping[str, Arm], seconds: float) -> list[Step]:
    """Every arm at every setting, on each seed of tuning, and its answers to the validation.

    Args:
        scale: What stands for the rest.
        family: Whose recipes.
        arms: By name.
        seconds: Of the answers of one checkpoint.
    """
    steps = []
    for seed in SEEDS:
        at, names = f"tuning-{seed}/{family}", []
        for name, arm in _with_trials(arms).items():
            for number, settings in enumerate(arm.grid):
                names.append(f"{name}-{number}")
                steps.append(_trained(scale, f"{at}/{names[-1]}", arm, settings, seed))
        more: dict[str, Any] = {"stage": "tuning", "seconds": 60 + seconds * len(names)}
        asked = (scale.validation, scale.options_validation or scale.options)
        steps.append(parts.answers(scale, f"{at}/answers", names, *asked, **more))
    return steps


def counted(scale: Scale, out: str, arm: Arm, seed: int, tuned_in: str) -> Step:
    """An arm at the settings that were chosen for it in a family."""
    name = arm.like or out.rpartition("/")[2]
    settings = {one: word(CHOSEN, name, tuned_in, one) for one in arm.grid[0]}
    return _trained(scale, out, arm, settings, seed, CHOSEN)


def _trained(
    scale: Scale, out: str, arm: Arm, settings: Settings, seed: int, chosen: str = ""
) -> Step:
    family = out.split("/")[1]
    here, start = f"seed-0/{family}", settings.get("start")
    read = f"{here}/merges" if start else f"{here}/{arm.start}"
    parents = {"vlm": f"{read}/{start}" if start else read}
    reads = [read, *([chosen] if chosen else [])]
    if "drift" in arm.recipe:
        parents["reasoner"] = f"{here}/reasoner"
        reads.append(parents["reasoner"])
    fields = [*scale.sampling] if arm.recipe.endswith("grpo") else []
    fields += [f"{name}={value}" for name, value in settings.items() if name != "start"]
    return parts.trained(
        scale,
        out,
        f"{family}_{arm.recipe}",
        parents,
        (f"seed={seed}", *arm.fixed, *fields),
        [one or scale.rows for one in arm.rows],
        reads,
        stage="at-their-best" if chosen else "tuning",
        **arm.cost,
    )


def trials(family: str, arms: Mapping[str, Arm]) -> list[Trial]:
    """What `tried` makes."""
    return [
        _trial(name, family, seed, f"tuning-{seed}/{family}/runs/{name}-{number}", settings)
        for seed in SEEDS
        for name, arm in _with_trials(arms).items()
        for number, settings in enumerate(arm.grid)
    ]


def _with_trials(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    return {name: arm for name, arm in arms.items() if not arm.like}


def choose(out: str, made: Sequence[Trial]) -> Step:
    """The settings of the methods that were tried, by the study's rule."""
    methods = dict.fromkeys(one.method for one in made if one.method != "vlm")
    words = ("tune", ".", "--out", out, "--methods", ",".join(methods))
    return step(out, *words, reads=[one.folder for one in made], stage="tuning", seconds=10)


def _trial(method: str, family: str, seed: int, folder: str, settings: Settings) -> Trial:
    return Trial(method=method, family=family, seed=seed, folder=folder, settings=settings)


# Merges


def merges_tried(scale: Scale, family: str, alphas: Sequence[float], seconds: float) -> list[Step]:
    """Merges of VLM and reasoner on the validation; α = 0 is the VLM, byte for byte."""
    return [_swept(scale, f"seed-0/{family}/tuning", parts.pair(family), (0.0, *alphas), seconds)]


def merge_trials(family: str, alphas: Sequence[float]) -> list[Trial]:
    """What `merges_tried` makes; no seed of training changes a merge, or the VLM."""
    at = f"seed-0/{family}/tuning/merge"
    vlm = [_trial("vlm", family, seed, f"{at}-0.00", {}) for seed in SEEDS]
    return [
        *vlm,
        *(
            _trial(TUNED, family, seed, f"{at}-{share(alpha)}", {"alpha": alpha})
            for alpha in alphas
            for seed in SEEDS
        ),
    ]


def merge_chosen(scale: Scale, family: str, **more: Any) -> Step:
    """The merge of VLM and reasoner at the share that was chosen."""
    words = ("--alpha", word(CHOSEN, TUNED, family, "alpha"))
    out = f"seed-0/{family}/{TUNED}"
    return parts.merge(scale, out, parts.pair(family), *words, reads=(CHOSEN,), **more)


def wise_tried(
    scale: Scale, family: str, sft: str, count: int, alphas: Sequence[float], seconds: float
) -> list[Step]:
    """Interpolations of the VLM and the chosen SFT of each seed of tuning, on the validation.

    Args:
        scale: What stands for the rest.
        family: Of both.
        sft: Name of the arm.
        count: Of its trials.
        alphas: Shares of SFT.
        seconds: Of a share.
    """
    vlm, steps = parts.pair(family)[0], []
    for seed in SEEDS:
        at = f"tuning-{seed}/{family}"
        chosen = f"{at}/{word(CHOSEN, sft, family, 'trial')}"
        read = (vlm, CHOSEN, *(f"{at}/{sft}-{number}" for number in range(count)))
        steps.append(_swept(scale, f"{at}/{WISE}", (vlm, chosen), alphas, seconds, read))
    return steps


def wise_trials(family: str, alphas: Sequence[float]) -> list[Trial]:
    """What `wise_tried` makes."""
    at = f"{family}/{WISE}/merge"
    return [
        _trial(WISE, family, seed, f"tuning-{seed}/{at}-{share(alpha)}", {"alpha": alpha})
        for seed in SEEDS
        for alpha in alphas
    ]


def wise_counted(scale: Scale, family: str, seed: int, sft: str, **more: Any) -> Step:
    """The interpolation of the VLM and an SFT that counts, at the share that was chosen."""
    pair = (parts.pair(family)[0], f"seed-{seed}/{family}/{sft}")
    words = ("--alpha", word(CHOSEN_LATER, WISE, family, "alpha"))
    out = f"seed-{seed}/{family}/{WISE}"
    return parts.merge(scale, out, pair, *words, reads=(CHOSEN_LATER,), **more)


def _swept(
    scale: Scale,
    name: str,
    both: Sequence[str],
    alphas: Sequence[float],
    seconds: float,
    reads: Sequence[str] = (),
) -> Step:
    more: dict[str, Any] = {"stage": "tuning", "seconds": 60 + seconds * len(alphas)}
    own = replace(scale, options=scale.options_validation or scale.options)
    return parts.swept(own, name, both, alphas, scale.validation, reads=reads, **more)
