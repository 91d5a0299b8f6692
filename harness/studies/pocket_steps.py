"""The steps of the pocket study: those of one family on one seed, tuning or counting.

Everything lies in `seed-<n>/<family>/`, of a tuning seed in `tuning-<n>/<family>/`. Seconds were
measured on two CPU cores, with two steps side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from common.text import share
from harness.studies.pocket_arms import (
    ALPHAS,
    ARMS,
    FAMILIES,
    VARIANTS,
    Arm,
    Family,
    Settings,
)
from harness.studies.step import Step, Trial, step
from harness.studies.tuning import word

TEST, VALIDATION, TEXT = "pocket", "pocket_validation", "pocket_text"
FIRST_CHOICE, CHOICE = "tuned-first.json", "tuned.json"
"""Settings chosen on the tuning seeds: of the primary arms, from which others start, and of all."""


class Place(NamedTuple):
    """A family and a seed."""

    family: str
    seed: int
    tuning: bool = False

    @property
    def about(self) -> Family:
        """The family."""
        return (FAMILIES | VARIANTS)[self.family]

    @property
    def at(self) -> str:
        """Folder of all that is made."""
        return f"{self._top}/{self.family}"

    @property
    def world(self) -> str:
        """Folder of the questions, which the families of a seed share."""
        return f"{self._top}/world"

    @property
    def _top(self) -> str:
        return f"{'tuning' if self.tuning else 'seed'}-{self.seed}"

    def owns(self, name: str) -> bool:
        """Whether a model or an arm is made here; a variant takes the others from its home."""
        if self.family in FAMILIES:
            return True
        if self.about.share is None:
            return name not in ("base", "vlm", "sft")
        return name not in ("base", "reasoner")

    def of(self, name: str) -> "Place":
        """Where a model or an arm is made: here, or at home."""
        return self if self.owns(name) else self._replace(family=self.about.model)

    def model(self, name: str) -> str:
        """Where a model lies, or an arm's checkpoint."""
        return f"{self.of(name).at}/{name}"


class Made(NamedTuple):
    """Where a checkpoint of an arm lies or will lie."""

    folder: str
    """Relative to the study's; may hold a choice, see `harness.studies.tuning`."""
    reads: tuple[str, ...]
    """What decides its content."""


def world(place: Place) -> Step:
    """The questions of a seed."""
    words = ["pocket", "world", "--out", place.world, "--seed", str(place.seed)]
    if place.tuning:  # where validation is all that is asked
        words += ["--validation", "200", "--test", "1"]
    return step(place.world, *words, seconds=4)


def models(place: Place, arms: Iterable[str]) -> list[Step]:
    """Base, VLM, reasoners, linear merges; the reasoner's own answers where an arm learns them."""
    about, steps = place.about, []
    school = ("--distance", about.distance, "--rope", about.rope)
    wanted = [ARMS[name] for name in arms]
    if place.family in FAMILIES:
        steps.append(_grown(place, "base", "base", seconds=60))
    if place.owns("vlm"):
        share = () if about.share is None else ("--share", f"{about.share:g}")
        steps.append(_grown(place, "vlm", "vlm", *share, seconds=60))
    if place.owns("reasoner"):
        steps.append(_grown(place, "reasoner", "reasoner", *school, seconds=65))
    if any(arm.toward == "wrong_reasoner" for arm in wanted):
        wrong = (*school, "--sums", "wrong")
        steps.append(_grown(place, "wrong_reasoner", "reasoner", *wrong, seconds=65))
    parents, merges = (place.model("vlm"), place.model("reasoner")), f"{place.at}/merges"
    shares = ",".join(f"{alpha:g}" for alpha in ALPHAS)
    words = ("merge", *parents, "--alphas", shares, "--out-dir", merges)
    steps.append(step(merges, *words, reads=parents, seconds=4, disk_gib=0.1))
    if any("said" in arm.rows for arm in wanted):
        steps += _said(place)
    return steps


def counted(place: Place, name: str, settings: Settings) -> list[Step]:
    """An arm at settings that were chosen before."""
    if name == "merge":
        return []
    return [_made(place, ARMS[name], place.model(name), settings, place.model)]


def tried(place: Place, name: str) -> list[Step]:
    """An arm at each setting of its grid."""
    if name == "merge":
        return []

    def start(other: str) -> Made:
        """What the rule chose among the trials of another arm, on this seed."""
        every = tuple(trial_folder(place, other, i) for i, _ in enumerate(ARMS[other].grid))
        return Made(
            f"{place.at}/{word(FIRST_CHOICE, other, place.family, 'trial')}",
            (FIRST_CHOICE, *every),
        )

    return [
        _made(place, ARMS[name], trial_folder(place, name, i), settings, start)
        for i, settings in enumerate(ARMS[name].grid)
    ]


def trial_folder(place: Place, name: str, number: int) -> str:
    """Where the checkpoint of a trial lies."""
    if name == "merge":
        return f"{place.at}/merges/{merged(ARMS[name].grid[number]['alpha'])}"
    return f"{place.at}/{name}-{number}"


def trials(place: Place, names: Iterable[str], runs: str) -> list[Trial]:
    """What was tried of some arms, and answered in the folder `runs`."""
    found = []
    for name in names:
        for number, settings in enumerate(ARMS[name].grid):
            run = trial_folder(place, name, number).rpartition("/")[2]
            found.append(
                Trial(
                    method=name,
                    family=place.family,
                    seed=place.seed,
                    folder=f"{place.at}/{runs}/{run}",
                    settings=settings,
                )
            )
    return found


def answers(place: Place, runs: str, checkpoints: Sequence[str]) -> Step:
    """Checkpoints answer the questions of a seed."""
    task, out = VALIDATION if place.tuning else TEST, f"{place.at}/{runs}"
    words = [*checkpoints, "--tasks", task, "--data", place.world, "--out", out, "--overwrite"]
    return step(
        f"{place.at}/{runs.replace('runs', 'answers')}",
        "eval",
        *words,
        reads=(place.world, *dict.fromkeys(_read(one) for one in checkpoints)),
        writes=(out,),
        gpu="one",
        resumes=True,
        disk_gib=0.1,
        seconds=15 + 4.0 * len(checkpoints),
    )


def merges(place: Place) -> list[str]:
    """The linear merges, one checkpoint each."""
    return [f"{place.at}/merges/{merged(alpha)}" for alpha in ALPHAS]


def merged(alpha: float | str) -> str:
    """Name of a linear merge."""
    return f"merge-{share(float(alpha))}"


def distance(place: Place, checkpoints: Sequence[str]) -> Step:
    """How far trained checkpoints went toward the reasoner."""
    vlm, llm, out = place.model("vlm"), place.model("reasoner"), f"{place.at}/distance"
    words = ["distance", vlm, llm, "--out", f"{out}.json", "--plot", f"{out}.png"]
    words += [f"--of={one}" for one in checkpoints]
    return step(
        out,
        *words,
        reads=(vlm, llm, *checkpoints),
        writes=(f"{out}.json", f"{out}.png"),
        seconds=4 + 0.3 * len(checkpoints),
    )


# One model


def _grown(place: Place, name: str, kind: str, *words: str, seconds: float) -> Step:
    """A model trained from scratch, or from the family's base."""
    base = () if kind == "base" else (place.model("base"),)
    out = place.model(name)
    run = (kind, place.about.model, *base, "--out", out, *words, "--seed", str(place.seed))
    return step(out, "pocket", *run, reads=base, seconds=seconds)


def _said(place: Place) -> list[Step]:
    """The reasoner's own right answers to questions in words, as rows to learn from."""
    reasoner, run, rows = place.model("reasoner"), f"{place.at}/said", f"{place.at}/said.jsonl"
    ask = (reasoner, "--tasks", TEXT, "--data", place.world, "--out", run, "--overwrite")
    return [
        step(run, "eval", *ask, reads=(reasoner, place.world), resumes=True, gpu="one", seconds=20),
        step(
            rows,
            *("rows", run, "--out", rows, "--inline"),
            reads=(run,),
            writes=(rows, f"{place.at}/said.made.json"),
            seconds=3,
        ),
    ]


def _made(place: Place, arm: Arm, out: str, settings: Settings, where) -> Step:
    """An arm's checkpoint at some settings; `where` tells where another arm's lies."""
    made = {one: Made(path, (path,)) for one in ("vlm", "base") for path in [place.model(one)]}
    for one in (arm.start, arm.toward):
        if one in ARMS and one != "merge":
            found = where(one)
            made[one] = found if isinstance(found, Made) else Made(found, (found,))
        elif one and one != "merge":
            made[one] = Made(place.model(one), (place.model(one),))
    settings = dict(settings)
    if arm.makes == "merge":
        return _merge(place, arm, out, settings, made)
    if arm.start == "merge":
        folder = f"{place.at}/merges"
        made["merge"] = Made(f"{folder}/{merged(settings.pop('merge'))}", (folder,))
    return _trained(place, arm, out, settings, made)


def _merge(place: Place, arm: Arm, out: str, settings: Settings, made: Mapping[str, Made]) -> Step:
    start, other = made[arm.start], made[arm.toward]
    words = ["merge", start.folder, other.folder, "--method", arm.recipe]
    reads = (*start.reads, *other.reads)
    if arm.recipe not in ("linear", "slerp", "layer_swap"):
        words += ["--base", made["base"].folder]
        reads += made["base"].reads
    words += [word for name, value in settings.items() for word in (f"--{name}", f"{value}")]
    return step(out, *words, "--out", out, reads=reads, seconds=5)


def _trained(
    place: Place, arm: Arm, out: str, settings: Settings, made: Mapping[str, Made]
) -> Step:
    settings = {**arm.fixed, **settings}
    pictures = int(settings.pop("pictures", 1))
    rows = [
        f"{place.at}/said.jsonl" if name == "said" else f"{place.world}/{name}"
        for name in arm.rows
        for _ in range(pictures if name != "said" else 1)
    ]
    parents = [made[arm.start], *([made[arm.toward]] if arm.toward else [])]
    given = {"vlm": parents[0].folder, "data": f"[{','.join(rows)}]" if rows[1:] else rows[0]}
    if arm.toward:
        given["reasoner"] = parents[1].folder
    given |= {"seed": str(place.seed), **{name: f"{value}" for name, value in settings.items()}}
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    read = [*(path for one in parents for path in one.reads), place.world]
    read += [path for path in rows if path.startswith(place.at)]
    return step(out, "train", arm.recipe, *words, "--out", out, reads=read, seconds=16)


def _read(checkpoint: str) -> str:
    """What a step writes that holds a checkpoint: linear merges are written together."""
    folder, _, name = checkpoint.rpartition("/")
    return folder if folder.endswith("/merges") else checkpoint
