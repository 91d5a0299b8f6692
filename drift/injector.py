"""Bias gradients along a prior Δ, once per optimizer step: DRIFT (arXiv 2510.15050).

`biased` holds the equations, in the sign of a descent step: subtracting a multiple of Δ from the
gradient moves the weights toward the reasoner. The paper writes `g + α·scale(g, Δ)` with α = −1,
which is the same thing with α = 1 here. `Injector` decides who gets which Δ, and is called on the
accumulated and reduced gradient, before clipping, so that neither the number of devices nor the
number of micro-batches changes the method. In a loop of one's own:

    injector = Injector(model, prior.build(vlm, reasoner))
    for batch in batches:
        model(**batch).loss.backward()
        injector.apply()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

Adapters (LoRA) are refused here: the strength of the pull is measured against the gradient of the
whole weight, which an adapter never has. A pull on its factors is another method, and has an
injector of its own, `drift.adapter_injector`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, get_args

from common.errors import UserError
from drift.anchor import (
    Anchor,
    LearntStrength,
    Toward,
    projection,
    refuse_anchor,
    selective_share,
)
from drift.delta import Prior
from drift.families import Role, decoder, layer_and_role

if TYPE_CHECKING:
    import torch

Mode = Literal[
    "absolute", "grad_norm", "adaptive", "adaptive_opposite", "project", "project_learnt"
]
MODES: tuple[Mode, ...] = get_args(Mode)
When = Literal["step", "backward"]
WHENS: tuple[When, ...] = get_args(When)
Schedule = Literal["constant", "decay"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

TINY = 1e-30
"""Keeps a zero norm from dividing; far below any norm that float32 can resolve."""
BLOCK = 1 << 20
"""Entries worked on at a time, so that what is read once is still in the cache when it is used."""
BLOCK_ON_DEVICE = 1 << 22
ROW = 1024
"""Products that are summed in float32; their sums are summed in float64."""


def strength(alpha: float, mode: Mode, gg: float, gd: float, dd: float) -> float:
    """The multiple of Δ that is subtracted from a gradient.

    Args:
        alpha: Strength α ≥ 0.
        mode: `absolute`: α; `grad_norm`: α‖g‖/‖Δ‖; `adaptive`: that times (1 + cos(g, Δ))/2, the
            published rule, which cancels a task step that leads away from the reasoner and adds
            nothing to one that leads toward it; `adaptive_opposite`: times (1 − cos(g, Δ))/2;
            `project`: α of the part of the gradient that leads away, all of it with α = 1, and
            nothing where none does; `project_learnt`: the same, the caller having multiplied α by
            the tensor's `drift.anchor.LearntStrength`.
        gg: ‖g‖².
        gd: ⟨g, Δ⟩.
        dd: ‖Δ‖².

    Source: arXiv 2510.15050v2, section 3.3, equation 3 and the three variants below it; of
    `project` and `project_learnt` arXiv 2502.15895 (DiGraP).
    """
    if mode == "absolute":
        return alpha
    if mode in ("project", "project_learnt"):
        return alpha * projection(gd, dd)
    norms = max((gg * dd) ** 0.5, TINY)
    scale = alpha * gg**0.5 / max(dd**0.5, TINY)
    if mode == "grad_norm":
        return scale
    sign = 1 if mode == "adaptive" else -1
    cosine = min(1.0, max(-1.0, gd / norms))
    return scale * (1 + sign * cosine) / 2


def biased(grad: "torch.Tensor", delta: "torch.Tensor", alpha: float, mode: Mode) -> "torch.Tensor":
    """The gradient with the pull toward the reasoner added; `grad` itself is left alone.

    Args:
        grad: Gradient of one tensor, any floating dtype.
        delta: Δ of the same shape, any floating dtype.
        alpha: Strength α ≥ 0.
        mode: See `strength`.

    Returns:
        `grad − strength · delta`, in the dtype and shape of `grad`; norms and cosine are taken in
        float32.
    """
    scale = strength(alpha, mode, dot(grad, grad), dot(grad, delta), dot(delta, delta))
    return (grad.float() - scale * delta.float()).to(grad.dtype)


def dot(a: "torch.Tensor", b: "torch.Tensor") -> float:
    """⟨a, b⟩, products in float32, sums in float64."""
    return float(_dots([a, b], [(0, 1)], _Buffers())[0])


class _Buffers:
    """Float32 room for one block each, by number; kept, as asking anew costs more than the sums."""

    def __init__(self) -> None:
        self.held: dict[int, torch.Tensor] = {}

    def get(self, number: int, size: int, device: "torch.device") -> "torch.Tensor":
        import torch

        if number not in self.held or self.held[number].device != device:
            self.held[number] = torch.empty(_block(device), device=device)
        return self.held[number][:size]


def _dots(
    tensors: "list[torch.Tensor]", pairs: list[tuple[int, int]], buffers: _Buffers
) -> "torch.Tensor":
    """Inner products of `pairs` of tensors of one size, each read once.

    A step at a rate of 1e-6 changes ⟨w, Δ⟩ in the sixth digit or beyond, and a sum of millions of
    products in float32 has no more than that.

    Returns:
        Shape (pairs,), float64.
    """
    import torch

    device = tensors[0].device
    exact = exact_dtype(device)
    total = torch.zeros(len(pairs), dtype=exact, device=device)
    room = min(_block(device), -(-tensors[0].numel() // ROW) * ROW)
    product = buffers.get(-1, room, device)
    for parts in _blocks(tensors, buffers):
        size = len(parts[0])
        product[size:] = 0
        for i, (a, b) in enumerate(pairs):
            torch.mul(parts[a], parts[b], out=product[:size])
            total[i] += product.view(-1, ROW).sum(-1).sum(dtype=exact)
    return total


def exact_dtype(device: "torch.device") -> "torch.dtype":
    """What to sum in: float64, which Metal does not have."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def _subtract(grad: "torch.Tensor", delta: "torch.Tensor", scale: float, buffers: _Buffers) -> None:
    """`grad -= scale · delta`, in place."""
    if not grad.is_contiguous():
        grad.sub_(delta, alpha=scale)
        return
    start, flat = 0, grad.view(-1)
    for (part,) in _blocks([delta], buffers):
        flat[start : start + len(part)].sub_(part, alpha=scale)
        start += len(part)


def _block(device: "torch.device") -> int:
    return BLOCK if device.type == "cpu" else BLOCK_ON_DEVICE


def _blocks(tensors: "list[torch.Tensor]", buffers: _Buffers) -> "Iterator[list[torch.Tensor]]":
    """The same stretch of each tensor, flat and in float32, one stretch after the other.

    What is not float32 is converted in a buffer that the next stretch overwrites.
    """
    import torch

    size = tensors[0].numel()
    step = _block(tensors[0].device)
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    for start in range(0, size, step):
        parts = [one[start : start + step] for one in flat]
        yield [
            part
            if part.dtype == torch.float32
            else buffers.get(i, len(part), part.device).copy_(part)
            for i, part in enumerate(parts)
        ]


@dataclass(kw_only=True)
class _Target:
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


@dataclass(frozen=True)
class Coverage:
    """What share of a decoder the method reaches."""

    tensors: int
    parameters: int
    decoder_share: float
    """Of the decoder's parameters (embeddings and head not counted)."""
    by_role: dict[str, int]
    """Tensors of each role."""

    def line(self) -> str:
        """One line for people."""
        roles = ", ".join(f"{count} {role}" for role, count in self.by_role.items())
        return (
            f"{self.tensors} tensors ({roles}), {self.parameters:,} parameters, "
            f"{self.decoder_share:.1%} of the decoder"
        )


class Injector:
    """Who gets which Δ: a prior joined to a live model by canonical name."""

    def __init__(
        self,
        model: "torch.nn.Module",
        prior: Prior,
        alpha: float = 1.0,
        mode: Mode = "grad_norm",
        modules: tuple[Role, ...] = ("attention", "mlp"),
        layers: tuple[int, ...] | None = None,
        when: When = "step",
        schedule: Schedule = "constant",
        stop_rho: float | None = None,
        live: bool = False,
        offload: bool = False,
        toward: Toward = "reasoner",
        anchor: Anchor | None = None,
        anchor_strength: float = 0.0,
    ) -> None:
        """Join `prior` to `model`, as it is now: wrapped and sharded, still at its first weights.

        Args:
            model: A VLM or text-only model, plain, under DDP, or under FSDP2.
            prior: Δ.
            alpha: Strength; 0 measures and changes nothing; at most 1 with `project`.
            mode: See `strength`.
            modules: Roles that are pulled.
            layers: Layers that are pulled, None for all.
            when: `step`: in `apply`, once per optimizer step. `backward`: in a tensor hook, once
                per micro-batch and device, as published; kept for comparison.
            schedule: `constant`, or `decay`: α falls linearly to 0 over the run.
            stop_rho: Pull only while the displacement ρ is below this.
            live: Recompute Δ each step as A − current weights. Costs a second copy, and with
                `project_learnt` a third. ρ is measured along the first Δ all the same.
            offload: Keep Δ in pinned host memory and fetch it layer by layer in each step, the next
                layer while the current one is worked on. Same numbers; on a CPU nothing changes.
            toward: What A is, for `live` and `anchor`: the `reasoner`, or the weights at the
                `start`.
            anchor: What `settle` does to the weights after the optimizer's step: `l2_sp`, `spd`
                (see `drift.anchor`), or None for nothing. Costs a copy of A, which `live` shares.
            anchor_strength: λ of `anchor`.

        Raises:
            UserError: a wanted tensor has no Δ, another shape, no gradient, or hides in a wrapper
                that cannot be edited.
        """
        if alpha < 0:
            raise UserError(f"alpha is {alpha}; to push away use the prior `negated`")
        if mode not in MODES or when not in WHENS or schedule not in SCHEDULES:
            raise UserError(
                f"mode {mode!r}, when {when!r}, schedule {schedule!r}: choose from "
                f"{', '.join(MODES)}; {', '.join(WHENS)}; {', '.join(SCHEDULES)}"
            )
        refuse_anchor(
            mode=mode,
            alpha=alpha,
            live=live,
            toward=toward,
            anchor=anchor,
            anchor_strength=anchor_strength,
        )
        anchored = live or anchor is not None
        if anchored and toward == "reasoner" and prior.variant != "reasoner-vlm":
            raise UserError(f"a live prior is reasoner − weights, there is none of {prior.variant}")
        more = offload or schedule != "constant" or stop_rho is not None
        if when == "backward" and (more or anchored or mode == "project_learnt"):
            raise UserError(
                "`when: backward` is the published form: a fixed prior and a constant alpha; take "
                "`when: step` for live, alpha_schedule, stop_rho, offload, anchor and "
                "project_learnt"
            )
        self.alpha, self.mode, self.when = alpha, mode, when
        self.schedule, self.stop_rho, self.live = schedule, stop_rho, live
        self.anchor, self.anchor_strength = anchor, anchor_strength
        self._buffers = _Buffers()
        _refuse_flat(model)
        params = decoder(model)[1]
        names = _wanted(params, modules, layers)
        _check(names, params, prior)
        goals = toward if anchored else None
        self.targets = [_target(name, params[name], prior, goals, offload) for name in names]
        if mode == "project_learnt":
            for target in self.targets:
                target.learnt = LearntStrength()
        self._groups = [list(group) for _, group in groupby(self.targets, lambda t: t.layer)]
        if when == "backward" and any(_is_sharded(one.param) for one in self.targets):
            raise UserError("`when: backward` never fires on sharded (FSDP2) parameters; use step")
        for group, fetched in self._fetched():
            rows = [
                _dots([delta, local_part(target.param)], [(0, 0), (0, 1)], self._buffers)
                for target, (delta, _) in zip(group, fetched, strict=True)
            ]
            for target, (dd, start) in zip(group, _totals(group, rows), strict=True):
                target.dd, target.start = dd, start
        self._everything = sum(
            p.numel() for name, p in params.items() if _role(name) in ("attention", "mlp", "norm")
        )
        self._hooks = [self._hook(t) for t in self.targets] if when == "backward" else []

    def coverage(self) -> Coverage:
        """What is reached."""
        parameters = sum(target.numel for target in self.targets)
        return Coverage(
            len(self.targets),
            parameters,
            parameters / self._everything,
            dict(Counter(target.role for target in self.targets)),
        )

    def alpha_at(self, progress: float) -> float:
        """α after the share `progress` (0 … 1) of the run."""
        return self.alpha * (1 - progress) if self.schedule == "decay" else self.alpha

    def apply(self, progress: float = 0.0, lr: float = 1.0) -> dict[str, Any]:
        """Edit the gradients in place, and say what was done.

        Args:
            progress: Share of the run that is over, for the schedule.
            lr: Step size of the step that follows, which `project_learnt` learns by; any constant
                will do where it does not change.

        Returns:
            `alpha` in force, `rho` = ⟨w − w₀, Δ⟩/‖Δ‖² over everything, and per role the mean
            cosine of gradient and Δ (`cos`), the norm of what was added over that of the gradient
            (`ratio`) and `rho`; with `project_learnt` the mean of all ω, `omega`.

        Raises:
            UserError: a target has no gradient.
        """
        import torch

        bare = [target.name for target in self.targets if target.param.grad is None]
        if bare:
            raise UserError(
                f"{len(bare)} tensors got no gradient and cannot be pulled ({', '.join(bare[:5])})"
            )
        with torch.no_grad():
            return self._apply(progress, lr)

    def _apply(self, progress: float, lr: float) -> dict[str, Any]:
        alpha = self.alpha_at(progress)
        if self.stop_rho is not None and self._rho() >= self.stop_rho:
            alpha = 0.0
        if self.when == "backward":
            _average_pushes(self.targets)
        log = _Log()
        for group, fetched in self._fetched():
            # The Δ to pull along: the stored one, or from where the weights are to the reasoner.
            along = [
                goal - local_part(target.param) if self.live else delta
                for target, (delta, goal) in zip(group, fetched, strict=True)
            ]
            rows = []
            for target, (delta, _), pull in zip(group, fetched, along, strict=True):
                measured = [local_part(target.param.grad), pull, local_part(target.param)]
                pairs = [(0, 0), (0, 1), (2, 1)]  # ‖Δ‖ is known
                if self.live:
                    measured, pairs = [*measured, delta], [(0, 0), (0, 1), (2, 3), (1, 1)]
                if self.live and target.last is not None:
                    measured, pairs = [*measured, target.last], [*pairs, (0, 4)]
                rows.append(_dots(measured, pairs, self._buffers))
            sums = _totals(group, rows)
            for target, pull, (gg, gd, wd, *live) in zip(group, along, sums, strict=True):
                dd = live[0] if live else target.dd
                if self.when == "backward":
                    push, target.pushed = target.pushed, 0.0
                    # The gradient was edited as it came: take the pull off again to see the
                    # task's own.
                    gg, gd = gg + 2 * push * gd + push * push * dd, gd + push * dd
                else:
                    share = alpha
                    if target.learnt is not None:
                        share *= target.learnt.learn(live[-1] if live else gd)
                        target.learnt.per_unit = lr * alpha * projection(gd, dd)
                        target.last = pull if live else None
                    push = strength(share, self.mode, gg, gd, dd) if share else 0.0
                    if push:
                        _subtract(local_part(target.param.grad), pull, push, self._buffers)
                log.add(target, gg=gg, gd=gd, dd=dd, push=push, moved=wd - target.start)
            if self.anchor == "spd":
                self._measure_anchor(group, fetched)
        learnt = [target.learnt.value for target in self.targets if target.learnt is not None]
        omega = {"omega": sum(learnt) / len(learnt)} if learnt else {}
        return {"alpha": alpha, "rho": log.rho(), **omega, **log.by_role()}

    def _measure_anchor(self, group: list[_Target], fetched: list[Any]) -> None:
        """Note, with the gradients as the optimizer gets them, what `spd` judges its step by."""
        rows = []
        for target, (_, goal) in zip(group, fetched, strict=True):
            away = local_part(target.param) - goal
            measured = [local_part(target.param.grad), away]
            rows.append(_dots(measured, [(0, 1), (1, 1)], self._buffers))
        for target, sums in zip(group, _totals(group, rows), strict=True):
            target.against, target.away = sums

    def settle(self, lr: float) -> dict[str, float]:
        """Let the weights decay toward A, after the optimizer's step; without `anchor` do nothing.

        `l2_sp`: w ← w − lr · λ · (w − A). `spd`: w ← w − s · (w − A), with s each tensor's
        `drift.anchor.selective_share`.

        Args:
            lr: Step size of the step that was taken.

        Returns:
            `decayed`, the mean over tensors of the share of w − A that was taken off.
        """
        import torch

        if self.anchor is None:
            return {}
        decayed = 0.0
        with torch.no_grad():
            for group, fetched in self._fetched():
                shares = [lr * self.anchor_strength] * len(group)
                if self.anchor == "spd":
                    shares = self._selective_shares(group, fetched)
                for target, (_, goal), share in zip(group, fetched, shares, strict=True):
                    local_part(target.param).lerp_(goal, share)
                decayed += sum(shares)
        return {"decayed": decayed / len(self.targets)}

    def _selective_shares(self, group: list[_Target], fetched: list[Any]) -> list[float]:
        rows = []
        for target, (_, goal) in zip(group, fetched, strict=True):
            rows.append(_dots([local_part(target.param) - goal], [(0, 0)], self._buffers))
        return [
            selective_share(
                self.anchor_strength, gc=target.against, before=target.away, after=after
            )
            for target, (after,) in zip(group, _totals(group, rows), strict=True)
        ]

    def _rho(self) -> float:
        """Displacement over everything, in a pass of its own."""
        moved = 0.0
        for group, fetched in self._fetched():
            rows = [
                _dots([local_part(target.param), delta], [(0, 1)], self._buffers)
                for target, (delta, _) in zip(group, fetched, strict=True)
            ]
            sums = _totals(group, rows)
            moved += sum(wd - t.start for t, (wd,) in zip(group, sums, strict=True))
        return _ratio(moved, sum(target.dd for target in self.targets))

    def _fetched(self) -> "Iterator[tuple[list[_Target], list[Any]]]":
        """The targets of one layer after the other, with Δ and goal on their device.

        What lies in host memory is copied on a stream of its own, one layer ahead.
        """
        import torch

        if all(target.delta.device == target.param.device for target in self.targets):
            for group in self._groups:
                yield group, [target.fetch() for target in group]
            return
        device = self.targets[0].param.device
        side = torch.Stream(device=device)
        here = torch.accelerator.current_stream(device)

        def start(group: list[_Target]) -> "tuple[list[Any], torch.Event]":
            with side:
                moved = [target.fetch() for target in group]
                return moved, side.record_event()

        ahead = start(self._groups[0])
        for i, group in enumerate(self._groups):
            fetched, done = ahead
            here.wait_event(done)
            for tensor in (one for pair in fetched for one in pair if one is not None):
                tensor.record_stream(here)
            if i + 1 < len(self._groups):
                ahead = start(self._groups[i + 1])
            yield group, fetched

    def memory(self) -> dict[str, int]:
        """Bytes of Δ, A and the Δ of the step before that this process holds, by place."""
        held = {"delta_bytes": 0, "delta_host_bytes": 0}
        for target in self.targets:
            for tensor in (target.delta, target.goal, target.last):
                if tensor is not None:
                    near = tensor.device == target.param.device
                    held["delta_bytes" if near else "delta_host_bytes"] += tensor.nbytes
        return held

    def _hook(self, target: _Target) -> Any:
        def pull(grad: "torch.Tensor") -> "torch.Tensor":
            gg, gd = _dots([grad, target.delta], [(0, 0), (0, 1)], self._buffers).tolist()
            push = strength(self.alpha, self.mode, gg, gd, target.dd)
            target.pushed += push
            return (grad.float() - push * target.delta.float()).to(grad.dtype)

        return target.param.register_hook(pull)

    def detach(self) -> None:
        """Take the hooks of `when: backward` off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


class _Log:
    """Sums per role over the tensors of one step."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}

    def add(
        self, target: _Target, gg: float, gd: float, dd: float, push: float, moved: float
    ) -> None:
        sums = self.sums.setdefault(target.role, [0.0] * 6)
        cosine = _ratio(gd, (max(gg, 0.0) * dd) ** 0.5)
        for i, value in enumerate((1, cosine, gg, push * push * dd, moved, target.dd)):
            sums[i] += value

    def rho(self) -> float:
        return _ratio(*(sum(sums[i] for sums in self.sums.values()) for i in (4, 5)))

    def by_role(self) -> dict[str, dict[str, float]]:
        return {
            role: {
                "cos": cosine / count,
                "ratio": _ratio(pushed, gg) ** 0.5,
                "rho": _ratio(moved, dd),
            }
            for role, (count, cosine, gg, pushed, moved, dd) in self.sums.items()
        }


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


def _role(name: str) -> Role:
    placed = layer_and_role(name)
    if placed is None:
        raise UserError(
            f"the decoder has a parameter {name}, which is no plain weight; quantised layers "
            "cannot be pulled, adapters (LoRA) by drift.adapter_injector.AdapterInjector"
        )
    return placed[1]


def _wanted(
    params: "dict[str, torch.nn.Parameter]",
    modules: tuple[Role, ...],
    layers: tuple[int, ...] | None,
) -> list[str]:
    """Names in `params` of the chosen roles and layers."""
    names = []
    for name in params:
        role = _role(name)
        placed = layer_and_role(name)
        layer = placed[0] if placed else None
        if role in modules and (layers is None or layer in layers):
            names.append(name)
    for role in modules:
        if not any(_role(name) == role for name in names):
            raise UserError(
                f"no tensors of role {role!r} in layers {'all' if layers is None else list(layers)}"
            )
    present = {(layer_and_role(name) or (None,))[0] for name in params}
    absent = [layer for layer in layers or () if layer not in present]
    if absent:
        raise UserError(f"the model has no layers {absent}")
    return names


def _check(names: list[str], params: "dict[str, torch.nn.Parameter]", prior: Prior) -> None:
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


def _target(
    name: str, param: "torch.nn.Parameter", prior: Prior, goals: Toward | None, offload: bool
) -> _Target:
    delta = _placed(prior.read(name), param)
    goal = local_part(param).detach().clone() if goals == "start" else None
    if goals == "reasoner":
        goal = (local_part(param).detach().float() + delta.float()).to(param.dtype)
    if offload and param.device.type != "cpu":
        delta = delta.cpu().pin_memory()
        goal = None if goal is None else goal.cpu().pin_memory()
    placed = layer_and_role(name)
    layer = placed[0] if placed else None
    return _Target(
        name=name,
        layer=layer,
        role=_role(name),
        param=param,
        delta=delta,
        goal=goal,
        numel=param.numel(),
    )


def _refuse_flat(model: "torch.nn.Module") -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise UserError(
            "FSDP1 flattens parameters, so no tensor can be told from another; set fsdp_version: 2"
        )


def _is_sharded(tensor: "torch.Tensor") -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def local_part(tensor: Any) -> "torch.Tensor":
    """This rank's part of `tensor`, sharing its memory."""
    return tensor.to_local() if _is_sharded(tensor) else tensor


def _placed(delta: "torch.Tensor", param: Any) -> "torch.Tensor":
    """`delta` on the device of `param`, and of it the part that this rank holds."""
    # Copied: what was read may be a view into a file, at an address that is no multiple of 64,
    # where the same sums round differently.
    delta = delta.to(param.device, copy=True)
    if not _is_sharded(param):
        return delta
    from torch.distributed.tensor import distribute_tensor

    # Every rank has read the same bytes, so nothing needs to be sent.
    spread = distribute_tensor(delta, param.device_mesh, param.placements, src_data_rank=None)
    return spread.to_local().clone()


def _totals(targets: list[_Target], rows: "list[torch.Tensor]") -> list[list[float]]:
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
        if _is_sharded(target.param):
            param: Any = target.param
            cuts.setdefault((param.device_mesh, param.placements), []).append(i)
    for (mesh, placements), members in cuts.items():
        part = table[members]
        for dim, placement in enumerate(placements):
            if placement.is_shard():
                torch.distributed.all_reduce(part, group=mesh.get_group(dim))
        table[members] = part
    return table.tolist()


def _average_pushes(targets: list[_Target]) -> None:
    """Under data parallelism each device pulled by its own gradient; what counts is the mean."""
    import torch

    if torch.distributed.is_initialized():
        device = targets[0].param.device
        pushes = torch.tensor([target.pushed for target in targets], device=device)
        torch.distributed.all_reduce(pushes)
        pushes /= torch.distributed.get_world_size()
        for target, push in zip(targets, pushes.tolist(), strict=True):
            target.pushed = push


def refuse_lost_steps(params: "list[torch.nn.Parameter]", lr: float) -> None:
    """Stop when bfloat16 weights would swallow their updates.

    An Adam step is about `lr` per weight. bfloat16 keeps 8 bits, so a step below 2⁻⁹ of a weight
    rounds away.

    Raises:
        UserError: more than half of the first bfloat16 tensor cannot move.
    """
    import torch

    for param in params:
        if param.dtype == torch.bfloat16:
            typical = float(local_part(param).detach().float().abs().median())
            if lr < typical * 2**-9:
                raise UserError(
                    f"a step of {lr:g} is lost on bfloat16 weights of {typical:.2g} (their "
                    f"resolution is {typical * 2**-8:.1g}); keep float32 master weights "
                    "(dtype: float32, or bfloat16 through the recipe)"
                )
            return
