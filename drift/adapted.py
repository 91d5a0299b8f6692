"""The LoRA adapters of a live model as matrices: their names, their pull, where A may begin."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from drift.delta import Prior, stream
from drift.equations import exact_dtype
from drift.families import Role, decoder, layer_and_role
from drift.joined import refuse_absent
from drift.low_rank import factorise

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class Adapted:
    """One matrix W₀ + scale·B·A; `a` and `b` are live parameters."""

    name: str
    """Canonical, of the matrix."""
    layer: int | None
    role: Role
    a: "torch.nn.Parameter"
    """Shape (rank, in)."""
    b: "torch.nn.Parameter"
    """Shape (out, rank)."""
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return self.b.shape[0], self.a.shape[1]


def adapted(model: "torch.nn.Module") -> list[Adapted]:
    """The matrices of the language model that have a LoRA adapter.

    Raises:
        UserError: an adapter is more than the product B A, several lie on one module, or its
            factors are sharded.
    """
    from torch.distributed.tensor import DTensor

    stack, _ = decoder(model)
    found = []
    for path, module in stack.named_modules():
        layer: Any = module
        name = f"{path}.weight"
        placed = layer_and_role(name)
        if placed is None or not hasattr(layer, "lora_A"):
            continue
        if len(layer.lora_A) != 1 or layer.lora_variant:
            raise UserError(
                f"{path} has {len(layer.lora_A)} adapters, or one that is no plain LoRA (DoRA, "
                "KaSA, MiCA …); pull a single plain one"
            )
        (key,) = layer.lora_A
        a, b = layer.lora_A[key].weight, layer.lora_B[key].weight
        if isinstance(a, DTensor):
            raise UserError("adapters that are sharded (FSDP2) are not pulled; use DDP")
        found.append(
            Adapted(name=name, layer=placed[0], role=placed[1], a=a, b=b, scale=layer.scaling[key])
        )
    return found


def factor_pull(
    one: Adapted, delta: "torch.Tensor", live: bool = False
) -> "tuple[torch.Tensor, torch.Tensor, float]":
    """The gradient of ⟨W₀ + s·B·A, Δ⟩ by A and by B, and s⟨B·A, Δ⟩; float32.

    With `live`, Δ gives way to Δ − s·B·A, which is not written out.
    """
    a, b, s = one.a.detach().float(), one.b.detach().float(), one.scale
    delta = delta.to(a.device, non_blocking=True).float()
    to_a, to_b = b.T @ delta, delta @ a.T
    moved = moved_along(one, to_b)
    if live:
        to_a, to_b = to_a - s * (b.T @ b) @ a, to_b - s * b @ (a @ a.T)
    return s * to_a, s * to_b, moved


def within_reach(delta: "torch.Tensor", a: "torch.Tensor") -> float:
    """‖Δ‖² within the row space of A, for Δ of shape (out, in) and A of shape (rank, in)."""
    import torch

    rows = torch.linalg.qr(a.detach().float().T).Q
    part = delta.float() @ rows
    return inner([(part, part)])[0]


def start_along(
    model: "torch.nn.Module",
    prior: Prior,
    *,
    modules: tuple[Role, ...],
    layers: tuple[int, ...] | None = None,
    seed: int,
) -> None:
    """Turn each A to the leading right singular vectors of its Δ, one a row.

    B stays 0, so the model's function is unchanged.

    Args:
        model: With adapters that are to be pulled.
        prior: Δ.
        modules: Roles that are pulled; the adapters of others are left as they are.
        layers: Layers that are pulled, likewise; None for all.
        seed: Of the randomised decomposition; each tensor has its own stream.
    """
    import torch

    for one in pulled(adapted(model), prior, modules, layers):
        delta = prior.read(one.name).float()
        rank = one.a.shape[0]
        right = factorise(delta, rank, stream(one.name, seed))[:, delta.shape[0] :]
        # Orthonormal rows, also where Δ has fewer directions than there are rows.
        rows = torch.linalg.qr(right.T).Q.T
        with torch.no_grad():
            one.a.copy_(rows)


def pulled(
    everything: list[Adapted],
    prior: Prior,
    modules: tuple[Role, ...],
    layers: tuple[int, ...] | None,
) -> list[Adapted]:
    """Those of `everything` in the chosen roles and layers; stops when one would be left out."""
    targets = [
        one for one in everything if one.role in modules and (layers is None or one.layer in layers)
    ]
    empty = [role for role in modules if not any(one.role == role for one in targets)]
    if empty:
        raise UserError(
            f"no module of {', '.join(empty)} has an adapter in the layers that are pulled; leave "
            "it out of modules, or adapt it"
        )
    refuse_absent(modules, layers, {one.layer for one in targets})
    missing = [one.name for one in targets if one.name not in prior.shapes]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(targets)} adapted modules have no Δ ({', '.join(missing[:5])}"
            "); build the prior from this VLM with all the modules that are used"
        )
    unlike = [
        f"{one.name} ({list(prior.shapes[one.name])} against {list(one.shape)})"
        for one in targets
        if tuple(prior.shapes[one.name]) != one.shape
    ]
    if unlike:
        raise UserError(f"the prior has another shape than the model: {', '.join(unlike[:5])}")
    return targets


def moved_along(one: Adapted, to_b: "torch.Tensor") -> float:
    """s⟨B·A, Δ⟩, from ΔAᵀ."""
    return one.scale * inner([(one.b.detach().float(), to_b)])[0]


def inner(pairs: "list[tuple[torch.Tensor, torch.Tensor]]") -> list[float]:
    """⟨a, b⟩ of each pair, with sums in float64, fetched from the device at once."""
    import torch

    exact = exact_dtype(pairs[0][0].device)
    return torch.stack([(a * b).sum(dtype=exact) for a, b in pairs]).tolist()
