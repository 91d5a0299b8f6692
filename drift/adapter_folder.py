"""A LoRA adapter in PEFT's layout: checked against the model that it was made for.

    W x + scale · B (A x), for the matrices W that it names

https://arxiv.org/abs/2106.09685, eq. 3; the names and the scale are those of peft 0.21
(huggingface/peft@v0.21.2:src/peft/tuners/lora/layer.py).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.provenance import Made, digest
from common.typed import read_json
from drift.fingerprints import digests, fingerprint
from drift.headers import ADAPTER, Entry, read_header

Pairs = dict[str, dict[str, tuple[int, ...]]]
"""Name of a module, as PEFT has it → the shapes of its A and B."""

ADAPTER_CONFIG = "adapter_config.json"

MORE = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "layer_replication",
    "fan_in_fan_out",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
"""Settings of an adapter that is, or is trained as, more than the products B A."""

STARTS = ("none", "true", "false", "gaussian", "eva", "orthogonal", "mica")
"""Beginnings of training (`init_lora_weights`) that leave the base's own weights as they are."""

ROOMS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""

DECODER = re.compile(r"(text_model\.)?(layers\.\d+\.|lm_head$)")
"""Beginning of a `plain` name within the language model."""

PART = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter that passed the preflight."""

    path: Path
    fingerprint: str
    """sha256 over the content of its weights and settings."""
    rank: int
    """The largest of its matrices."""
    scales: dict[str, float]
    """`plain` name of each adapted matrix → the factor of its product."""

    @property
    def room(self) -> int:
        """The rank that vLLM is to make room for."""
        return next(room for room in ROOMS if room >= self.rank)

    @property
    def beside_decoder(self) -> bool:
        """Whether it also adapts what is not of the language model."""
        return not all(DECODER.match(name) for name in self.scales)


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter, and no model beside it."""
    weights = {file.name for file in path.glob("*.safetensors")} - {ADAPTER}
    return (path / ADAPTER_CONFIG).exists() and not weights


def refuse_other_base(path: Path, made: Made | None, base: Path) -> None:
    """Stop where an adapter's record tells that it was trained on another model than `base`.

    Raises:
        UserError: it was.
    """
    trained_on = [one for one in (made.parents if made else ()) if one.role == "vlm"]
    if trained_on and trained_on[0].fingerprint != fingerprint(base):
        raise UserError(
            f"{path} was trained on another model than {base}, whose fingerprint differs from that "
            f"of {trained_on[0].path} in {path.name}/made.json: give that one"
        )


def open_adapter(path: Path, base: Mapping[str, Entry]) -> Adapter:
    """Check an adapter.

    Args:
        path: Its folder.
        base: The tensors of the model under it.

    Raises:
        UserError: It is no plain LoRA adapter, or not one of this model.
    """
    config = read_json(path / ADAPTER_CONFIG)
    _check_kind(path, config)
    if not (path / ADAPTER).exists():
        raise UserError(
            f"{path} has no {ADAPTER}: a pickle can run code when read, save the adapter "
            "as safetensors"
        )
    table = read_header(path / ADAPTER)[0]
    pairs = _pairs(path, table)
    _check_fit(path, pairs, base)
    ranks = {}
    for name, shapes in pairs.items():
        ranks[name] = _setting(config.get("rank_pattern"), name, config.get("r"))
        if (shapes["A"][0], shapes["B"][1]) != (ranks[name], ranks[name]):
            raise UserError(
                f"{path}: {name} has rank {shapes['A'][0]}, and {ADAPTER_CONFIG} says {ranks[name]}"
            )
    if max(ranks.values()) > ROOMS[-1]:
        raise UserError(
            f"{path} has rank {max(ranks.values())}, more than {ROOMS[-1]}: merge it into its base"
        )
    content = {"weights": digests({path / ADAPTER: table}), "config": _shaping(config)}
    return Adapter(
        path=path,
        fingerprint=digest(content),
        rank=max(ranks.values()),
        scales={plain(name): _scale(config, name, rank) for name, rank in ranks.items()},
    )


def plain(name: str) -> str:
    """Return the name of a module without what says where it is held.

    The same module is `model.layers.0.mlp` on disk, `language_model.model.layers.0.mlp` there in
    other families, and `model.language_model.layers.0.mlp` in memory.
    """
    holders = ("model", "language_model", "vision_model")
    return ".".join(part for part in name.split(".") if part not in holders)


def load_pairs(adapter: Adapter) -> dict[str, tuple[Any, Any, float]]:
    """Return, by `plain` name: A (rank, in), B (out, rank), scale."""
    from safetensors.torch import load_file

    found: dict[str, dict[str, Any]] = {}
    for key, tensor in load_file(adapter.path / ADAPTER).items():
        name, part = PART.fullmatch(key).groups()  # type: ignore[union-attr]
        found.setdefault(plain(name), {})[part] = tensor
    return {name: (pair["A"], pair["B"], adapter.scales[name]) for name, pair in found.items()}


def _check_kind(path: Path, config: dict[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise UserError(f"{path} is an adapter of type {config.get('peft_type')}, not LORA")
    more = [field for field in MORE if config.get(field)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if str(config.get("init_lora_weights")).lower() not in STARTS:
        more.append(f"init_lora_weights: {config['init_lora_weights']}")
    if more:
        raise UserError(
            f"{path} is not a plain LoRA adapter ({', '.join(more)}): merge it into its base model "
            "first (PEFT's merge_and_unload)"
        )


def _pairs(path: Path, table: Mapping[str, Entry]) -> Pairs:
    """Return the shapes of A and B by the name of their module, as PEFT has it."""
    found: Pairs = {}
    for key, entry in table.items():
        part = PART.fullmatch(key)
        if not part or len(entry.shape) != 2:
            raise UserError(
                f"{path} holds {key}, which is no part of a product B A: merge the adapter into "
                "its base model first"
            )
        found.setdefault(part[1], {})[part[2]] = entry.shape
    if not found:
        raise UserError(f"{path} adapts nothing: {ADAPTER} is empty")
    for name, pair in found.items():
        if len(pair) < 2:
            raise UserError(f"{path} has half of the product for {name}: the other one is missing")
    return found


def _check_fit(path: Path, pairs: Pairs, base: Mapping[str, Entry]) -> None:
    """Check that each adapted matrix is in the base, in the right shape."""
    modules = {tensor: tensor.rpartition(".")[0] for tensor in base}
    held = {plain(module) for module in modules.values()}
    weights = {plain(modules[t]): base[t] for t in base if t.endswith(".weight")}
    absent = [name for name in pairs if plain(name) not in held]
    if absent:
        raise UserError(
            f"{path} adapts {len(absent)} matrices of {len(pairs)} that its base does not have "
            f"of their own, the first is {absent[0]}: give the right base"
        )
    for name, pair in pairs.items():
        wanted = (pair["B"][0], pair["A"][1])
        entry = weights.get(plain(name))
        # A quantised matrix is packed: its shape on disk is another.
        if entry and re.fullmatch(r"b?float(16|32|64)", entry.dtype) and entry.shape != wanted:
            raise UserError(
                f"{path} adapts {name} as {wanted[0]} x {wanted[1]}, in its base it is "
                f"{' x '.join(map(str, entry.shape))}: give the right base"
            )


def _scale(config: dict[str, Any], name: str, rank: int) -> float:
    alpha = _setting(config.get("alpha_pattern"), name, config.get("lora_alpha"))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _setting(patterns: dict[str, Any] | None, name: str, default: Any) -> Any:
    """Return a module's own setting: of the first pattern that its name ends with, as PEFT does."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", name):
            return value
    return default


def _shaping(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what shapes no answer."""
    fields = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")
    return {field: config.get(field) for field in fields}
