"""The whole study in miniature, on tiny models of three families trained from scratch.

    driftbench reproduce pocket                               the primary arms, on one seed
    driftbench reproduce pocket --seeds 10 --controls         everything that is counted
    driftbench reproduce pocket --set tune=true               what settings are chosen from
    driftbench reproduce pocket --seeds 6 --set variants=true other worlds and reasoners of a family

Settings come from `pocket_settings.json`, which the tuning wrote (`driftbench tune`), or from
another such file, `--set chosen=FILE`. Tuning has seeds of its own, which count for nothing else.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

from common.errors import UserError
from harness.studies import pocket_steps as steps_of
from harness.studies import tuning
from harness.studies.pocket_arms import ARMS, FAMILIES, HOME, VARIANTS, VARIED, Settings
from harness.studies.pocket_steps import CHOICE, FIRST_CHOICE, VALIDATION, Place
from harness.studies.step import (
    Claim,
    Method,
    MethodRun,
    Sign,
    Step,
    Study,
    Trial,
    Tuning,
    step,
)

SETTINGS = Path(__file__).with_name("pocket_settings.json")
TUNING_SEEDS = (0, 1)
FIRST_SEED = 20
"""Of those that count."""
MOST_SEEDS = 10
STAND_INS = {("llava_next", 24): 30}
"""Model and seed whose reasoner misses its gate at all of its tries → the next seed that has one.

Decided by the gate alone (`drift.pocket.build`), which asks the reasoner in words.
"""
UNTAUGHT = {("llava_next", seed) for seed in (22, 23, 30)}
"""Models and seeds whose reasoner of wrong sums misses that gate so: no arm goes toward it."""
IMAGE, PERCEPTION = "reasoning-image", "perception"
RULE = Tuning(task=VALIDATION, group=IMAGE, keeps=PERCEPTION, points=5.0, against="vlm")
PARTIAL = 0.265
"""What a guess reaches that knows the operators and the last two cards: exact, over all chains."""
FLOORS = {group: PARTIAL for group in ("reasoning-image", "reasoning-both", "reasoning-text")}


def _claim(text: str, method: str, against: str, group: str = IMAGE, sign: Sign = 1) -> Claim:
    return Claim(text=text, method=method, against=against, group=group, sign=sign)


PRIMARY = (
    _claim("Merging raises reasoning over pictures", "merge", "vlm"),
    _claim("DRIFT (grad_norm) reasons better over pictures than SFT", "drift", "sft"),
    _claim("DRIFT as published reasons better over pictures than SFT", "published", "sft"),
    _claim("DRIFT reasons better over pictures than merge, then SFT", "drift", "merge_then_sft"),
    _claim("DRIFT reasons better over pictures than SFT on 16 × its rows", "drift", "sft_x16"),
    _claim("DRIFT costs perception", "drift", "vlm", PERCEPTION, -1),
)
"""Declared before a counting seed was run. One family of tests: each of them in each of `FAMILIES`.
"""
EXPLORATORY = (
    _claim("DRIFT (adaptive) reasons better over pictures than SFT", "adaptive", "sft"),
    _claim("DRIFT reasons better over pictures than a merge", "drift", "merge"),
    _claim("SFT raises reasoning over pictures", "sft", "vlm"),
    _claim("DRIFT raises reasoning over pictures", "drift", "vlm"),
    _claim("DRIFT perceives better than SFT", "drift", "sft", PERCEPTION),
    _claim("Merging costs perception", "merge", "vlm", PERCEPTION, -1),
    _claim("SFT costs perception", "sft", "vlm", PERCEPTION, -1),
    _claim("DRIFT perceives better than merge, then SFT", "drift", "merge_then_sft", PERCEPTION),
    _claim("It is the direction: Δ beats a random one of its norms", "drift", "random"),
    _claim("It is the direction: Δ beats its own entries, shuffled", "drift", "shuffled"),
    _claim("It is the direction: Δ beats −Δ", "drift", "negated"),
    _claim("It is what the reasoner knows: Δ beats one toward the base", "drift", "toward_base"),
    _claim("It is what the reasoner knows: Δ beats one toward wrong sums", "drift", "wrong_sums"),
    _claim("DRIFT along a random Δ differs from SFT", "random", "sft", IMAGE, 0),
    _claim("The published form differs from one pull a step", "published", "adaptive", IMAGE, 0),
    _claim("The adaptive rule differs from grad_norm", "adaptive", "drift", IMAGE, 0),
    _claim("An absolute pull differs from grad_norm", "absolute", "drift", IMAGE, 0),
    _claim("Recomputing Δ at each step differs", "live", "drift", IMAGE, 0),
    _claim("DRIFT beats SFT on 4 × its rows", "drift", "sft_x4"),
    _claim("DRIFT beats SFT on the reasoner's text", "drift", "sft_text"),
    _claim("DRIFT beats SFT on pictures and the reasoner's text", "drift", "sft_mixed"),
    _claim("DRIFT beats SFT, then merge", "drift", "sft_then_merge"),
    _claim("WiSE-FT beats SFT", "wise_ft", "sft"),
    _claim("DRIFT beats L2-SP toward the reasoner", "drift", "l2sp_reasoner"),
    _claim("L2-SP toward the start beats SFT", "l2sp_start", "sft"),
    _claim("DRIFT beats DiGraP toward the reasoner", "drift", "digrap"),
    _claim("DRIFT beats DiGraP of learnt strength", "drift", "digrap_learnt"),
    _claim("SPD toward the start beats SFT", "spd", "sft"),
    _claim("LoRA DRIFT beats LoRA SFT", "lora_drift", "lora_sft"),
    _claim("Starting along Δ beats a random start", "lora_drift", "lora_drift_random"),
    _claim("DRIFT on full weights beats LoRA DRIFT", "drift", "lora_drift"),
    _claim("GRPO raises what SFT reached", "grpo_sft", "sft"),
    _claim("GRPO raises what DRIFT reached", "grpo_drift", "drift"),
    _claim("DRIFT beats SFT, then GRPO", "drift", "grpo_sft"),
    _claim("GRPO reaches more from DRIFT than from SFT", "grpo_drift", "grpo_sft"),
    _claim("GRPO reaches more from merge, then SFT than from DRIFT", "grpo_merge_then_sft",
           "grpo_drift"),
    *(_claim(f"DRIFT beats {ARMS[name].label}", "drift", name)
      for name in ("ties", "dare", "slerp", "layer_swap", "rank1", "ip", "ip_coded")),
)  # fmt: skip
CLAIMS = (
    *(replace(one, primary=True, families=tuple(FAMILIES)) for one in PRIMARY),
    *EXPLORATORY,
)


def study(
    *,
    seeds: int = 1,
    controls: bool = False,
    tune: bool = False,
    variants: bool = False,
    chosen: str = "",
) -> Study:
    """Build the study.

    Args:
        seeds: That count; each makes its own world, models and questions. An arm that no primary
            claim names counts fewer (`Arm.seeds`).
        controls: All arms, not those alone that primary claims name; but none for which no settings
            were chosen.
        tune: Try the settings of all arms on the tuning seeds, and choose, instead of counting.
        variants: Few arms, in one family and its variants, instead of many in three.
        chosen: File of chosen settings, instead of `pocket_settings.json`.
    """
    if variants and controls:
        raise UserError("the variants of the pocket study have no controls; leave --controls out")
    if tune:
        return _tuning_of_variants() if variants else _tuning()
    return _counting(seeds, controls, variants, Path(chosen) if chosen else SETTINGS)


# Tuning


def _tuning() -> Study:
    homes = [Place(family, seed, tuning=True) for seed in TUNING_SEEDS for family in FAMILIES]
    primary = [name for name, arm in ARMS.items() if arm.grid and arm.primary]
    others = [name for name, arm in ARMS.items() if arm.grid and not arm.primary]
    steps: list[Step] = []
    trials: list[Trial] = []
    runs: list[str] = []
    for place in homes:
        if place.family == next(iter(FAMILIES)):
            steps.append(steps_of.world(place))
        steps += steps_of.models(place, (*primary, *others))
        steps += _tried(place, primary, "runs", place.model("vlm"))
        trials += _trials(place, primary, "runs")
        runs.append(f"{place.at}/runs")
    first = ("--methods", ",".join(primary), "--families", ",".join(FAMILIES))
    steps.append(_choose(FIRST_CHOICE, runs, *first))
    for place in homes:
        steps += _tried(place, others, "more_runs")
        trials += steps_of.trials(place, others, "more_runs")
        runs.append(f"{place.at}/more_runs")
    return _chosen_from(steps, trials, runs)


def _tuning_of_variants() -> Study:
    steps: list[Step] = []
    trials: list[Trial] = []
    runs: list[str] = []
    for seed in TUNING_SEEDS:
        steps.append(steps_of.world(Place(HOME, seed, tuning=True)))
        for family in (HOME, *VARIANTS):
            place = Place(family, seed, tuning=True)
            # Home's own settings were chosen with those of the other families.
            names = ["merge"] if family == HOME else [one for one in VARIED if place.owns(one)]
            steps += steps_of.models(place, names)
            asked = [place.model("vlm")] if place.owns("vlm") else []
            steps += _tried(place, names, "runs", *asked)
            trials += _trials(place, names, "runs")
            runs.append(f"{place.at}/runs")
    return _chosen_from(steps, trials, runs)


def _chosen_from(steps: Sequence[Step], trials: Sequence[Trial], runs: Sequence[str]) -> Study:
    tried = dict.fromkeys(trial.method for trial in trials)
    methods = [Method(name=name, label=_label(name), runs=()) for name in tried]
    ends = [_choose(CHOICE, runs), _reported([*runs, CHOICE])]
    return _study([*steps, *ends], methods, trials, ())


def _trials(place: Place, names: Iterable[str], runs: str) -> list[Trial]:
    """The VLM, to compare with, and what was tried of some arms."""
    vlm = f"{place.of('vlm').at}/runs/vlm"
    start = Trial(method="vlm", family=place.family, seed=place.seed, folder=vlm)
    return [start, *steps_of.trials(place, names, runs)]


def _tried(place: Place, names: Iterable[str], runs: str, *more: str) -> list[Step]:
    """All trials of some arms, and their answers; `more` are asked too."""
    steps = [one for name in names for one in steps_of.tried(place, name)]
    folders = [
        steps_of.trial_folder(place, name, number)
        for name in names
        for number, _ in enumerate(ARMS[name].grid)
    ]
    return [*steps, steps_of.answers(place, runs, [*more, *folders])]


def _choose(out: str, runs: Sequence[str], *words: str) -> Step:
    return step(out, "tune", ".", "--out", out, *words, reads=runs, seconds=20)


# Counting


def _counting(seeds: int, controls: bool, variants: bool, chosen: Path) -> Study:
    if seeds > MOST_SEEDS:
        raise UserError(f"{seeds} seeds: the pocket study counts at most {MOST_SEEDS}")
    tuned = tuning.read(chosen)
    if controls:
        _tell_left_out(tuned, chosen)
    steps: list[Step] = []
    runs: dict[str, list[MethodRun]] = {}
    for number in range(seeds):
        families = (HOME, *VARIANTS) if variants else FAMILIES
        places = [Place(family, _seed(family, number)) for family in families]
        steps += [steps_of.world(place) for place in {one.seed: one for one in places}.values()]
        of_places = []
        for place in places:
            names = VARIED if variants else _arms_of(place, number, controls, tuned)
            made = [name for name in names if place.owns(name)]
            of_places.append(_counted(place, made, tuned, chosen))
            for name in ("vlm", "reasoner", *names):
                folder = f"{place.of(name).at}/runs/{_run(name, place, tuned, chosen)}"
                runs.setdefault(name, []).append(MethodRun(place.family, place.seed, folder))
            runs.setdefault("sweep", []).extend(
                MethodRun(place.family, place.seed, f"{place.at}/runs/{merge.rpartition('/')[2]}")
                for merge in steps_of.merges(place)
            )
        # Side by side: while one family waits for its base, another is at work.
        steps += [one for row in zip_longest(*of_places) for one in row if one]
    folders = dict.fromkeys(run.folder.rpartition("/runs/")[0] for run in chain(*runs.values()))
    steps.append(_reported(list(folders)))
    order = ("vlm", "reasoner", "sweep", *ARMS)
    methods = [
        Method(name=name, label=_label(name), runs=tuple(runs[name]), sweep=name == "sweep")
        for name in order
        if name in runs
    ]
    # What was declared is of three families, and is tested in them.
    return _study(steps, methods, (), (*PRIMARY, *EXPLORATORY) if variants else CLAIMS)


def _arms_of(place: Place, number: int, controls: bool, tuned: tuning.Tuned) -> list[str]:
    """Arms of a family on a seed, the first of which has the number 0."""
    return [
        name
        for name, arm in ARMS.items()
        if arm.primary or (controls and number < arm.seeds and _can_count(tuned, name, place))
    ]


def _has_settings(tuned: tuning.Tuned, name: str, family: str) -> bool:
    return family in tuned.methods.get(ARMS[name].like or name, {})


def _can_count(tuned: tuning.Tuned, name: str, place: Place) -> bool:
    taught = ARMS[name].toward != "wrong_reasoner" or (place.family, place.seed) not in UNTAUGHT
    return taught and _has_settings(tuned, name, place.family)


def _tell_left_out(tuned: tuning.Tuned, chosen: Path) -> None:
    left = [
        arm.label
        for name, arm in ARMS.items()
        if not arm.primary and not all(_has_settings(tuned, name, family) for family in FAMILIES)
    ]
    if left:
        print(
            f"driftbench: left out, as {chosen} has no settings chosen for them: {'; '.join(left)}",
            file=sys.stderr,
        )


def _seed(family: str, number: int) -> int:
    """Seed of a family's place in the count."""
    seed = FIRST_SEED + number
    return STAND_INS.get(((FAMILIES | VARIANTS)[family].model, seed), seed)


def _counted(place: Place, names: Sequence[str], tuned: tuning.Tuned, chosen: Path) -> list[Step]:
    steps = steps_of.models(place, names)
    for name in names:
        settings = _settings(name, place, tuned, chosen)
        steps += steps_of.counted(place, name, settings)
    made = [name for name in names if name != "merge"]
    trained = [place.model(name) for name in made if ARMS[name].makes == "train"]
    steps.append(steps_of.distance(place, trained))
    asked = [place.model(name) for name in ("vlm", "reasoner", *made) if place.owns(name)]
    return [*steps, steps_of.answers(place, "runs", [*asked, *steps_of.merges(place)])]


def _settings(name: str, place: Place, tuned: tuning.Tuned, chosen: Path) -> Settings:
    return tuned.of(ARMS[name].like or name, place.family, chosen).settings


def _run(name: str, place: Place, tuned: tuning.Tuned, chosen: Path) -> str:
    """Name of the run folder of an arm or a model."""
    if name != "merge":
        return name
    return steps_of.merged(_settings(name, place, tuned, chosen)["alpha"])


# What both compare


def _study(
    steps: Sequence[Step],
    methods: Sequence[Method],
    trials: Sequence[Trial],
    claims: Sequence[Claim],
) -> Study:
    made = {method.name for method in methods if method.runs}
    return Study(
        name="pocket",
        about="The whole study in miniature, on tiny models of three families trained from scratch",
        steps=tuple(steps),
        forked=True,
        methods=tuple(methods),
        claims=tuple(one for one in claims if {one.method, one.against} <= made),
        baseline="sft" if "sft" in made else "",
        trials=tuple(trials),
        tuning=RULE,
        floors=FLOORS,
        titles={name: family.title for name, family in VARIANTS.items()},
    )


def _reported(reads: Sequence[str]) -> Step:
    return step("report", "report", ".", "--out", "report", reads=reads, seconds=11)


def _label(name: str) -> str:
    known = {"vlm": "VLM", "reasoner": "reasoner (text only)", "sweep": "merges"}
    return known.get(name) or ARMS[name].label
