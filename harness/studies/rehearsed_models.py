"""The models of a study as a rehearsal has them: what they say of themselves, without weights.

In the place of weights lie files of the real names, shapes and types over bytes that take no room:
all that reads headers works on them.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import hub
from common.errors import UserError
from common.loading import loaded
from drift import headers, hollow
from drift.training import config as recipes
from drift.training.config import TrainConfig
from harness.studies.known_models import Known, known
from harness.studies.step import Step


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of a step."""

    places: tuple[str, ...]
    options: dict[str, list[str]] = field(default_factory=dict)

    def one(self, option: str, default: str = "") -> str:
        """Return the value of an option, the last one where it is repeated."""
        return self.options.get(option, [default])[-1]


def parsed(run: Sequence[str]) -> Words:
    """Tell the options of a command line and their values from its arguments.

    All options take a value but those that another option follows, or nothing.
    """
    places: list[str] = []
    options: dict[str, list[str]] = {}
    rest = list(run[1:])
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            if not equals and rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            options.setdefault(name, []).append(value)
        else:
            places.append(word)
    return Words(places=tuple(places), options=options)


def recipe(step: Step) -> TrainConfig:
    """Return the settings of a step that trains.

    Raises:
        UserError: See `drift.training.config.load`.
    """
    words = parsed(step.run)
    return recipes.load(words.places[0], recipes.from_settings(words.options.get("--set", [])))


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model."""

    name: str
    """As the study has it."""
    folder: Path
    source: str
    """Where what is known of it comes from."""
    bundled: Known | None = None
    """None: its own files tell."""

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put its name in the place of its folder in an error."""
        try:
            yield
        except UserError as error:
            raise UserError(str(error).replace(str(self.folder), self.name)) from error

    @property
    def short(self) -> str:
        """The last part of its name, without a revision."""
        return Path(self.name.partition("@")[0]).name


class Models:
    """Finds each model once, by its path in the study or its place outside."""

    def __init__(self, steps: Sequence[Step], out: Path, scratch: Path) -> None:
        self.out, self.scratch = out, scratch
        self.unreached: hub.OutOfReach | None = None
        self._makers = {path: step for step in steps for path in step.writes}
        self._found: dict[str, Model] = {}
        self.refused: dict[str, UserError] = {}
        """Place → why the hub does not give it, where it does not."""
        self._live: dict[str, Any] = {}
        self._told: dict[tuple[str, hub.Kind], Any] = {}

    def at(self, path: str) -> Model:
        """Return a model; one that training or merging will write is like its VLM.

        Raises:
            UserError: Nothing is known of it.
        """
        step = self._makers.get(path) or self._makers.get(str(Path(path).parent))
        place = str(self.out / path) if step and (self.out / path).is_dir() else path
        if step and place == path:
            if step.run[0] == "fetch":
                place = step.run[1]
            else:
                return self.at(recipe(step).vlm if step.run[0] == "train" else step.run[1])
        if place not in self._found:
            self._found[place] = self._find(place)
        return self._found[place]

    def live(self, model: Model) -> Any:
        """Build a model on the meta device."""
        if model.name not in self._live:
            from transformers import AutoConfig

            config = loaded(AutoConfig, model.folder, "config")
            self._live[model.name] = hollow.live(config)
        return self._live[model.name]

    def told(self, place: str, kind: hub.Kind) -> Any:
        """Return what the hub tells; once it was out of reach it is not asked again.

        Raises:
            OutOfReach: The hub does not answer.
            UserError: It does not give it.
        """
        if self.unreached:
            raise self.unreached
        if (place, kind) not in self._told:
            name, _, revision = place.partition("@")
            try:
                self._told[place, kind] = hub.told(name, kind, revision or None)
            except hub.OutOfReach as error:
                self.unreached = error
                raise
            except UserError as error:
                self._told[place, kind] = error
        if isinstance(answer := self._told[place, kind], UserError):
            raise answer
        return answer

    def _find(self, place: str) -> Model:
        if (path := Path(place).expanduser()).is_dir():
            return Model(name=place, folder=path, source="from its folder")
        name, _, revision = place.partition("@")
        try:
            return self._of_hub(place, self.told(place, "model"))
        except UserError as error:
            self.refused[place] = error
        if there := hub.cached(name, "model", revision or None):
            with suppress(UserError):
                headers.headers(there)
                return Model(name=place, folder=there, source="from the hub's cache")
        found = known(name)
        if found is None:
            kind = hub.OutOfReach if self.unreached else UserError
            raise kind(f"{place} is not at hand, and no configuration of it is bundled")
        folder = hollow.lay_out(hollow.live(hollow.configured(found.settings)), self._place())
        (folder / "generation_config.json").write_text(json.dumps(dict(found.generation)))
        return Model(name=place, folder=folder, source="bundled configuration", bundled=found)

    def _of_hub(self, place: str, told: Any) -> Model:
        cache = self.scratch / "hub"
        papers = hub.fetch(told.id, "model", told.sha, only=hub.PAPERS, cache=cache)
        if not (papers / "config.json").is_file():
            raise UserError(f"{place} has no config.json on the hub")
        folder = self._place()
        shutil.copytree(papers, folder)
        for name, header in hub.headers(told).items():
            hollow.write(folder / name, header)
        return Model(name=place, folder=folder, source="from the hub")

    def _place(self) -> Path:
        return self.scratch / f"model-{len(self._found)}"
