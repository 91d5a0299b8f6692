"""The settings of one training run: a YAML file → `TrainConfig`, or one sentence about what is off.

No torch here, so that a slip is told at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_type_hints

from common.errors import UserError
from common.typed import as_kind, as_yaml, read_bytes
from drift import delta
from drift.anchor import Anchor, Toward, refuse_anchor
from drift.delta import VARIANTS
from drift.equations import Mode
from drift.families import ROLES, Role
from drift.injector import Schedule, When

BUNDLED = Path(__file__).parents[1] / "recipes"
MOST_BYTES = 2**20
"""Of a recipe."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run: GRPO with a `reward`; without one DRIFT, or SFT when `prior` is null too."""

    vlm: str
    """The VLM to start from: a folder, or `owner/name[@revision]` on the hub."""
    data: str | tuple[str, ...]
    """Rows: a file, a folder, `…/dataset_info.json:name`, or a data set on the hub, or a list of
    them, one after the other: see `drift.training.rows`, `drift.training.forms`."""
    skip_bad_rows: bool = False
    """Leave out rows that cannot be used, each by name, instead of stopping."""
    images: str | None = None
    """Folder that relative paths of pictures start from; null: where the rows lie."""
    prior: str | None = None
    """Null; a variant (`reasoner-vlm`, `reasoner-base`, `random`, `shuffled`, `negated`), made from
    `reasoner` on the fly; or a folder that `driftbench prior` wrote."""
    reasoner: str | None = None
    """The reasoning model, text-only or a VLM: a folder, or a name on the hub."""
    base: str | None = None
    """The model that the reasoner was trained from, likewise: `reasoner-base` only."""
    prior_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of Δ in memory; that of a folder is the folder's."""
    alpha: float = 1.0
    """Strength of the pull."""
    mode: Mode = "grad_norm"
    """See `drift.equations.strength`."""
    modules: tuple[Role, ...] = ("attention", "mlp")
    """What is pulled."""
    layers: tuple[int, ...] | None = None
    """Layers that are pulled, null for all."""
    when: When = "step"
    """Once per optimizer step, or per micro-batch and device as published."""
    alpha_schedule: Schedule = "constant"
    """`decay`: α falls linearly to 0 over the run."""
    stop_rho: float | None = None
    """Pull only while the displacement ρ is below this."""
    live: bool = False
    """Recompute Δ each step as A − current weights."""
    toward: Toward = "reasoner"
    """A, of `live` and `anchor`: the reasoner, or the VLM at the start."""
    anchor: Anchor | None = None
    """After each optimizer step, with learning rate lr: `l2_sp` takes lr · λ · (w − A) off the
    weights, `spd` a share of w − A where the step went back: see `drift.anchor`."""
    anchor_strength: float = 0.0
    """λ of `anchor`."""
    reward: Literal["word", "math"] | None = None
    """Sample answers and learn from their verdicts (GRPO, arXiv 2402.03300), the answers of the
    rows being what they are compared with: `word`, the last word after the thought is that of the
    row's; `math`, the answer that is stated is the row's in value, or its letter. Null: learn the
    answers of the rows."""
    questions: int = 8
    """Per device and optimizer step, of which answers are sampled."""
    generations: int = 8
    """Answers sampled to a question: the group within which rewards are compared."""
    answer_tokens: int = 512
    """At which a sampled answer is cut; a cut one is worth nothing."""
    temperature: float = 1.0
    """Of sampling."""
    beta: float = 0.0
    """Weight of the divergence from the model at the start."""
    engine: Literal["hf", "vllm"] = "hf"
    """What samples: transformers, or vLLM on the same GPU."""
    offload: bool = False
    """Keep Δ in host memory and fetch it in each step: see `drift.injector.Injector`."""
    train: tuple[Role, ...] = ("attention", "mlp")
    """What is trained; everything else is frozen."""
    adapter_rank: int | None = None
    """Train LoRA adapters of this rank on the matrices of `train`, the VLM itself frozen: see
    docs/drift_with_adapters.md; null: the weights themselves."""
    adapter_alpha: int | None = None
    """Adapters count `adapter_alpha / adapter_rank` times; null: once."""
    adapter_start: Literal["delta", "random"] = "delta"
    """Of the adapters that are pulled, A: the leading right singular vectors of Δ, or random, as
    all others begin. B is 0, so that the model begins as the VLM."""
    adapter_base: Literal["vlm", "nf4"] = "vlm"
    """The frozen VLM is held in `dtype`, or in 4 bits (QLoRA, arXiv 2305.14314)."""
    merge_adapter: bool = False
    """Write a whole checkpoint with the adapters folded in, instead of a folder of adapters."""
    add_tokens: tuple[str, ...] = ()
    """Words new to the vocabulary (`<think>`): see `drift.training.added_tokens`."""
    lr: float = 1e-6
    """Peak learning rate of AdamW."""
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """After the warm-up."""
    warmup: float = 0.05
    """Share of the steps over which the rate rises."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest gradient norm, after the pull; 0 for no clipping."""
    steps: int | None = None
    """Optimizer steps; null: `epochs`."""
    epochs: float = 1.0
    batch: int = 1
    """Samples per device and micro-batch; with a `reward` sampled answers."""
    accumulate: int = 1
    """Micro-batches per optimizer step."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the arithmetic."""
    memory: Literal["float32", "low"] | None = None
    """`float32`: weights and moments in float32. `low`: bfloat16 weights that are rounded by chance
    and 8-bit moments, see `drift.training.low_memory`. Null: float32, unless only `low` fits."""
    save_dtype: Literal["vlm", "float32"] = "vlm"
    """Of the checkpoint: the VLM's on disk, rounded by chance so that small steps stay on the
    average; or float32, which keeps every step and takes twice the room."""
    gradient_checkpointing: bool = False
    max_tokens: int | None = None
    """Longest sample, longer ones are left out; null: the model's context."""
    image_max_pixels: int | None = None
    """Larger pictures are made smaller before the processor sees them."""
    day: str | None = None
    """What a chat template with a clock tells (`2026-01-31`); null: the day the run began."""
    seed: int = 0
    save_every: int = 0
    """Optimizer steps between checkpoints to resume from; 0: none."""

    @property
    def places(self) -> tuple[str, ...]:
        """Those of `data`, one or several."""
        return (self.data,) if isinstance(self.data, str) else self.data


def load(path: Path | str, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a recipe. With `extends: NAME` it is that recipe, with its own fields on top.

    Args:
        path: YAML file, or the name of one in `drift/recipes`.
        overrides: Field → value, winning over the file.

    Raises:
        UserError: no such file, an unknown field, or a value of the wrong kind.
    """
    raw = fields(path)
    return parse(raw | dict(overrides or {}), str(path))


def as_stored(config: TrainConfig) -> TrainConfig:
    """`config` with what the folder of its prior, if it names one, has in place of a recipe's.

    Raises:
        UserError: there is no such folder.
    """
    if config.prior is None or config.prior in VARIANTS:
        return config
    stored: Any = delta.load(config.prior).dtype
    return replace(config, reasoner=None, base=None, prior_dtype=stored)


def bundled() -> list[str]:
    """Names of the recipes here."""
    return sorted(one.stem for one in BUNDLED.glob("*.yaml"))


def fields(path: Path | str, after: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the fields of a recipe over those of the one that it extends, as they stand there.

    Args:
        path: See `load`.
        after: Recipes that extend this one.

    Raises:
        UserError: no such file, or it is no recipe.
    """
    path = Path(path)
    beside = [path, *(one.parent / path for one in after[-1:])]
    places = [
        *beside,
        *(one.with_name(f"{one.name}.yaml") for one in beside if one.name),
        BUNDLED / f"{path}.yaml",
    ]
    found = next((one for one in places if one.is_file()), None)
    if found is None:
        close = get_close_matches(path.name, bundled(), 1)
        hint = f"did you mean {close[0]}?" if close else f"bundled ones are {', '.join(bundled())}"
        raise UserError(f"there is no recipe {path}; {hint}")
    if found in after:
        raise UserError(f"{found} extends itself, by way of {', '.join(map(str, after))}")
    raw = as_yaml(read_bytes(found, MOST_BYTES), found)
    if not isinstance(raw, dict):
        raise UserError(f"{found} holds no fields")
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise UserError(f"{found}: extends names one recipe, not {parent!r}")
    return {**fields(parent, (*after, found)), **raw}


def parse(raw: Mapping[str, Any], where: str) -> TrainConfig:
    """Field → value as YAML gives them, checked.

    Raises:
        UserError: an unknown or missing field, or a value of the wrong kind.
    """
    hints = get_type_hints(TrainConfig)
    for name in raw:
        if name not in hints:
            close = get_close_matches(str(name), hints, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(hints)}"
            raise UserError(f"{where} has an unknown field {name!r}; {hint}")
    missing = [name for name in ("vlm", "data") if raw.get(name) is None]
    if missing:
        raise UserError(
            f"{where} does not say {' and '.join(missing)}; add it or pass --set {missing[0]}=PATH"
        )
    if isinstance(raw.get("day"), date):  # as YAML reads it
        raw = {**raw, "day": raw["day"].isoformat()}
    return check(
        TrainConfig(**{name: as_kind(raw[name], hints[name], f"{where}: {name}") for name in raw}),
        where,
    )


def check(config: TrainConfig, where: str) -> TrainConfig:
    """Stop at values that cannot be meant together."""
    positive = ["lr", "batch", "accumulate", "epochs", "questions", "answer_tokens", "temperature"]
    may = ("steps", "max_tokens", "image_max_pixels", "adapter_rank", "adapter_alpha", "stop_rho")
    positive += [name for name in may if getattr(config, name) is not None]
    for name in positive:
        if getattr(config, name) <= 0:
            raise UserError(f"{where}: {name} is {getattr(config, name)}; give more than 0")
    for name in ("alpha", "warmup", "weight_decay", "clip", "save_every", "beta"):
        if getattr(config, name) < 0:
            raise UserError(f"{where}: {name} is {getattr(config, name)}; give 0 or more")
    try:
        date.fromisoformat(config.day or "2026-01-31")
    except ValueError as error:
        raise UserError(f"{where}: day is {config.day!r}; give one as 2026-01-31") from error
    if config.memory == "low" and config.dtype == "float32":
        raise UserError(
            f"{where}: memory: low keeps bfloat16 weights, and computes with them; set "
            "dtype: bfloat16, or memory: float32"
        )
    if config.memory == "low" and config.anchor is not None:
        raise UserError(
            f"{where}: the decay of anchor: {config.anchor} would be lost on the bfloat16 weights "
            "of memory: low; take memory: float32, or mode: project"
        )
    if config.warmup >= 1:
        raise UserError(f"{where}: warmup is {config.warmup}; give a share of the steps, below 1")
    if not config.data:
        raise UserError(f"{where}: data is an empty list; name the rows to learn from")
    if not config.train:
        raise UserError(f"{where}: train is empty; name some of {', '.join(ROLES)}")
    if config.prior is not None and not config.modules:
        raise UserError(
            f"{where}: modules is empty, so that nothing would be pulled; name some of what train "
            f"does ({', '.join(config.train)}), or set prior: null for plain fine-tuning"
        )
    lost = [role for role in config.modules if role not in config.train]
    if config.prior is not None and lost:
        raise UserError(
            f"{where}: modules names {', '.join(lost)}, which train leaves frozen; "
            "what is pulled must be trained"
        )
    try:
        refuse_anchor(
            mode=config.mode,
            alpha=config.alpha,
            live=config.live,
            toward=config.toward,
            anchor=config.anchor,
            anchor_strength=config.anchor_strength,
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if config.prior is None and config.anchor is not None:
        raise UserError(
            f"{where}: anchor is {config.anchor} and prior null; name a prior, which says what is "
            "anchored and what the displacement is measured along"
        )
    if config.anchor == "l2_sp" and config.lr * config.anchor_strength > 1:
        raise UserError(
            f"{where}: lr · anchor_strength is {config.lr * config.anchor_strength:g}, the share "
            "of the way back to its anchor that a weight goes in one step; give at most 1"
        )
    if config.alpha == 0 and (config.stop_rho is not None or config.alpha_schedule != "constant"):
        raise UserError(
            f"{where}: stop_rho and alpha_schedule are of the pull, and alpha is 0; an anchor goes "
            "on whatever they say: leave them out, or give an alpha"
        )
    if config.mode == "project_learnt" and config.save_every:
        raise UserError(
            f"{where}: save_every is {config.save_every}, but what project_learnt has learnt is in "
            "no checkpoint to resume from; give 0, or take mode project"
        )
    if config.prior in VARIANTS and config.reasoner is None:
        raise UserError(
            f"{where}: the prior {config.prior} needs a reasoner: a folder, or a name on the hub"
        )
    _check_adapter(config, where)
    if config.reward is not None:
        _check_reward(config, where)
    return config


def _check_reward(config: TrainConfig, where: str) -> None:
    """Stop at values that GRPO has no use for."""
    if config.prior is not None:
        raise UserError(
            f"{where}: prior is {config.prior} and reward {config.reward}: the pull is on what is "
            "learnt from rows; set prior: null, and start from what DRIFT made (vlm)"
        )
    if config.generations < 2:
        raise UserError(
            f"{where}: generations is {config.generations}; give 2 or more, as rewards are "
            "compared within the answers to a question"
        )
    sampled = config.questions * config.generations
    if sampled % config.batch:
        raise UserError(
            f"{where}: {config.questions} questions × {config.generations} generations do not part "
            f"into micro-batches of {config.batch} answers; set batch to a divisor of {sampled}"
        )
    if config.accumulate != 1:
        raise UserError(
            f"{where}: accumulate is {config.accumulate}, but with a reward a step takes questions "
            "× generations answers, batch at a time; leave accumulate out"
        )
    if config.engine == "vllm" and config.adapter_base == "nf4":
        raise UserError(
            f"{where}: engine: vllm takes up the trained weights after each step, and "
            "adapter_base: nf4 has none in bfloat16; set adapter_base: vlm, or engine: hf"
        )
    if config.add_tokens:
        raise UserError(
            f"{where}: add_tokens with a reward: a model does not sample words that it never saw; "
            "add them in fine-tuning, and start from that"
        )


def _check_adapter(config: TrainConfig, where: str) -> None:
    if config.adapter_rank is None:
        if config.adapter_alpha or config.adapter_base != "vlm" or config.merge_adapter:
            raise UserError(f"{where}: adapters need their adapter_rank; 16 to 64 is usual")
        return
    if config.memory == "low":
        base = "in 4 bits" if config.adapter_base == "nf4" else "frozen"
        raise UserError(
            f"{where}: memory: low trains whole weights, and with adapter_rank the VLM is held "
            f"{base}; leave one of the two out"
        )
    beyond = [role for role in config.train if role not in ("attention", "mlp")]
    if beyond:
        raise UserError(
            f"{where}: train names {', '.join(beyond)}, and adapters go on the matrices of "
            "attention and mlp; name those, or leave adapter_rank out"
        )
    if config.add_tokens:
        raise UserError(
            f"{where}: add_tokens needs the embedding trained, which adapters leave frozen; leave "
            "add_tokens or adapter_rank out"
        )
    whole = {
        "when: backward": config.when == "backward",
        "mode: project_learnt": config.mode == "project_learnt",
        f"anchor: {config.anchor}": config.anchor is not None,
        "toward: start": config.toward == "start",
    }
    if of_weights := [setting for setting, is_set in whole.items() if is_set]:
        raise UserError(
            f"{where}: {', '.join(of_weights)} is defined on whole weights; leave it out, or leave "
            "adapter_rank out"
        )


def from_settings(words: list[str]) -> dict[str, Any]:
    """`key=value` words of the command line, values read as YAML.

    Raises:
        UserError: a word has no `=` or its value is no YAML.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--set takes key=value, not {word!r}")
        found[name.strip()] = as_yaml(value, f"the value of --set {name.strip()}")
    return found
