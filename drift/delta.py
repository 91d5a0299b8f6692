"""Δ, the direction that training is pulled along: reasoner − language model of the VLM.

A descent step that subtracts a multiple of Δ from the gradient moves toward the reasoner. Nothing
is computed until a tensor is asked for, so a prior of any size costs a few tensors of memory,
whether it is written to a folder (`save`) or read straight into a training run. On disk a matrix
may be replaced by its best approximation of rank k, which `load` multiplies out again.

    driftbench prior VLM LLM --out DIR
    driftbench prior VLM LLM --rank 64 --out DIR
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from common.errors import UserError
from common.files import written_aside
from common.provenance import Made, Parent, write_made
from drift import compatibility
from drift.checkpoints import (
    Checkpoint,
    read_tensor,
    wide,
    write_stream,
)
from drift.families import DECODER_ROLES, Role, language_keys, layer_and_role
from drift.fingerprints import digests, parent
from drift.headers import read_header, shapes
from drift.low_rank import factorise, multiply_out
from drift.pairing import Weight, pair, refuse_unpaired

if TYPE_CHECKING:
    import torch

Variant = Literal["reasoner-vlm", "reasoner-base", "random", "shuffled", "negated"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
FILE = "prior.safetensors"


@dataclass(frozen=True, kw_only=True)
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
    blocks: "Callable[[str], Iterable[torch.Tensor]] | None" = None
    """Canonical name → Δ piece by piece, if it need not be held as a whole."""
    warnings: tuple[str, ...] = ()
    """What makes VLM and reasoner ill-matched: see `drift.compatibility`."""

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
    """Describe the prior of `vlm` and `reasoner`; subtract when it is read.

    Differences are taken in float32 and rounded once, to `dtype`.

    Args:
        vlm: Folder of the VLM.
        reasoner: Folder of the reasoning model: text-only, or a VLM, whose language model counts.
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
    import torch

    if variant not in VARIANTS:
        raise UserError(f"no prior is called {variant!r}; choose {', '.join(VARIANTS)}")
    if dtype not in ("bfloat16", "float32"):
        raise UserError(f"a prior is stored in bfloat16 or float32, not {dtype}")
    if (base is None) == (variant == "reasoner-base"):
        raise UserError("a base model goes with the prior `reasoner-base`, and only with it")
    pairing = pair(vlm, reasoner)
    refuse_unpaired(pairing, roles)
    weights = {weight.name: weight for weight in pairing.weights if weight.role in roles}
    from_vlm, from_reasoner = Checkpoint(vlm), Checkpoint(reasoner)
    from_base = open_base(base, weights.values()) if base is not None else None
    before = from_vlm if from_base is None else from_base

    def blocks(name: str) -> "Iterator[torch.Tensor]":
        weight = weights[name]
        key = weight.vlm_key if from_base is None else weight.llm_key
        sides = [from_reasoner.blocks(weight.llm_key), before.blocks(key)]
        if variant == "negated":
            sides.reverse()
        pairs = zip(*sides, strict=True)
        if variant not in ("random", "shuffled"):
            return _differences(pairs, dtype)
        delta = torch.cat([*_differences(pairs, "float32")]).view(weight.shape)
        return iter([_control(delta, variant, name, seed).to(getattr(torch, dtype))])

    def read(name: str) -> "torch.Tensor":
        return torch.cat([block.flatten() for block in blocks(name)]).view(weights[name].shape)

    parents = [parent("vlm", vlm), parent("reasoner", reasoner)]
    if base is not None:
        parents.append(parent("base", base))
    return Prior(
        variant=variant,
        family=pairing.family.name,
        parents=tuple(parents),
        dtype=dtype,
        seed=seed,
        shapes={name: weight.shape for name, weight in weights.items()},
        read=read,
        blocks=blocks,
        warnings=tuple(compatibility.warnings(vlm, reasoner)),
    )


def open_base(folder: Path | str, weights: Iterable[Weight], finite: bool = False) -> Checkpoint:
    """Open the model that a reasoner was trained from, text-only or a VLM; see `Checkpoint`.

    Its tensors go by the names that they have in the reasoner.

    Raises:
        UserError: it lacks one of `weights`, or has it in another shape.
    """
    weights, base = list(weights), Checkpoint(folder, finite)
    keys = language_keys(folder, shapes(folder))
    base.entries = {
        one.llm_key: base.entries[keys[one.name]] for one in weights if one.name in keys
    }
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


def _differences(
    pairs: "Iterable[tuple[torch.Tensor, torch.Tensor]]", dtype: str
) -> "Iterator[torch.Tensor]":
    """First − second of each pair of blocks, taken in float32 and rounded once."""
    import torch

    kind = getattr(torch, dtype)
    for a, b in pairs:
        a, b = wide(a, b) if a.dtype == kind else (a.float(), b.float())
        yield (a - b).to(kind)


def _control(delta: "torch.Tensor", variant: Variant, name: str, seed: int) -> "torch.Tensor":
    """What stands in for Δ, to show that its direction matters."""
    import torch

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


@dataclass(frozen=True)
class Error:
    """What a prior of rank k lost: ‖Δ_k − Δ‖ / ‖Δ‖, of what is stored."""

    total: float
    """Over all tensors together."""
    tensors: dict[str, float]
    """Canonical name → of that tensor alone; norms and biases are kept whole, but for rounding."""


def save(
    prior: Prior, out: Path | str, overwrite: bool = False, rank: int | None = None
) -> Error | None:
    """Write `prior` into the folder `out`, a few tensors in memory at a time.

    Args:
        prior: What `build` made.
        out: New folder.
        overwrite: Whether it may be replaced.
        rank: Store each matrix as two factors of this rank, where that takes less room.

    Returns:
        With `rank`, what that lost.
    """
    if rank is not None and rank < 1:
        raise UserError(f"the rank is {rank}; give 1 or more, or none for the whole prior")
    metadata = {
        "variant": prior.variant,
        "family": prior.family,
        "roles": " ".join(dict.fromkeys(prior.role(name) for name in prior.shapes)),
        "seed": str(prior.seed),
        "parents": json.dumps([vars(one) for one in prior.parents]),
        "warnings": json.dumps(prior.warnings),
    }
    settings: dict[str, Any] = {"dtype": prior.dtype, "rank": rank}
    settings |= {key: metadata[key] for key in ("variant", "family", "roles", "seed")}
    lost: dict[str, tuple[float, float]] = {}
    with written_aside(out, overwrite) as aside:
        if rank is None:
            blocks = prior.blocks or (lambda name: [prior.read(name)])
            write_stream(aside / FILE, prior.shapes.items(), prior.dtype, blocks, metadata)
        else:
            lost = _save_factors(prior, aside / FILE, metadata, rank)
        error = _error(lost) if lost else None
        coverage = {"relative_error": vars(error)} if error else None
        made = Made(
            method="prior",
            name=Path(out).name,
            parents=prior.parents,
            settings=settings,
            coverage=coverage,
        )
        write_made(aside, made)
    return error


def _save_factors(
    prior: Prior, path: Path, metadata: dict[str, str], rank: int
) -> dict[str, tuple[float, float]]:
    """Write factors of `prior`; name → squared norms of what was lost and of Δ."""
    import torch

    kind = getattr(torch, prior.dtype)
    lost: dict[str, tuple[float, float]] = {}

    def factors(name: str) -> "list[torch.Tensor]":
        delta = prior.read(name).float()
        if name in low:
            stored = factorise(delta, rank, stream(name, prior.seed)).to(kind)
            back = multiply_out(stored, prior.shapes[name]).to(kind)
        else:
            stored = back = delta.to(kind)
        lost[name] = (float((back.float() - delta).norm()) ** 2, float(delta.norm()) ** 2)
        return [stored]

    low = {
        name: (rank, sum(shape))
        for name, shape in prior.shapes.items()
        if len(shape) == 2 and rank * sum(shape) < shape[0] * shape[1]
    }
    metadata = metadata | {"low_rank": json.dumps({name: prior.shapes[name] for name in low})}
    specs = [(name, low.get(name, shape)) for name, shape in prior.shapes.items()]
    # One at a time: a factorisation keeps all cores busy, and holds a tensor several times.
    write_stream(path, specs, prior.dtype, factors, metadata, workers=1)
    return lost


def _error(lost: dict[str, tuple[float, float]]) -> Error:
    def share(missing: float, whole: float) -> float:
        return (missing / whole) ** 0.5 if whole else 0.0

    missing, whole = (sum(part) for part in zip(*lost.values(), strict=True))
    return Error(share(missing, whole), {name: share(*both) for name, both in lost.items()})


def load(folder: Path | str) -> Prior:
    """Open a prior that `save` wrote; one of rank k gives whole matrices as well.

    Raises:
        UserError: the folder holds none, or a truncated one.
    """
    import torch

    path = Path(folder) / FILE
    if not path.is_file():
        raise UserError(
            f"there is no prior {folder}: it is one of {', '.join(VARIANTS)}, or a folder made "
            "with `driftbench prior`"
        )
    placed, metadata, _ = read_header(path)
    if not placed or not {"variant", "family", "parents", "seed"} <= metadata.keys():
        raise UserError(f"{path} was not written by `driftbench prior`")
    low = {name: tuple(of) for name, of in json.loads(metadata.get("low_rank", "{}")).items()}
    dtype = next(iter(placed.values())).dtype

    def read(name: str) -> "torch.Tensor":
        stored = read_tensor(path, placed[name])
        if name in low:
            stored = multiply_out(stored, low[name]).to(getattr(torch, dtype))
        return stored

    return Prior(
        variant=metadata["variant"],  # type: ignore[arg-type]
        family=metadata["family"],
        parents=tuple(Parent(**one) for one in json.loads(metadata["parents"])),
        dtype=dtype,
        seed=int(metadata["seed"]),
        shapes={name: low.get(name, entry.shape) for name, entry in placed.items()},
        read=read,
        warnings=tuple(json.loads(metadata.get("warnings", "[]"))),
    )


def fingerprint(folder: Path | str) -> str:
    """Return the digest of the prior in a folder."""
    path = Path(folder) / FILE
    return digests({path: read_header(path)[0]})[FILE]
