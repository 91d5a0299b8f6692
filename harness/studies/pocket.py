"""The whole study in miniature, on tiny models of three families trained from scratch.

    driftbench reproduce pocket
    driftbench reproduce pocket --seeds 5 --controls

Everything of a family lies in `seed-<n>/<family>/`. Seconds were measured on two CPU cores.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from harness.studies.step import Claim, Method, MethodRun, Sign, Step, Study, step

FAMILIES = {"qwen2_5_vl": "far", "llava_next": "close", "idefics3": "close"}
"""Family → where its reasoner lies, seen from the base that it shares with the VLM."""
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)
MERGES = tuple(f"merge-{alpha:.2f}" for alpha in ALPHAS)
TEST, VALIDATION = "pocket", "pocket_validation"
IMAGE, PERCEPTION, TEXT = "reasoning-image", "perception", "reasoning-text"

LABELS = {
    "vlm": "VLM",
    "reasoner": "reasoner (text only)",
    "best_merge": "best merge",
    "sft": "SFT",
    "drift": "DRIFT",
    "merge_then_sft": "merge, then SFT, as far as DRIFT",
    "sft_then_merge": "SFT, then merge, as far as DRIFT",
    "random": "DRIFT, random Δ",
    "negated": "DRIFT, −Δ",
    "adaptive": "DRIFT, adaptive",
    "half": "DRIFT, α = 0.5",
    "quarter": "DRIFT, α = 0.25",
    "attention": "DRIFT, attention only",
    "mlp": "DRIFT, MLP only",
    "live": "DRIFT, Δ recomputed",
    "fast_sft": "SFT, 5 × step size",
    "far_reasoner": "far reasoner (text only)",
    "far_drift": "far reasoner: DRIFT",
    "far_merge_then_sft": "far reasoner: merge, then SFT",
    "double_sft": "SFT, 2 × step size",
    "double_drift": "DRIFT, 2 × step size",
    "double_merge_then_sft": "merge, then SFT, 2 × step size",
}
"""Method → its row, in the order of the tables. `best_merge` is the merge that did best on the
validation questions of its seed; every other method is the checkpoint of its name."""


def _claim(text: str, method: str, against: str, group: str = IMAGE, sign: Sign = 1) -> Claim:
    return Claim(text=text, method=method, against=against, group=group, sign=sign)


CLAIMS = (
    _claim("Merging raises reasoning over pictures", "best_merge", "vlm"),
    _claim("Merging raises reasoning in text", "best_merge", "vlm", TEXT),
    _claim("Merging costs perception", "best_merge", "vlm", PERCEPTION, -1),
    _claim("SFT raises reasoning over pictures", "sft", "vlm"),
    _claim("DRIFT reasons better over pictures than SFT", "drift", "sft"),
    _claim("DRIFT reasons better in text than SFT", "drift", "sft", TEXT),
    _claim("DRIFT reasons better in text than the VLM did", "drift", "vlm", TEXT),
    _claim("DRIFT costs perception", "drift", "vlm", PERCEPTION, -1),
    _claim("DRIFT reasons better over pictures than the best merge", "drift", "best_merge"),
    _claim("It is the direction: Δ beats a random one of its norms", "drift", "random"),
    _claim("A random direction changes what SFT reaches", "random", "sft", sign=0),
    _claim("The opposite direction harms perception", "negated", "sft", PERCEPTION, -1),
    _claim("DRIFT reasons better than merging as far, then SFT", "drift", "merge_then_sft"),
    _claim(
        "DRIFT perceives better than merging as far, then SFT",
        "drift",
        "merge_then_sft",
        PERCEPTION,
    ),
    _claim("DRIFT reasons better than SFT, then merging as far", "drift", "sft_then_merge"),
    _claim("The adaptive rule beats a constant half of α", "adaptive", "half"),
    _claim("All projections beat attention alone", "drift", "attention"),
    _claim("All projections beat the MLPs alone", "drift", "mlp"),
    _claim("Recomputing Δ at each step changes the result", "live", "drift", sign=0),
    _claim("Recomputing Δ at each step keeps more perception", "live", "drift", PERCEPTION),
    _claim("DRIFT beats SFT at five times the step size", "drift", "fast_sft"),
    _claim("Far reasoner: DRIFT reasons better than SFT", "far_drift", "sft"),
    _claim(
        "Far reasoner: DRIFT reasons better than merging as far, then SFT",
        "far_drift",
        "far_merge_then_sft",
    ),
    _claim("At twice the step size: DRIFT reasons better than SFT", "double_drift", "double_sft"),
    _claim(
        "At twice the step size: DRIFT reasons better than merging as far, then SFT",
        "double_drift",
        "double_merge_then_sft",
    ),
)
"""Those whose methods are both made are judged."""


CONTROLS = ("random", "negated", "adaptive", "half", "sft_then_merge", "merge_then_sft")
"""Of every family, as are SFT and DRIFT."""
SETTINGS = ("attention", "mlp", "quarter", "live", "fast_sft")
"""Of LLaVA-NeXT: what is pulled, how strongly, toward what; SFT at a step size of its own."""
FAR = ("far_drift", "far_merge_then_sft")
"""Of LLaVA-NeXT: toward a reasoner that lies far, from the same base and for the same VLM."""
DOUBLED = ("double_sft", "double_drift", "double_merge_then_sft")
"""Of Qwen2.5-VL, where the reasoner lies far: twice the step size."""


def study(*, seeds: int = 1, controls: bool = False) -> Study:
    """Build the study.

    Args:
        seeds: Each makes its own world, models and questions.
        controls: Also what tells the prior's direction from its size, the pull from a merge of the
            same reach, and the recipe's settings from others.
    """
    steps = []
    places = [_Place(family, seed) for seed in range(seeds) for family in FAMILIES]
    for seed in range(seeds):
        world = f"seed-{seed}/world"
        words = ("pocket", "world", "--out", world, "--seed", str(seed))
        steps.append(step(world, *words, seconds=2))
        of_families = [_family(place, controls) for place in places if place.seed == seed]
        # Side by side: while one family waits for its base, another is at work.
        steps += [one for row in zip_longest(*of_families) for one in row if one]
    folders = [place.at for place in places]
    steps.append(step("report", "report", ".", "--out", "report", reads=folders, seconds=11))
    methods = _methods(places, controls)
    made = {method.name for method in methods}
    return Study(
        name="pocket",
        about="The whole study in miniature, on tiny models of three families trained from scratch",
        steps=tuple(steps),
        methods=methods,
        claims=tuple(claim for claim in CLAIMS if {claim.method, claim.against} <= made),
        baseline="sft",
    )


class _Place(NamedTuple):
    """A family and a seed."""

    family: str
    seed: int

    @property
    def at(self) -> str:
        """Folder of all that is made."""
        return f"seed-{self.seed}/{self.family}"

    @property
    def world(self) -> str:
        """Folder of the questions, which the families of a seed share."""
        return f"seed-{self.seed}/world"

    def asked(self, controls: bool) -> dict[str, tuple[str, ...]]:
        """Folder of runs → the checkpoints, by name, that answer there."""
        trained = ("sft", "drift", *(CONTROLS if controls else ()))
        found = {"runs": ("vlm", "reasoner", *trained)}
        if controls and self.family == "llava_next":
            found["settings_runs"] = ("far_reasoner", *FAR, *SETTINGS)
        if controls and self.family == "qwen2_5_vl":
            found["settings_runs"] = DOUBLED
        return found


def _methods(places: Sequence[_Place], controls: bool) -> tuple[Method, ...]:
    runs: dict[str, list[MethodRun]] = {name: [] for name in LABELS}
    for place in places:
        for folder, names in place.asked(controls).items():
            for name in names:
                run = MethodRun(place.family, place.seed, f"{place.at}/{folder}/{name}")
                runs[name].append(run)
        runs["best_merge"] += [
            MethodRun(place.family, place.seed, f"{place.at}/runs/{name}") for name in MERGES
        ]
    return tuple(
        Method(
            name=name,
            label=LABELS[name],
            runs=tuple(found),
            chosen_on=VALIDATION if name == "best_merge" else "",
        )
        for name, found in runs.items()
        if found
    )


# The steps of a family


def _family(place: _Place, controls: bool) -> list[Step]:
    at, far = place.at, FAMILIES[place.family]
    alphas = ",".join(f"{alpha:g}" for alpha in ALPHAS)
    parents = (f"{at}/vlm", f"{at}/reasoner")
    steps = [
        _grown(place, "base", seconds=60),
        _grown(place, "vlm", seconds=54),
        _grown(place, "reasoner", "--distance", far, seconds=62),
        step(
            f"{at}/merges",
            *("merge", *parents, "--alphas", alphas, "--out-dir", f"{at}/merges"),
            reads=parents,
            seconds=3,
            disk_gib=0.1,
        ),
        _sft(place, "sft"),
        _drift(place, "drift"),
    ]
    if controls:
        steps += [
            # A prior of the same norms in a random direction, and the opposite one; the paper's
            # rule, and a constant of the size that it has when the gradient and the prior are
            # orthogonal.
            _drift(place, "random", "prior=random"),
            _drift(place, "negated", "prior=negated"),
            _drift(place, "adaptive", "mode=adaptive"),
            _drift(place, "half", "alpha=0.5"),
            # As far toward the reasoner as DRIFT, by merging after or before the same SFT.
            _merge_as_far(place, "sft_then_merge", drift="drift", sft="sft", after=True),
            _merge_as_far(place, "merged", drift="drift", sft="sft"),
            _sft(place, "merge_then_sft", vlm="merged"),
        ]
    if controls and place.family == "llava_next":
        steps += _other_settings(place)
    if controls and place.family == "qwen2_5_vl":
        steps += _doubled(place)
    asked = place.asked(controls)
    steps.append(_distance(place, "distance", asked["runs"][2:], plot=True))
    steps += [_answers(place, folder, names) for folder, names in asked.items()]
    return steps


def _other_settings(place: _Place) -> list[Step]:
    far = "far_reasoner"
    return [
        _drift(place, "attention", "modules=[attention]"),
        _drift(place, "mlp", "modules=[mlp]"),
        _drift(place, "quarter", "alpha=0.25"),
        _drift(place, "live", "live=true"),
        _sft(place, "fast_sft", "lr=1.0e-3"),
        _grown(place, "reasoner", "--distance", "far", name=far, seconds=62),
        _drift(place, "far_drift", toward=far),
        _merge_as_far(place, "far_merged", drift="far_drift", sft="sft", toward=far),
        _sft(place, "far_merge_then_sft", vlm="far_merged"),
        _distance(place, "far_distance", FAR, toward=far),
        _distance(place, "settings_distance", SETTINGS),
    ]


def _doubled(place: _Place) -> list[Step]:
    return [
        _sft(place, "double_sft", "lr=4.0e-4"),
        _drift(place, "double_drift", "lr=4.0e-4"),
        _merge_as_far(place, "double_merged", drift="double_drift", sft="double_sft"),
        _sft(place, "double_merge_then_sft", "lr=4.0e-4", vlm="double_merged"),
        _distance(place, "settings_distance", DOUBLED),
    ]


def _grown(place: _Place, kind: str, *words: str, name: str = "", seconds: float) -> Step:
    """A model trained from scratch, or from the family's base."""
    base = () if kind == "base" else (f"{place.at}/base",)
    out = f"{place.at}/{name or kind}"
    run = (kind, place.family, *base, "--out", out, *words, "--seed", str(place.seed))
    return step(out, "pocket", *run, reads=base, seconds=seconds)


def _sft(place: _Place, name: str, *settings: str, vlm: str = "vlm") -> Step:
    return _trained(place, name, {"vlm": vlm}, settings)


def _drift(place: _Place, name: str, *settings: str, toward: str = "reasoner") -> Step:
    return _trained(place, name, {"vlm": "vlm", "reasoner": toward}, settings)


def _trained(place: _Place, name: str, parents: Mapping[str, str], settings: Sequence[str]) -> Step:
    recipe = "pocket_drift" if "reasoner" in parents else "pocket_sft"
    models = {role: f"{place.at}/{parent}" for role, parent in parents.items()}
    given = [f"{role}={model}" for role, model in models.items()]
    given += [f"data={place.world}/train.jsonl", f"seed={place.seed}", *settings]
    sets = [word for one in given for word in ("--set", one)]
    out, reads = f"{place.at}/{name}", (*models.values(), place.world)
    return step(out, "train", recipe, *sets, "--out", out, reads=reads, seconds=27)


def _merge_as_far(
    place: _Place,
    name: str,
    *,
    drift: str,
    sft: str,
    toward: str = "reasoner",
    after: bool = False,
) -> Step:
    """A merge that goes as far along Δ as a DRIFT run: after an SFT, or so that it does before."""
    vlm, llm, sft, drift, out = (f"{place.at}/{one}" for one in ("vlm", toward, sft, drift, name))
    run = ["merge", sft if after else vlm, llm, "--base", vlm, "--rho-of", drift]
    run += [*(() if after else ("--before", sft)), "--out", out]
    return step(out, *run, reads=(vlm, llm, sft, drift), seconds=5)


def _distance(
    place: _Place, name: str, of: Sequence[str], *, toward: str = "reasoner", plot: bool = False
) -> Step:
    vlm, llm, out = (f"{place.at}/{one}" for one in ("vlm", toward, name))
    drawn = ("--plot", f"{out}.png") if plot else ()
    models = [f"{place.at}/{one}" for one in of]
    run = ("distance", vlm, llm, "--out", f"{out}.json", *drawn, *(f"--of={one}" for one in models))
    writes = (f"{out}.json", *drawn[1:])
    return step(out, *run, reads=(vlm, llm, *models), writes=writes, seconds=4)


def _answers(place: _Place, folder: str, names: Sequence[str]) -> Step:
    models = [f"{place.at}/{name}" for name in names]
    merges = [f"{place.at}/merges/{name}" for name in MERGES if folder == "runs"]
    reads = (place.world, *models, *([f"{place.at}/merges"] if merges else ()))
    out = f"{place.at}/{folder}"
    run = [*models, *merges, "--tasks", f"{TEST},{VALIDATION}", "--data", place.world]
    more = {"gpu": "one", "resumes": True, "disk_gib": 0.1, "writes": (out,)}
    seconds = 9.0 * (len(models) + len(merges))
    name = f"{place.at}/{folder.replace('runs', 'answers')}"
    run += ["--out", out, "--overwrite"]
    return step(name, "eval", *run, reads=reads, seconds=seconds, **more)
