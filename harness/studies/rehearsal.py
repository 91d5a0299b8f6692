"""A dress rehearsal: what would stop a study on its first day is told before it is begun.

Each step is held against the real configurations, names and shapes of its models, and against the
machine: nothing is trained, asked or written.

    driftbench rehearse paper --gpus 8
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from common import hub
from common.errors import UserError
from common.text import gib
from drift.families import DECODER_ROLES
from drift.pairing import Pairing, is_same_family, pair, pair_vlms, refuse_unpaired
from harness.studies import rehearsed_answers, rehearsed_training, tuning
from harness.studies.display import clock
from harness.studies.process import filled
from harness.studies.rehearsed_models import Model, Models, parsed, recipe
from harness.studies.step import Step, Study


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the study would run on."""

    gpus: int
    memory: int
    """Bytes of each."""
    known: str
    """How that is known."""
    here: int = 0
    """GPUs that are visible."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of a step."""

    step: str
    fits: bool | None
    """None: it could not be tried."""
    why: str


def rehearse(study: Study, steps: Sequence[Step], out: Path, machine: Machine) -> list[Finding]:
    """Hold steps of a study against their models and a machine.

    Args:
        study: The whole.
        steps: Those that are looked at.
        out: Its folder; what is there counts as done.
        machine: Where it would run.
    """
    wanted = {step.name for step in steps}
    with TemporaryDirectory(prefix="driftbench-rehearsal-") as scratch:
        suppose(study, Path(scratch))
        ready = [
            replace(one, run=tuple(filled(one, study, machine.gpus, Path(scratch))))
            for one in study.steps
        ]
        looking = _Rehearsal(Models(ready, out, Path(scratch)), machine)
        findings = [looking.of(step) for step in ready if step.name in wanted]
        return [*findings, *_disks(looking, steps, out), _gpus(steps, machine)]


def suppose(study: Study, folder: Path) -> None:
    """Write what the study will choose, as if the first setting that it tries were the best."""
    methods: dict[str, dict[str, tuning.Chosen]] = {}
    for trial in reversed(study.trials):
        methods.setdefault(trial.method, {})[trial.family] = tuning.Chosen(
            settings=trial.settings, trial=Path(trial.folder).name, score=0.0, seeds=1, trials=1
        )
    for one in study.steps:
        if one.run[0] == "tune" and study.tuning:
            found = tuning.Tuned(rule=study.tuning, methods=methods)
            tuning.write(folder / parsed(one.run).one("--out"), found)


class _Rehearsal:
    def __init__(self, models: Models, machine: Machine) -> None:
        self.models, self.machine = models, machine
        self.to_fetch = 0
        """Bytes."""

    def of(self, step: Step) -> Finding:
        look = self._looks.get(step.run[0])
        if look is None:
            return Finding(step=step.name, fits=True, why="reads what other steps write")
        try:
            return Finding(step=step.name, fits=True, why=look(step))
        except hub.OutOfReach as error:
            return Finding(step=step.name, fits=None, why=str(error))
        except UserError as error:
            return Finding(step=step.name, fits=False, why=str(error))

    @cached_property
    def _looks(self) -> dict[str, Callable[[Step], str]]:
        return {
            "fetch": self._fetched,
            "families": self._checked,
            "distance": self._checked,
            "merge": self._merged,
            "sweep": self._swept,
            "train": self._trained,
            "eval": self._asked,
        }

    # A look at a step of each kind: why it fits, or an error that says why it does not.

    def _fetched(self, step: Step) -> str:
        place = step.run[1]
        kind: hub.Kind = "dataset" if "--data" in step.run else "model"
        if Path(place).expanduser().exists():
            return "it is here"
        source = f", {self.models.at(place).source}" if kind == "model" else ""
        try:
            told = self.models.told(place, kind)
            if place in self.models.refused:
                raise self.models.refused[place]
        except hub.OutOfReach:
            if hub.cached(place.partition("@")[0], kind, place.partition("@")[2] or None):
                return "in the hub's cache"
            self.to_fetch += round(step.download_gib * 2**30)
            about = f"about {step.download_gib:.1f} GiB"
            raise hub.OutOfReach(f"the hub is out of reach: {about}{source}") from None
        missing = hub.missing_bytes(told, kind)
        self.to_fetch += missing
        return f"{gib(missing)} to fetch of commit {told.sha[:8]}{source}"

    def _checked(self, step: Step) -> str:
        words = parsed(step.run)
        places = (*words.options.get("--check", ()), *words.places)
        vlm, llm = map(self.models.at, places[:2])
        return self._pair(vlm, llm)[1] + _warned(vlm, llm)

    def _merged(self, step: Step) -> str:
        words = parsed(step.run)
        pairing, why = self._pair(*map(self.models.at, words.places[:2]))
        if (base := words.one("--base")) and not words.one("--rho-of"):
            self._base(base, pairing)
            why += ", the base too"
        layers = {weight.layer for weight in pairing.weights}
        for layer in words.one("--layers").split(","):
            if layer and int(layer) not in layers:
                raise UserError(f"--layers names {layer}, and there are {len(layers) - 1}")
        return why

    def _swept(self, step: Step) -> str:
        return f"{self._merged(step)}; {self._asked(step, most=1)}"

    def _asked(self, step: Step, most: int | None = None) -> str:
        words = parsed(step.run)
        places = words.places[:most]
        return rehearsed_answers.look(self.models, words, places, self.machine.memory)

    def _trained(self, step: Step) -> str:
        from drift.delta import VARIANTS

        config = recipe(step)
        vlm, said = self.models.at(config.vlm), ""
        if config.prior in VARIANTS:
            pairing, why = self._pair(vlm, self.models.at(str(config.reasoner)))
            refuse_unpaired(pairing, config.modules)
            if config.base:
                self._base(config.base, pairing)
            said = f"{why}; "
        live, ranks = self.models.live(vlm), self.machine.gpus if step.gpu == "ranks" else 1
        return said + rehearsed_training.look(live, config, ranks, self.machine.memory)

    # What these have in common

    def _pair(self, vlm: Model, llm: Model) -> tuple[Pairing, str]:
        with vlm.named(), llm.named():
            alike = is_same_family(vlm.folder, llm.folder)
            pairing = (pair_vlms if alike else pair)(vlm.folder, llm.folder)
        return pairing, f"{len(pairing.weights)} tensors pair"

    def _base(self, path: str, pairing: Pairing) -> None:
        from drift.delta import open_base

        base = self.models.at(path)
        with base.named():
            open_base(base.folder, [one for one in pairing.weights if one.role in DECODER_ROLES])


def _warned(vlm: Model, llm: Model) -> str:
    from drift import compatibility

    lines = compatibility.warnings(vlm.folder, llm.folder)
    told = [line.partition(":")[0] for line in lines if str(vlm.folder) not in line]
    return f" ({'; '.join(told)})" if told else ""


def _disks(looking: _Rehearsal, steps: Sequence[Step], out: Path) -> list[Finding]:
    """Hold downloads and what steps write against the disks where they will lie."""
    from huggingface_hub.constants import HF_HUB_CACHE

    written = sum(round(2**30 * step.disk_gib) for step in steps)
    rows = sum(round(2**30 * step.download_gib) for step in steps if step.run[0] != "fetch")
    wanted = [("downloads", Path(HF_HUB_CACHE), looking.to_fetch + rows), ("results", out, written)]
    findings = []
    for name, place, size in wanted:
        together = sum(more for _, other, more in wanted if _disk(other) == _disk(place))
        free, why = hub.free_bytes(place), gib(size)
        if together > free:
            beside = f", {gib(together)} with all that lies on its disk" if together > size else ""
            why += f" in {place}{beside}, which has {gib(free)} free"
        findings.append(Finding(step=name, fits=together <= free, why=why))
    return findings


def _gpus(steps: Sequence[Step], machine: Machine) -> Finding:
    seconds = sum(step.seconds for step in steps if step.gpu)
    why = f"{machine.gpus} of {gib(machine.memory)}, {machine.known}"
    if machine.here and machine.here < machine.gpus:
        why = f"{machine.gpus} are wanted, {machine.here} are visible: lower --gpus"
    why += f"; {seconds / 3600:.1f} GPU hours, so at least {clock(seconds / machine.gpus)}"
    return Finding(step="GPUs", fits=not 0 < machine.here < machine.gpus, why=why)


def _disk(place: Path) -> int:
    path = place.absolute()
    return os.stat(next(one for one in (path, *path.parents) if one.exists())).st_dev
