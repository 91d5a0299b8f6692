"""The four kinds of checkpoint: a folder, a merge, an adapter over a folder, a served model.

All have a `name`, a `fingerprint` (sha256 over the content of all that shapes an answer, of no
path), `surroundings` (the same but for the weights' values), `made` (what `made.json` says of it),
`notes` (what a reader of its scores must know, a sentence each), a `place` that a person knows it
by, and the `folder` that its architecture, processor and chat template are read from.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from common.provenance import digest
from drift.merge import Recipe
from harness.checkpoints.adapter import Adapter

VISION = ("vision_config", "visual", "img_processor", "vision_tower", "mm_vision_tower")
"""Fields of a config.json that only a model that takes images has."""


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model on this disk that passed the preflight."""

    path: Path
    name: str
    """Of its folder, or the last part of its hub id."""
    fingerprint: str
    surroundings: str
    """With the tensors' names, types and shapes."""
    config: dict[str, Any]
    """`config.json`."""
    made: dict[str, Any] | None = None
    pixels: dict[str, Any] = field(default_factory=dict)
    """The image processor's size settings; empty for a text-only model."""
    template: str = ""
    """The chat template."""
    day: str = ""
    """What day a template that tells the model one is to tell (`2026-01-31`); empty: today."""
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> "ModelFolder":
        """Itself."""
        return self

    @property
    def place(self) -> Path:
        """Its folder."""
        return self.path

    @property
    def architecture(self) -> str:
        """The class that it is, in transformers' words."""
        return self.config["architectures"][0]

    @property
    def tells_day(self) -> bool:
        """Whether the chat template tells the model what day it is."""
        return "strftime_now" in self.template

    @property
    def is_multimodal(self) -> bool:
        """Whether it takes images."""
        return any(name in self.config for name in VISION)


@dataclass(frozen=True, kw_only=True)
class MergedModel:
    """A merge that lies nowhere on disk."""

    folder: ModelFolder
    """The VLM; its decoder's weights are replaced by the merge."""
    name: str
    fingerprint: str
    made: dict[str, Any]
    llm: Path
    """Folder of the reasoner."""
    base: Path | None
    """Folder of the model that both came from, for the methods that need it."""
    recipe: Recipe
    notes: tuple[str, ...] = ()

    @property
    def surroundings(self) -> str:
        """Those of the VLM: an engine takes one for the other."""
        return self.folder.surroundings

    @property
    def place(self) -> Path:
        """The VLM's folder."""
        return self.folder.path


@dataclass(frozen=True, kw_only=True)
class AdaptedModel:
    """A LoRA adapter over a model."""

    folder: ModelFolder
    """The model under it, with the chat template that goes with the adapter."""
    adapter: Adapter
    name: str
    made: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Of both."""
        return digest([self.folder.fingerprint, self.adapter.fingerprint])

    @property
    def surroundings(self) -> str:
        """Of the model, its weights too, and of the room that an engine makes for the adapter."""
        room = self.adapter.room, self.adapter.beside_decoder
        return digest([self.folder.fingerprint, *room])

    @property
    def place(self) -> Path:
        """The adapter's folder."""
        return self.adapter.path


@dataclass(frozen=True, kw_only=True)
class Served:
    """What an endpoint tells of a model; None or empty where it does not tell."""

    model: str
    root: str | None = None
    """The checkpoint behind the name, as the server was told it."""
    owner: str = ""
    software: str = ""
    """Server and version, such as `vllm 0.32.0`."""
    context: int | None = None
    """Tokens of prompt and answer together."""

    def identity(self) -> dict[str, Any]:
        """What must not change within a run; a longer context changes no answer that is whole."""
        return {name: value for name, value in asdict(self).items() if name != "context"}


@dataclass(frozen=True)
class ServedModel:
    """A model behind endpoints; its weights are out of sight."""

    served: Served
    weights: ModelFolder | AdaptedModel | None
    """What is served, where the user has it at hand and says so."""

    @property
    def name(self) -> str:
        """The last part of its name there."""
        return self.place.name

    @property
    def fingerprint(self) -> str:
        """Of all that is told of it."""
        told = {**self.served.identity(), "weights": self.weights and self.weights.fingerprint}
        return f"served:{self.served.model}:{digest(told)}"

    @property
    def surroundings(self) -> str:
        """Its own: no engine goes on with another."""
        return self.fingerprint

    @property
    def made(self) -> dict[str, Any] | None:
        """What is known of the weights."""
        return self.weights.made if self.weights else None

    @property
    def notes(self) -> tuple[str, ...]:
        """None: the engine knows what could not be verified."""
        return ()

    @property
    def place(self) -> Path:
        """Its name there."""
        return Path(self.served.model)

    @property
    def folder(self) -> ModelFolder | None:
        """The weights' folder."""
        return self.weights.folder if self.weights else None


Checkpoint = ModelFolder | MergedModel | AdaptedModel | ServedModel


def folder_of(checkpoint: Checkpoint) -> ModelFolder:
    """Return the folder of a checkpoint that an engine loads here."""
    assert checkpoint.folder is not None, f"{checkpoint.name} is served"
    return checkpoint.folder


def takes_images(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint takes images, as far as is known here."""
    return checkpoint.folder is None or checkpoint.folder.is_multimodal


def on_day(checkpoint: Any, day: str) -> Any:
    """Return a checkpoint, of the same kind, whose chat template tells the model this day."""
    if isinstance(checkpoint, ModelFolder):
        return replace(checkpoint, day=day)
    part = "weights" if isinstance(checkpoint, ServedModel) else "folder"
    inner = getattr(checkpoint, part)
    return replace(checkpoint, **{part: on_day(inner, day)}) if inner else checkpoint


def swappable(a: Checkpoint, b: Checkpoint) -> bool:
    """Whether the weights of `b` fit a running engine of `a`: nothing else differs."""
    return a.surroundings == b.surroundings
