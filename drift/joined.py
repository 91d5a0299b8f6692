"""A prior joined to a live model by canonical name: which tensors are pulled, and their shards.

Under FSDP2 a process holds a part of each tensor, and the same part of its Δ; sums over whole
tensors are reduced over the processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from drift.anchor import LearntStrength, Toward
from drift.delta import Prior
from drift.families import Role, layer_and_role

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class Target:
    """One tensor to be pulled."""

    name: str
    layer: int | None
    role: Role
    param: "torch.nn.Parameter"
    delta: "torch.Tensor"
    """Δ, sharded as the parameter (this rank's part); on its device, or in host memory."""
    goal: "torch.Tensor | None"
    """The anchor's weights, where Δ is recomputed each step or the weights decay toward them."""
    numel: int
    """Of the whole tensor."""
    dd: float = 0.0
    """‖Δ‖², of the whole tensor."""
    start: float = 0.0
    """⟨w₀, Δ⟩, of the whole tensor."""
    pushed: float = 0.0
    """Sum of strengths since the last step, when the pull is applied per backward."""
    learnt: LearntStrength | None = None
    """Of the mode `project_learnt`."""
    last: "torch.Tensor | None" = None
    """The live Δ of the step before, which `learnt` needs."""
    against: float = 0.0
    """⟨g, w − A⟩ before the optimizer's step, for the anchor `spd`."""
    away: float = 0.0
    """‖w − A‖² then."""

    def fetch(self) -> "tuple[torch.Tensor, torch.Tensor | None]":
        """Δ and goal on the device of the parameter."""
        place = self.param.device
        goal = None if self.goal is None else self.goal.to(place, non_blocking=True)
        return self.delta.to(place, non_blocking=True), goal


def role_of(name: str) -> Role:
    """Role of a parameter of the decoder, which is a plain weight."""
    placed = layer_and_role(name)
    if placed is None:
        raise UserError(
            f"the decoder has a parameter {name}, which is no plain weight; quantised layers "
            "cannot be pulled, adapters (LoRA) by drift.adapter_injector.AdapterInjector"
        )
    return placed[1]


def wanted(
    params: "dict[str, torch.nn.Parameter]",
    modules: tuple[Role, ...],
    layers: tuple[int, ...] | None,
) -> list[str]:
    """Names in `params` of the chosen roles and layers."""
    names = []
    for name in params:
        role = role_of(name)
        placed = layer_and_role(name)
        layer = placed[0] if placed else None
        if role in modules and (layers is None or layer in layers):
            names.append(name)
    for role in modules:
        if not any(role_of(name) == role for name in names):
            raise UserError(
                f"no tensors of role {role!r} in layers {'all' if layers is None else list(layers)}"
            )
    refuse_absent(modules, layers, {(layer_and_role(name) or (None,))[0] for name in names})
    return names


def refuse_absent(
    modules: tuple[Role, ...], layers: tuple[int, ...] | None, present: set[int | None]
) -> None:
    """Stop when no role is to be pulled, or a layer of which nothing is `present`."""
    if not modules:
        raise UserError("modules is empty, so that nothing would be pulled; name some roles")
    absent = [layer for layer in layers or () if layer not in present]
    if absent:
        raise UserError(f"the model has no layers {absent} to be pulled")


def check(names: list[str], params: "dict[str, torch.nn.Parameter]", prior: Prior) -> None:
    """Stop when one wanted tensor would be left out."""
    missing = [name for name in names if name not in prior.shapes]
    if missing:
        raise UserError(
            f"the prior covers {len(names) - len(missing)} of {len(names)} wanted tensors, not "
            f"{', '.join(missing[:5])}; build it from this VLM with all the modules that are used"
        )
    unlike = [
        f"{name} ({list(prior.shapes[name])} against {list(params[name].shape)})"
        for name in names
        if tuple(prior.shapes[name]) != tuple(params[name].shape)
    ]
    if unlike:
        raise UserError(f"the prior has another shape than the model: {', '.join(unlike[:5])}")
    frozen = [name for name in names if not params[name].requires_grad]
    if frozen:
        raise UserError(
            f"{len(frozen)} wanted tensors are frozen and would never move "
            f"({', '.join(frozen[:5])}); train them or leave them out of modules"
        )


def make_target(
    name: str, param: "torch.nn.Parameter", prior: Prior, goals: Toward | None, offload: bool
) -> Target:
    """One tensor with its Δ and, of `goals`, its anchor: this rank's part, where it is kept."""
    delta = _placed(prior.read(name), param)
    goal = local_part(param).detach().clone() if goals == "start" else None
    if goals == "reasoner":
        goal = (local_part(param).detach().float() + delta.float()).to(param.dtype)
    if offload and param.device.type != "cpu":
        delta = delta.cpu().pin_memory()
        goal = None if goal is None else goal.cpu().pin_memory()
    placed = layer_and_role(name)
    layer = placed[0] if placed else None
    return Target(
        name=name,
        layer=layer,
        role=role_of(name),
        param=param,
        delta=delta,
        goal=goal,
        numel=param.numel(),
    )


def fetched(groups: list[list[Target]]) -> "Iterator[tuple[list[Target], list[Any]]]":
    """The targets of one layer after the other, with Δ and goal on their device.

    What lies in host memory is copied on a stream of its own, one layer ahead.
    """
    import torch

    if all(one.delta.device == one.param.device for group in groups for one in group):
        for group in groups:
            yield group, [target.fetch() for target in group]
        return
    device = groups[0][0].param.device
    side = torch.Stream(device=device)
    here = torch.accelerator.current_stream(device)

    def start(group: list[Target]) -> "tuple[list[Any], torch.Event]":
        with side:
            moved = [target.fetch() for target in group]
            return moved, side.record_event()

    ahead = start(groups[0])
    for i, group in enumerate(groups):
        near, done = ahead
        here.wait_event(done)
        for tensor in (one for pair in near for one in pair if one is not None):
            tensor.record_stream(here)
        if i + 1 < len(groups):
            ahead = start(groups[i + 1])
        yield group, near


def refuse_flat(model: "torch.nn.Module") -> None:
    """Stop at FSDP1."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise UserError(
            "FSDP1 flattens parameters, so no tensor can be told from another; set fsdp_version: 2"
        )


def is_sharded(tensor: "torch.Tensor") -> bool:
    """Whether a rank holds a part of it (FSDP2)."""
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def local_part(tensor: Any) -> "torch.Tensor":
    """This rank's part of `tensor`, sharing its memory."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def _placed(delta: "torch.Tensor", param: Any) -> "torch.Tensor":
    """`delta` on the device of `param`, and of it the part that this rank holds."""
    # Copied: what was read may be a view into a file, at an address that is no multiple of 64,
    # where the same sums round differently.
    delta = delta.to(param.device, copy=True)
    if not is_sharded(param):
        return delta
    from torch.distributed.tensor import distribute_tensor

    # Every rank has read the same bytes, so nothing needs to be sent.
    spread = distribute_tensor(delta, param.device_mesh, param.placements, src_data_rank=None)
    return spread.to_local().clone()


def totals(targets: list[Target], rows: "list[torch.Tensor]") -> list[list[float]]:
    """Sums over all ranks of each target's partial sums, with one reduction (per way of cutting).

    Args:
        targets: As many as rows.
        rows: Shape (sums,) each, of this rank's part of each target.
    """
    import torch

    table = torch.stack(rows)
    cuts: dict[Any, list[int]] = {}
    for i, target in enumerate(targets):
        # Plain tensors are whole on every rank and are not summed.
        if is_sharded(target.param):
            param: Any = target.param
            cuts.setdefault((param.device_mesh, param.placements), []).append(i)
    for (mesh, placements), members in cuts.items():
        part = table[members]
        for dim, placement in enumerate(placements):
            if placement.is_shard():
                torch.distributed.all_reduce(part, group=mesh.get_group(dim))
        table[members] = part
    return table.tolist()


def average_pushes(targets: list[Target]) -> None:
    """Under data parallelism each device pulled by its own gradient; what counts is the mean."""
    import torch

    if torch.distributed.is_initialized():
        device = targets[0].param.device
        pushes = torch.tensor([target.pushed for target in targets], device=device)
        torch.distributed.all_reduce(pushes)
        pushes /= torch.distributed.get_world_size()
        for target, push in zip(targets, pushes.tolist(), strict=True):
            target.pushed = push
