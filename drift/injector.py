"""Bias gradients along a prior Δ, once per optimizer step: DRIFT (arXiv 2510.15050).

`drift.equations` has them in the sign of a descent step: subtracting a multiple of Δ from the
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
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, get_args

from common.errors import UserError
from drift import experts
from drift.anchor import Anchor, LearntStrength, Toward, projection, refuse_anchor, selective_share
from drift.delta import Prior
from drift.equations import MODES, Buffers, Mode, dots, strength, subtract
from drift.families import DECODER_ROLES, Role, decoder
from drift.injector_log import Coverage, Log, ratio
from drift.joined import (
    Target,
    average_pushes,
    check,
    fetched,
    is_sharded,
    local_part,
    make_target,
    refuse_flat,
    role_of,
    totals,
    wanted,
)

if TYPE_CHECKING:
    import torch

When = Literal["step", "backward"]
WHENS: tuple[When, ...] = get_args(When)
Schedule = Literal["constant", "decay"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


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
        self._buffers = Buffers()
        refuse_flat(model)
        params = decoder(model)[1]
        names = wanted(params, modules, layers)
        prior = experts.fused(prior, names)
        check(names, params, prior)
        goals = toward if anchored else None
        self.targets = [make_target(name, params[name], prior, goals, offload) for name in names]
        if mode == "project_learnt":
            for target in self.targets:
                target.learnt = LearntStrength()
        self._groups = [list(group) for _, group in groupby(self.targets, lambda t: t.layer)]
        if when == "backward" and any(is_sharded(one.param) for one in self.targets):
            raise UserError("`when: backward` never fires on sharded (FSDP2) parameters; use step")
        for group, near in fetched(self._groups):
            rows = [
                dots([delta, local_part(target.param)], [(0, 0), (0, 1)], self._buffers)
                for target, (delta, _) in zip(group, near, strict=True)
            ]
            for target, (dd, start) in zip(group, totals(group, rows), strict=True):
                target.dd, target.start = dd, start
        self._everything = sum(
            p.numel() for name, p in params.items() if role_of(name) in DECODER_ROLES
        )
        self._hooks = [self._hook(t) for t in self.targets] if when == "backward" else []

    def coverage(self) -> Coverage:
        """What is reached."""
        inside = sum(one.numel for one in self.targets if one.role in DECODER_ROLES)
        return Coverage(
            tensors=len(self.targets),
            parameters=sum(target.numel for target in self.targets),
            decoder_share=inside / self._everything,
            by_role=dict(Counter(target.role for target in self.targets)),
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
            average_pushes(self.targets)
        log = Log()
        for group, near in fetched(self._groups):
            # The Δ to pull along: the stored one, or from where the weights are to the reasoner.
            along = [
                goal - local_part(target.param) if self.live else delta
                for target, (delta, goal) in zip(group, near, strict=True)
            ]
            rows = []
            for target, (delta, _), pull in zip(group, near, along, strict=True):
                measured = [local_part(target.param.grad), pull, local_part(target.param)]
                pairs = [(0, 0), (0, 1), (2, 1)]  # ‖Δ‖ is known
                if self.live:
                    measured, pairs = [*measured, delta], [(0, 0), (0, 1), (2, 3), (1, 1)]
                if self.live and target.last is not None:
                    measured, pairs = [*measured, target.last], [*pairs, (0, 4)]
                rows.append(dots(measured, pairs, self._buffers))
            sums = totals(group, rows)
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
                        subtract(local_part(target.param.grad), pull, push, self._buffers)
                log.add(target, gg=gg, gd=gd, dd=dd, push=push, moved=wd - target.start)
            if self.anchor == "spd":
                self._measure_anchor(group, near)
        learnt = [target.learnt.value for target in self.targets if target.learnt is not None]
        omega = {"omega": sum(learnt) / len(learnt)} if learnt else {}
        return {"alpha": alpha, "rho": log.rho(), **omega, **log.by_role()}

    def _measure_anchor(self, group: list[Target], near: list[Any]) -> None:
        """Note, with the gradients as the optimizer gets them, what `spd` judges its step by."""
        rows = []
        for target, (_, goal) in zip(group, near, strict=True):
            away = local_part(target.param) - goal
            measured = [local_part(target.param.grad), away]
            rows.append(dots(measured, [(0, 1), (1, 1)], self._buffers))
        for target, sums in zip(group, totals(group, rows), strict=True):
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
            for group, near in fetched(self._groups):
                shares = [lr * self.anchor_strength] * len(group)
                if self.anchor == "spd":
                    shares = self._selective_shares(group, near)
                for target, (_, goal), share in zip(group, near, shares, strict=True):
                    local_part(target.param).lerp_(goal, share)
                decayed += sum(shares)
        return {"decayed": decayed / len(self.targets)}

    def _selective_shares(self, group: list[Target], near: list[Any]) -> list[float]:
        rows = []
        for target, (_, goal) in zip(group, near, strict=True):
            rows.append(dots([local_part(target.param) - goal], [(0, 0)], self._buffers))
        return [
            selective_share(
                self.anchor_strength, gc=target.against, before=target.away, after=after
            )
            for target, (after,) in zip(group, totals(group, rows), strict=True)
        ]

    def _rho(self) -> float:
        """Displacement over everything, in a pass of its own."""
        moved = 0.0
        for group, near in fetched(self._groups):
            rows = [
                dots([local_part(target.param), delta], [(0, 1)], self._buffers)
                for target, (delta, _) in zip(group, near, strict=True)
            ]
            sums = totals(group, rows)
            moved += sum(wd - t.start for t, (wd,) in zip(group, sums, strict=True))
        return ratio(moved, sum(target.dd for target in self.targets))

    def memory(self) -> dict[str, int]:
        """Bytes of Δ, A and the Δ of the step before that this process holds, by place."""
        held = {"delta_bytes": 0, "delta_host_bytes": 0}
        for target in self.targets:
            for tensor in (target.delta, target.goal, target.last):
                if tensor is not None:
                    near = tensor.device == target.param.device
                    held["delta_bytes" if near else "delta_host_bytes"] += tensor.nbytes
        return held

    def _hook(self, target: Target) -> Any:
        def pull(grad: "torch.Tensor") -> "torch.Tensor":
            gg, gd = dots([grad, target.delta], [(0, 0), (0, 1)], self._buffers).tolist()
            push = strength(self.alpha, self.mode, gg, gd, target.dd)
            target.pushed += push
            return (grad.float() - push * target.delta.float()).to(grad.dtype)

        return target.param.register_hook(pull)

    def detach(self) -> None:
        """Take the hooks of `when: backward` off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
