"""DRIFT on LoRA adapters: the pull along Δ, carried to the two factors of each adapted matrix.

An adapted matrix is W = W₀ + s·B·A with W₀ frozen, so that a pull of k·Δ on the gradient of W is,
by the chain rule, one of k·s·BᵀΔ on that of A and of k·s·ΔAᵀ on that of B. The gradient of W never
exists, so k is taken from the norms of the factors' gradients: another method than the paper's,
derived in docs/drift_with_adapters.md. Used as `drift.injector.Injector` is:

    model = peft.get_peft_model(vlm, peft.LoraConfig(r=64, target_modules=…))
    injector = AdapterInjector(model, prior.build(vlm, reasoner))
"""

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from drift.adapted import adapted, factor_pull, inner, moved_along, pulled, within_reach
from drift.anchor import refuse_anchor
from drift.delta import Prior
from drift.equations import MODES, Mode, strength
from drift.families import DECODER_ROLES, Role, decoder, layer_and_role, shape_of
from drift.injector import SCHEDULES, Schedule
from drift.injector_log import Coverage, ratio

if TYPE_CHECKING:
    import torch

FACTOR_MODES: tuple[Mode, ...] = tuple(mode for mode in MODES if mode != "project_learnt")
"""The last learns from the Δ of the step before, which factors that turn do not keep."""


@dataclass(frozen=True)
class AdapterCoverage(Coverage):
    """What share of a decoder is adapted and pulled; `tensors` are adapted modules."""

    reach: float
    """Share of ‖Δ‖² in the row spaces of A as they began: what B alone can go along."""

    def line(self) -> str:
        """One line for people."""
        roles = ", ".join(f"{count} {role}" for role, count in self.by_role.items())
        return (
            f"adapters on {self.tensors} modules ({roles}), which hold {self.decoder_share:.1%} of "
            f"the decoder; {self.reach:.1%} of ‖Δ‖² is within their reach at the start"
        )


class AdapterInjector:
    """Who gets which Δ: a prior joined to the adapters of a live model by canonical name."""

    def __init__(
        self,
        model: "torch.nn.Module",
        prior: Prior,
        *,
        alpha: float = 1.0,
        mode: Mode = "grad_norm",
        modules: tuple[Role, ...] = ("attention", "mlp"),
        layers: tuple[int, ...] | None = None,
        schedule: Schedule = "constant",
        stop_rho: float | None = None,
        live: bool = False,
        offload: bool = False,
    ) -> None:
        """Join `prior` to the adapters of `model`, still at their first weights.

        Args:
            model: A VLM or text-only model with LoRA adapters, plain or under DDP.
            prior: Δ.
            alpha: Strength; 0 measures and changes nothing.
            mode: See `drift.equations.strength`.
            modules: Roles that are pulled.
            layers: Layers that are pulled, None for all.
            schedule: `constant`, or `decay`: α falls linearly to 0 over the run.
            stop_rho: Pull only while the displacement ρ is below this.
            live: Pull along Δ − s·B·A, from where the weights are to the reasoner.
            offload: Keep Δ in pinned host memory and fetch each matrix when its turn comes.

        Raises:
            UserError: nothing is adapted that could be pulled, in all or in a layer, or an adapted
                matrix has no Δ, or one of another shape.
        """
        if alpha < 0:
            raise UserError(f"alpha is {alpha}; to push away use the prior `negated`")
        if mode not in FACTOR_MODES or schedule not in SCHEDULES:
            raise UserError(
                f"mode {mode!r}, schedule {schedule!r}: adapters take {', '.join(FACTOR_MODES)}; "
                f"{', '.join(SCHEDULES)}"
            )
        refuse_anchor(
            mode=mode, alpha=alpha, live=live, toward="reasoner", anchor=None, anchor_strength=0.0
        )
        if live and prior.variant != "reasoner-vlm":
            raise UserError(f"a live prior is reasoner − weights, there is none of {prior.variant}")
        self.alpha, self.mode, self.schedule = alpha, mode, schedule
        self.stop_rho, self.live = stop_rho, live
        self.targets = pulled(adapted(model), prior, modules, layers)
        self._deltas: list[torch.Tensor] = []
        self._dd: list[float] = []
        self._anchors: list[float] = []
        reached = 0.0
        for one in self.targets:
            delta = prior.read(one.name).to(one.a.device, copy=True)
            self._dd.append(inner([(delta.float(), delta.float())])[0])
            self._anchors.append(moved_along(one, delta.float() @ one.a.detach().float().T))
            reached += within_reach(delta, one.a)
            if offload and delta.device.type != "cpu":
                delta = delta.cpu().pin_memory()
            self._deltas.append(delta)
        self._reach = ratio(reached, sum(self._dd))
        self._decoder = _decoder_size(model)

    def coverage(self) -> AdapterCoverage:
        """What is reached."""
        parameters = sum(one.shape[0] * one.shape[1] for one in self.targets)
        return AdapterCoverage(
            tensors=len(self.targets),
            parameters=parameters,
            decoder_share=parameters / self._decoder,
            by_role=dict(Counter(one.role for one in self.targets)),
            reach=self._reach,
        )

    def settle(self, lr: float) -> dict[str, float]:
        """Nothing: adapters have no anchor, see `drift.injector.Injector.settle`."""
        return {}

    def apply(self, progress: float = 0.0, lr: float = 1.0) -> dict[str, Any]:
        """Edit the gradients of the factors in place, and say what was done.

        Args:
            progress: Share of the run that is over, for the schedule.
            lr: As `Injector.apply` takes it; nothing here depends on it.

        Returns:
            `alpha` in force, `rho` = s⟨BA − B₀A₀, Δ⟩/‖Δ‖² over everything, and per role the mean
            cosine of gradient and pull in the space of the factors (`cos`), the norm of what was
            added over that of the gradient (`ratio`) and `rho`.

        Raises:
            UserError: a factor has no gradient.
        """
        import torch

        bare = [one.name for one in self.targets if one.a.grad is None or one.b.grad is None]
        if bare:
            raise UserError(
                f"the adapters of {len(bare)} modules got no gradient and cannot be pulled "
                f"({', '.join(bare[:5])})"
            )
        with torch.no_grad():
            return self._apply(progress)

    def _apply(self, progress: float) -> dict[str, Any]:
        alpha = self.alpha * (1 - progress) if self.schedule == "decay" else self.alpha
        if self.stop_rho is not None and self._rho() >= self.stop_rho:
            alpha = 0.0
        # Per role: modules, cosines, ‖g‖², ‖what was added‖², ⟨moved, Δ⟩, ‖Δ‖².
        sums: dict[str, list[float]] = {}
        for one, delta, whole, anchor in zip(
            self.targets, self._deltas, self._dd, self._anchors, strict=True
        ):
            along_a, along_b, moved = factor_pull(one, delta, self.live)
            grad_a, grad_b = one.a.grad.float(), one.b.grad.float()  # type: ignore[union-attr]
            pairs = [(grad_a, grad_a), (grad_b, grad_b), (grad_a, along_a), (grad_b, along_b)]
            pairs += [(along_a, along_a), (along_b, along_b)]
            aa, bb, da, db, pa, pb = inner(pairs)
            gg, gd, dd = aa + bb, da + db, pa + pb
            push = strength(alpha, self.mode, gg, gd, dd) if alpha else 0.0
            if push:
                one.a.grad.sub_(along_a, alpha=push)  # type: ignore[union-attr]
                one.b.grad.sub_(along_b, alpha=push)  # type: ignore[union-attr]
            row = (1, ratio(gd, (gg * dd) ** 0.5), gg, push * push * dd, moved - anchor, whole)
            held = sums.setdefault(one.role, [0.0] * len(row))
            sums[one.role] = [a + b for a, b in zip(held, row, strict=True)]
        moved, whole = (sum(row[i] for row in sums.values()) for i in (4, 5))
        by_role = {
            role: {
                "cos": row[1] / row[0],
                "ratio": ratio(row[3], row[2]) ** 0.5,
                "rho": ratio(row[4], row[5]),
            }
            for role, row in sums.items()
        }
        return {"alpha": alpha, "rho": ratio(moved, whole), **by_role}

    def _rho(self) -> float:
        """Displacement over everything, in a pass of its own."""
        moved = sum(
            moved_along(one, delta.to(one.a.device).float() @ one.a.float().T) - anchor
            for one, delta, anchor in zip(self.targets, self._deltas, self._anchors, strict=True)
        )
        return ratio(moved, sum(self._dd))

    def memory(self) -> dict[str, int]:
        """Bytes of Δ that this process holds, on the device and in host memory."""
        held = {"delta_bytes": 0, "delta_host_bytes": 0}
        for one, delta in zip(self.targets, self._deltas, strict=True):
            near = delta.device == one.a.device
            held["delta_bytes" if near else "delta_host_bytes"] += delta.nbytes
        return held


def _decoder_size(model: "torch.nn.Module") -> int:
    """Parameters of the layers and norms under the adapters, in 4 bits or not."""
    total = 0
    for name, param in decoder(model)[1].items():
        placed = layer_and_role(name.replace(".base_layer.", "."))
        if placed is not None and placed[1] in DECODER_ROLES:
            total += prod(shape_of(param))
    return total
