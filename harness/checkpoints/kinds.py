"""The four kinds of checkpoint: a folder, a merge, an adapter over a folder, a served model."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from common.provenance import Made
from drift import chat_template
from drift.adapter_folder import Adapter
from drift.merge_methods import Recipe
from harness.checkpoints.own_code import Code

VISION = (
    *("vision_config", "visual", "img_processor", "vision_tower", "mm_vision_tower"),
    *("vit_config", "vq_config", "thinker_config"),
)
"""Fields of a config.json that only a model that takes images has."""
FLAT = ("fuyu", "molmo", "t5gemma2")
"""`model_type` of models that take images and have no field that says so."""


def sees(config: dict[str, Any]) -> bool:
    """Whether the model of a `config.json` takes images."""
    return config.get("model_type") in FLAT or any(name in config for name in VISION)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What every checkpoint is known by."""

    name: str
    """Of its folder, or the last part of its name on the hub or at an endpoint."""
    path: Path
    """The folder that makes it what it is; of a served model, its name there."""
    fingerprint: str
    """sha256 over the content of all that shapes an answer; no path."""
    surroundings: str
    """The same but for the weights' values: a running engine takes one for the other."""
    made: Made | None = None
    """What `made.json` says of it."""
    notes: tuple[str, ...] = ()
    """What a reader of its scores must know, a sentence each."""
    template_args: dict[str, Any] = field(default_factory=dict)
    """What its chat template is told beside the messages."""


@dataclass(frozen=True, kw_only=True)
class ModelFolder(Identity):
    """A model on this disk that passed the preflight."""

    config: dict[str, Any]
    """`config.json`."""
    pixels: dict[str, Any] = field(default_factory=dict)
    """The image processor's size settings; empty for a text-only model."""
    template: str = ""
    """The chat template."""
    code: Code | None = None
    """Code of its own that it may run; None: no code is."""
    day: str = ""
    """What day a template that tells the model one is to tell (`2026-01-31`); empty: today."""

    @property
    def folder(self) -> "ModelFolder":
        """Itself."""
        return self

    @property
    def architecture(self) -> str:
        """The class that it is, in transformers' words."""
        return self.config["architectures"][0]

    @property
    def tells_day(self) -> bool:
        """Whether the chat template tells the model what day it is."""
        return chat_template.tells_day(self.template)

    @property
    def is_multimodal(self) -> bool:
        """Whether it takes images."""
        return sees(self.config)


@dataclass(frozen=True, kw_only=True)
class MergedModel(Identity):
    """A merge that lies nowhere on disk."""

    folder: ModelFolder
    """The VLM; its decoder's weights are replaced by the merge."""
    llm: Path
    """Folder of what is merged into it."""
    base: Path | None
    """Folder of the model that both came from, for the methods that need it."""
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class AdaptedModel(Identity):
    """A LoRA adapter over a model."""

    folder: ModelFolder
    """The model under it, with the chat template that goes with the adapter."""
    adapter: Adapter


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


@dataclass(frozen=True, kw_only=True)
class ServedModel(Identity):
    """A model behind endpoints; its weights are out of sight."""

    served: Served
    weights: ModelFolder | AdaptedModel | None
    """What is served, where the user has it at hand and says so."""

    @property
    def folder(self) -> ModelFolder | None:
        """The weights' folder."""
        return self.weights.folder if self.weights else None


Checkpoint = ModelFolder | MergedModel | AdaptedModel | ServedModel


def folder_of(checkpoint: Checkpoint) -> ModelFolder:
    """Return the folder that architecture, processor and chat template are read from."""
    assert checkpoint.folder is not None, f"{checkpoint.name} is served"
    return checkpoint.folder


def takes_images(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint takes images, as far as is known here."""
    return checkpoint.folder is None or checkpoint.folder.is_multimodal


def prompted(checkpoint: Any, **settings: Any) -> Any:
    """Return a checkpoint, of the same kind, whose chat template is told something.

    Args:
        checkpoint: Of any kind.
        **settings: `day`, `template_args`: fields of a `ModelFolder`.
    """
    if isinstance(checkpoint, ModelFolder):
        return replace(checkpoint, **settings)
    part = "weights" if isinstance(checkpoint, ServedModel) else "folder"
    inner = getattr(checkpoint, part)
    own = {name: value for name, value in settings.items() if name != "day"}
    return replace(checkpoint, **own, **{part: prompted(inner, **settings) if inner else None})


def swappable(a: Checkpoint, b: Checkpoint) -> bool:
    """Whether the weights of `b` fit a running engine of `a`: nothing else differs."""
    return a.surroundings == b.surroundings
