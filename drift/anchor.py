"""Rivals of DRIFT that hold the weights w to an anchor A: the reasoner, or where training began.

Here are their equations on numbers; `drift.injector.Injector` takes the sums over tensors and
shards. L2-SP (arXiv 1802.01483) adds λ(w − A) to the gradient, which is a pull with the mode
`absolute` along a live Δ = A − w, or, `decoupled` as AdamW's decay toward 0 is, takes
lr · λ · (w − A) off the weights after the optimizer's step.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from common.errors import UserError

Toward = Literal["reasoner", "start"]
TOWARDS: tuple[Toward, ...] = get_args(Toward)
Anchor = Literal["l2_sp", "spd"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)

STEP = 0.01
"""Of Adam on ω: chengyuehuang511/vlm_robustness@1f545f4:optimizer/pcgrad.py."""
MEAN, SQUARE = 0.9, 0.999
"""Adam's rates of forgetting, from there too."""


def projection(gd: float, dd: float) -> float:
    """The multiple of Δ whose removal leaves a gradient that no longer leads away from A.

    Args:
        gd: ⟨g, Δ⟩; a descent step leads away from A when it is positive.
        dd: ‖Δ‖², Δ = A − w.

    Source: DiGraP, arXiv 2502.15895, with c = w − A = −Δ: ⟨g, c⟩/‖c‖² where ⟨g, c⟩ < 0.
    """
    return max(0.0, gd) / dd if dd > 0 else 0.0


@dataclass
class LearntStrength:
    """ω of one tensor in g′ = g − ω k Δ, k = `projection`: learnt by hypergradient, from 0.

    A plain step from w′ with lr′, g″, k′, Δ′ came to w = w′ − lr′(g″ − ω k′ Δ′), so that the loss
    at w changes with ω by lr′ k′ ⟨g, Δ′⟩, g being the task's gradient at w. ω takes an Adam step of
    size 0.01 against that and is clipped to [0, 1], before it acts on g.

    Source: chengyuehuang511/vlm_robustness@1f545f4:optimizer/pcgrad.py. Three things differ. k′ is
    0 where the step before left the gradient alone: ω did nothing then. The first step is
    remembered, where that code begins with the second. Adam's ε, 1e-8 there, is left out: at a
    learning rate of 1e-6 it would outweigh the hypergradient and hold ω at 0.
    """

    value: float = 0.0
    """ω."""
    per_unit: float = 0.0
    """lr′ k′: by how many Δ′ a unit of ω moved the weights in the step before."""
    steps: int = 0
    mean: float = 0.0
    square: float = 0.0

    def learn(self, gd: float) -> float:
        """Take Adam's step.

        Args:
            gd: ⟨g, Δ′⟩, of the gradient now and the Δ of the step before.

        Returns:
            ω.
        """
        hypergradient = self.per_unit * gd
        self.steps += 1
        self.mean += (1 - MEAN) * (hypergradient - self.mean)
        self.square += (1 - SQUARE) * (hypergradient**2 - self.square)
        if self.square > 0:
            mean = self.mean / (1 - MEAN**self.steps)
            root = (self.square / (1 - SQUARE**self.steps)) ** 0.5
            self.value = min(1.0, max(0.0, self.value - STEP * mean / root))
        return self.value


def selective_share(strength: float, *, gc: float, before: float, after: float) -> float:
    """The share of w̃ − A that selective projection decay takes off the weights.

    Args:
        strength: λ.
        gc: ⟨g, w − A⟩ before the optimizer's step. Where it is positive, the step goes back against
            what training had gained over A; elsewhere nothing is taken off.
        before: ‖w − A‖², before that step.
        after: ‖w̃ − A‖², after it.

    Returns:
        λ · clip((‖w̃ − A‖ − ‖w − A‖) / ‖w̃ − A‖, 0, 1), or 0.

    Source: SPD, arXiv 2411.01713;
    GT-RIPL/Selective-Projection-Decay@b377695:adamSPD.py.
    """
    if gc <= 0 or after <= before:
        return 0.0
    return strength * (1 - (max(0.0, before) / after) ** 0.5)


def refuse_anchor(
    *,
    mode: str,
    alpha: float,
    live: bool,
    toward: Toward,
    anchor: Anchor | None,
    anchor_strength: float,
) -> None:
    """Stop at settings that would do something else than they say.

    Raises:
        UserError: one of them is out of its range, or has no effect beside the others.
    """
    if mode in ("project", "project_learnt") and alpha > 1:
        raise UserError(
            f"alpha is {alpha} with mode {mode}, which takes away that share of the part of the "
            "gradient that leads away; give 0 to 1"
        )
    if toward not in TOWARDS or anchor not in (None, *ANCHORS):
        raise UserError(
            f"toward {toward!r}, anchor {anchor!r}: choose from {', '.join(TOWARDS)}; "
            f"{', '.join(ANCHORS)}, null"
        )
    if toward == "start" and not live and anchor is None:
        raise UserError(
            "toward: start is for live and anchor, and neither is set; the fixed prior points to "
            "the reasoner"
        )
    if (anchor is None) != (anchor_strength == 0) or anchor_strength < 0:
        raise UserError(
            f"anchor is {anchor or 'null'} and anchor_strength {anchor_strength}; give a strength "
            "above 0 with an anchor, and 0 without one"
        )
