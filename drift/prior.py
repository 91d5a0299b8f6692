"""Δ, the direction that training is pulled along: reasoner − language model of the VLM.

A descent step that subtracts a multiple of Δ from the gradient moves toward the reasoner. Nothing
is computed until a tensor is asked for, so a prior of any size costs one tensor of memory, whether
it is written to a folder (`save`) or read straight into a training run.

    python -m drift prior VLM LLM --out DIR
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from drift.errors import UserError
from drift.families import DECODER_ROLES, Role, Weight, layer_and_role, pair
from drift.weights import (
    Checkpoint,
    Made,
    Parent,
    parent,
    read_header,
    write_made,
    write_stream,
    written_aside,
)

if TYPE_CHECKING:
    import torch

Variant = Literal["reasoner-vlm", "reasoner-base", "random", "shuffled", "negated"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
FILE = "prior.safetensors"


@dataclass(frozen=True)
class Prior:
    """Δ of a decoder, tensor by tensor."""

    variant: Variant
    """`reasoner-vlm`, `reasoner-base` (one training stage alone), or one of three controls."""
    family: str
    parents: tuple[Parent, ...]
    dtype: str
    """Of the tensors that `read` gives."""
    seed: int
    """Of the controls `random` and `shuffled`."""
    shapes: dict[str, tuple[int, ...]]
    """Canonical name → shape: everything that has a Δ."""
    read: "Callable[[str], torch.Tensor]"
    """Canonical name → Δ."""

    def role(self, name: str) -> Role:
        """Role of a canonical name."""
        placed = layer_and_role(name)
        assert placed is not None
        return placed[1]


def build(
    vlm: Path | str,
    reasoner: Path | str,
    variant: Variant = "reasoner-vlm",
    base: Path | str | None = None,
    roles: tuple[Role, ...] = DECODER_ROLES,
    dtype: str = "bfloat16",
    seed: int = 0,
) -> Prior:
    """Describe the prior of `vlm` and the text-only `reasoner`; subtract when it is read.

    Differences are taken in float32 and rounded once, to `dtype`.

    Args:
        vlm: Folder of the VLM.
        reasoner: Folder of the text-only reasoning model.
        variant: `reasoner-vlm`; `reasoner-base` = reasoner − base, the update of one training
            stage; or a control made of reasoner − VLM: `random` (normal numbers with the norm of
            each tensor), `shuffled` (its entries in random order), `negated`.
        base: Folder of the model that the reasoner was trained from; `reasoner-base` only.
        roles: Which kinds of tensors.
        dtype: `bfloat16` or `float32`.
        seed: Of the controls; each tensor has its own stream, named after it.

    Raises:
        UserError: the decoders do not pair, or the variant is unknown or lacks its base.
    """
    if variant not in VARIANTS:
        raise UserError(f"no prior is called {variant!r}; choose {', '.join(VARIANTS)}")
    if dtype not in ("bfloat16", "float32"):
        raise UserError(f"a prior is stored in bfloat16 or float32, not {dtype}")
    if (base is None) == (variant == "reasoner-base"):
        raise UserError("a base model goes with the prior `reasoner-base`, and only with it")
    pairing = pair(vlm, reasoner)
    weights = {weight.name: weight for weight in pairing.weights if weight.role in roles}
    from_vlm, from_reasoner = Checkpoint(vlm), Checkpoint(reasoner)
    from_base = open_base(base, weights.values()) if base is not None else None

    def read(name: str) -> "torch.Tensor":
        import torch

        weight = weights[name]
        after = from_reasoner.tensor(weight.llm_key).float()
        if from_base is not None:
            before = from_base.tensor(weight.llm_key).float()
        else:
            before = from_vlm.tensor(weight.vlm_key).float()
        return _control(after - before, variant, name, seed).to(getattr(torch, dtype))

    parents = [parent("vlm", vlm), parent("reasoner", reasoner)]
    if base is not None:
        parents.append(parent("base", base))
    shapes = {name: weight.shape for name, weight in weights.items()}
    return Prior(variant, pairing.family.name, tuple(parents), dtype, seed, shapes, read)


def open_base(folder: Path | str, weights: Iterable[Weight]) -> Checkpoint:
    """Open the text-only model that a reasoner was trained from.

    Raises:
        UserError: it lacks one of `weights`, or has it in another shape.
    """
    base = Checkpoint(folder)
    wrong = [
        weight.name
        for weight in weights
        if weight.llm_key not in base.entries or base.entries[weight.llm_key].shape != weight.shape
    ]
    if wrong:
        raise UserError(
            f"the base model {folder} lacks {len(wrong)} tensors of the reasoner, or has them in "
            f"another shape ({', '.join(wrong[:5])}); give the model that it was trained from"
        )
    return base


def _control(delta: "torch.Tensor", variant: Variant, name: str, seed: int) -> "torch.Tensor":
    """Δ itself, or what stands in for it to show that its direction matters."""
    import torch

    if variant == "negated":
        return -delta
    if variant not in ("random", "shuffled"):
        return delta
    numbers = stream(name, seed)
    if variant == "shuffled":
        return delta.flatten()[torch.randperm(delta.numel(), generator=numbers)].view_as(delta)
    noise = torch.randn(delta.shape, generator=numbers)
    return noise * (delta.norm() / noise.norm())


def stream(name: str, seed: int) -> "torch.Generator":
    """Random numbers that belong to one tensor, whatever the order in which tensors come."""
    import torch

    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def save(prior: Prior, out: Path | str, overwrite: bool = False) -> None:
    """Write `prior` into the folder `out`, one tensor in memory at a time."""
    metadata = {
        "variant": prior.variant,
        "family": prior.family,
        "roles": " ".join(dict.fromkeys(prior.role(name) for name in prior.shapes)),
        "seed": str(prior.seed),
        "parents": json.dumps([vars(one) for one in prior.parents]),
    }
    settings = {"dtype": prior.dtype} | {k: v for k, v in metadata.items() if k != "parents"}
    with written_aside(out, overwrite) as aside:
        write_stream(aside / FILE, prior.shapes.items(), prior.dtype, prior.read, metadata)
        write_made(aside, Made("prior", Path(out).name, prior.parents, settings))


def load(folder: Path | str) -> Prior:
    """Open a prior that `save` wrote.

    Raises:
        UserError: the folder holds none, or a truncated one.
    """
    from safetensors import safe_open

    path = Path(folder) / FILE
    if not path.is_file():
        raise UserError(
            f"there is no prior {folder}: it is one of {', '.join(VARIANTS)}, or a folder made "
            "with `driftbench prior`"
        )
    entries, metadata, _ = read_header(path)
    if not entries or not {"variant", "family", "parents", "seed"} <= metadata.keys():
        raise UserError(f"{path} was not written by `driftbench prior`")
    opened = safe_open(str(path), framework="pt")
    return Prior(
        variant=metadata["variant"],  # type: ignore[arg-type]
        family=metadata["family"],
        parents=tuple(Parent(**one) for one in json.loads(metadata["parents"])),
        dtype=next(iter(entries.values())).dtype,
        seed=int(metadata["seed"]),
        shapes={name: entry.shape for name, entry in entries.items()},
        read=opened.get_tensor,
    )
