"""The arms of the pocket study: how each is made, and the settings that each is tried at.

Every arm that has settings of its own is tried at eight, on the tuning seeds; what was chosen lies
in `pocket_settings.json`. An arm that is `like` another takes that arm's: it is a control of it,
and differs in what it is named after alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1.0)
"""Of the linear merges: the sweep, and what training starts from."""
Settings = Mapping[str, int | float | str]
Grid = tuple[Settings, ...]


class Family(NamedTuple):
    """One VLM and one reasoner of the pocket."""

    model: str
    """See `drift.pocket.models.FAMILIES`."""
    distance: str = "close"
    rope: str = "same"
    share: float | None = None
    """Of the cards' code, where it is not the usual (`drift.pocket.stages.CODE_SHARE`)."""
    title: str = ""
    """In tables; empty: the model's."""


FAMILIES = {
    "llava_next": Family("llava_next"),
    "idefics3": Family("idefics3"),
    "qwen2_5_vl": Family("qwen2_5_vl", "far", "other"),
}
"""Those that the claims are about. Qwen2.5-VL's reasoner lies as far as DeepSeek-R1-Distill's."""
HOME = "llava_next"
"""Family that the variants are of."""
VARIANTS = {
    "llava_next_0_4": Family("llava_next", share=0.4, title="LLaVA-NeXT, code share 0.4"),
    "llava_next_1_0": Family("llava_next", share=1.0, title="LLaVA-NeXT, code share 1.0"),
    "llava_next_far": Family("llava_next", "far", title="LLaVA-NeXT, far reasoner"),
    "llava_next_rope": Family("llava_next", rope="other", title="LLaVA-NeXT, other RoPE"),
    "llava_next_far_rope": Family(
        "llava_next", "far", "other", title="LLaVA-NeXT, far reasoner, other RoPE"
    ),
}
"""The dial of the world, and distance × RoPE."""
VARIED = ("merge", "sft", "drift", "merge_then_sft")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One method of the study."""

    label: str
    makes: Literal["merge", "train"] = "train"
    recipe: str = "pocket_sft"
    """Of a training; the method of a merge."""
    fixed: Settings
    """Settings of the recipe that are the arm's own."""
    grid: Grid = ()
    like: str = ""
    """Arm whose settings it takes, instead of a grid."""
    start: str = "vlm"
    """Checkpoint that it starts from: another arm's, or `merge`, of the share that is tuned."""
    toward: str = ""
    """Model that a merge or Δ goes toward: reasoner, base, wrong_reasoner."""
    rows: tuple[str, ...] = ("train.jsonl",)
    """Of the world; `said` are the reasoner's own right answers in words."""
    seeds: int = 6
    """That it counts at most: six that all agree can be told from chance, five cannot."""
    primary: bool = False
    """Named by a primary claim: made without `--controls` too."""


def _grid(*names: str, at: tuple[tuple[float | str, ...], ...]) -> Grid:
    return tuple(dict(zip(names, values, strict=True)) for values in at)


def _rates(*rates: float) -> Grid:
    return _grid("lr", at=tuple((rate,) for rate in rates))


def _shares(*shares: float) -> Grid:
    return _grid("alpha", at=tuple((share,) for share in shares))


SHARES = _shares(0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0)
PULLS = _grid(
    *("lr", "alpha"),
    at=(
        *((2e-4, 1.0), (5e-4, 0.5), (1e-3, 0.1), (1e-3, 0.3), (2e-3, 0.05), (3e-3, 0.03)),
        *((5e-4, 0.2), (1e-3, 0.03)),
    ),
)
ADAPTER_PULLS = _grid(
    *("lr", "alpha"),
    at=(
        *((2e-3, 0.1), (5e-3, 0.3), (5e-3, 0.03), (1e-2, 0.1), (1e-2, 0.03), (1.5e-2, 0.01)),
        *((2e-3, 0.3), (5e-3, 0.1)),
    ),
)
"""Of LoRA DRIFT."""
ARMS: dict[str, Arm] = {
    "merge": Arm(
        label="merge",
        makes="merge",
        recipe="linear",
        fixed={},
        grid=_shares(*ALPHAS),
        toward="reasoner",
        seeds=10,
        primary=True,
    ),
    "sft": Arm(
        label="SFT",
        fixed={},
        grid=_rates(5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 1.5e-3, 2.5e-3),
        seeds=10,
        primary=True,
    ),
    "drift": Arm(
        label="DRIFT",
        recipe="pocket_drift",
        fixed={},
        grid=PULLS,
        toward="reasoner",
        seeds=10,
        primary=True,
    ),
    "adaptive": Arm(
        label="DRIFT, adaptive",
        recipe="pocket_drift",
        fixed={"mode": "adaptive"},
        grid=_grid(
            *("lr", "alpha"),
            at=(
                *((2e-4, 1.0), (5e-4, 0.5), (1e-3, 0.2), (1e-3, 0.5), (2e-3, 0.1), (3e-3, 0.05)),
                *((5e-4, 0.2), (1e-3, 0.07)),
            ),
        ),
        toward="reasoner",
        seeds=10,
        primary=True,
    ),
    "published": Arm(
        label="DRIFT, as published",
        recipe="pocket_drift",
        # As the published recipe: eight micro-batches, each with a pull of its own.
        fixed={"mode": "adaptive", "when": "backward", "batch": 2, "accumulate": 8},
        grid=_grid(
            *("lr", "alpha"),
            at=(
                *((2e-4, 1.0), (5e-4, 0.3), (1e-3, 0.1), (1e-3, 0.3), (2e-3, 0.05), (3e-3, 0.03)),
                *((5e-4, 0.1), (1e-3, 0.03)),
            ),
        ),
        toward="reasoner",
        seeds=10,
        primary=True,
    ),
    "merge_then_sft": Arm(
        label="merge, then SFT",
        fixed={},
        grid=_grid(
            *("merge", "lr"),
            at=(
                *((0.3, 3e-3), (0.5, 1e-3), (0.5, 3e-3), (0.7, 1e-3), (0.7, 3e-3), (0.85, 1e-3)),
                *((0.5, 2e-3), (1.0, 1e-3)),
            ),
        ),
        start="merge",
        seeds=10,
        primary=True,
    ),
    "sft_x16": Arm(
        label="SFT, 16 × rows",
        fixed={},
        grid=_grid(
            *("lr", "steps"),
            at=(
                *((1e-3, 200), (3e-3, 200), (5e-3, 200), (1e-3, 800), (2e-3, 800), (3e-3, 800)),
                *((5e-4, 800), (1e-3, 1600)),
            ),
        ),
        rows=("train-x16.jsonl",),
        seeds=10,
        primary=True,
    ),
    "sft_x4": Arm(
        label="SFT, 4 × rows",
        fixed={},
        grid=_grid(
            *("lr", "steps"),
            at=(
                *((1e-3, 200), (3e-3, 200), (5e-3, 200), (1e-3, 400), (2e-3, 400), (3e-3, 400)),
                *((1e-3, 800), (2e-3, 800)),
            ),
        ),
        rows=("train-x4.jsonl",),
    ),
    "sft_text": Arm(
        label="SFT on the reasoner's text",
        fixed={},
        grid=_rates(2e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-4, 1.5e-3),
        rows=("said",),
    ),
    "sft_mixed": Arm(
        label="SFT on pictures and the reasoner's text",
        fixed={},
        grid=_grid(
            *("lr", "pictures"),
            at=(
                *((1e-3, 1), (2e-3, 1), (3e-3, 1), (1e-3, 4), (2e-3, 4), (3e-3, 4)),
                *((5e-4, 4), (1.5e-3, 4)),
            ),
        ),
        rows=("train.jsonl", "said"),
    ),
    "absolute": Arm(
        label="DRIFT, absolute",
        recipe="pocket_drift",
        fixed={"mode": "absolute"},
        grid=_grid(
            *("lr", "alpha"),
            at=(
                *((5e-4, 0.03), (1e-3, 0.003), (1e-3, 0.01), (1e-3, 0.03), (2e-3, 0.01)),
                *((3e-3, 0.003), (5e-4, 0.01), (1e-3, 0.001)),
            ),
        ),
        toward="reasoner",
    ),
    "live": Arm(
        label="DRIFT, Δ recomputed",
        recipe="pocket_drift",
        fixed={"live": "true"},
        grid=_grid(
            *("lr", "alpha"),
            at=(
                *((5e-4, 1.0), (1e-3, 0.3), (1e-3, 1.0), (2e-3, 0.1), (2e-3, 0.3), (3e-3, 0.1)),
                *((5e-4, 0.3), (1e-3, 0.1)),
            ),
        ),
        toward="reasoner",
    ),
    "sft_then_merge": Arm(
        label="SFT, then merge",
        makes="merge",
        recipe="linear",
        fixed={},
        grid=_shares(0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 0.05, 1.0),
        start="sft",
        toward="reasoner",
    ),
    "wise_ft": Arm(
        label="WiSE-FT",
        makes="merge",
        recipe="linear",
        fixed={},
        grid=_shares(0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.5, 0.95),
        toward="sft",
    ),
    "l2sp_reasoner": Arm(
        label="L2-SP toward the reasoner",
        recipe="pocket_drift",
        fixed={"mode": "absolute", "alpha": 0, "live": "true", "anchor": "l2_sp"},
        grid=_grid(
            *("lr", "anchor_strength"),
            at=(
                *((1e-3, 3), (1e-3, 10), (1e-3, 30), (2e-3, 5), (3e-3, 1), (3e-3, 3)),
                *((1e-3, 1), (2e-3, 1)),
            ),
        ),
        toward="reasoner",
    ),
    "l2sp_start": Arm(
        label="L2-SP toward the start",
        recipe="pocket_drift",
        fixed={
            **{"mode": "absolute", "alpha": 0, "live": "true", "anchor": "l2_sp"},
            "toward": "start",
        },
        grid=_grid(
            *("lr", "anchor_strength"),
            at=(
                *((2e-3, 0.1), (3e-3, 0.1), (3e-3, 0.5), (5e-3, 0.1), (5e-3, 0.5), (5e-3, 2)),
                *((2e-3, 0.5), (3e-3, 2)),
            ),
        ),
        toward="reasoner",
    ),
    "digrap": Arm(
        label="DiGraP toward the reasoner",
        recipe="pocket_drift",
        fixed={"mode": "project", "live": "true"},
        grid=_grid(
            *("lr", "alpha"),
            at=(
                *((1e-3, 1), (2e-3, 1), (3e-3, 0.5), (3e-3, 1), (5e-3, 0.5), (5e-3, 1)),
                *((1e-3, 0.5), (2e-3, 0.5)),
            ),
        ),
        toward="reasoner",
    ),
    "digrap_learnt": Arm(
        label="DiGraP, learnt strength",
        recipe="pocket_drift",
        fixed={"mode": "project_learnt", "live": "true"},
        grid=_rates(5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 1.5e-3, 2.5e-3),
        toward="reasoner",
    ),
    "spd": Arm(
        label="SPD toward the start",
        recipe="pocket_drift",
        fixed={"alpha": 0, "toward": "start", "anchor": "spd"},
        grid=_grid(
            *("lr", "anchor_strength"),
            at=(
                *((2e-3, 1), (3e-3, 0.5), (3e-3, 1), (5e-3, 0.5), (5e-3, 1), (5e-3, 2)),
                *((2e-3, 0.5), (3e-3, 2)),
            ),
        ),
        toward="reasoner",
    ),
    "lora_sft": Arm(
        label="LoRA SFT",
        recipe="pocket_lora_sft",
        fixed={"merge_adapter": "true"},
        grid=_rates(1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 4e-2, 7e-3, 1.5e-2),
    ),
    "lora_drift_random": Arm(
        label="LoRA DRIFT, random start",
        recipe="pocket_lora_drift",
        fixed={"merge_adapter": "true", "adapter_start": "random"},
        grid=ADAPTER_PULLS,
        toward="reasoner",
    ),
    "lora_drift": Arm(
        label="LoRA DRIFT, start along Δ",
        recipe="pocket_lora_drift",
        fixed={"merge_adapter": "true"},
        grid=ADAPTER_PULLS,
        toward="reasoner",
    ),
    **{
        f"grpo_{start}": Arm(
            label=f"{label}, then GRPO",
            recipe="pocket_grpo",
            fixed={},
            grid=_rates(5e-5, 1e-4, 2e-4, 3e-4, 6e-4, 1e-3, 2e-5, 1.5e-4),
            start=start,
            rows=("train-x16.jsonl",),
        )
        for start, label in (
            ("sft", "SFT"),
            ("drift", "DRIFT"),
            ("merge_then_sft", "merge, then SFT"),
        )
    },
    "ties": Arm(
        label="TIES", makes="merge", recipe="ties", fixed={}, grid=SHARES, toward="reasoner"
    ),
    "dare": Arm(
        label="DARE", makes="merge", recipe="dare_ties", fixed={}, grid=SHARES, toward="reasoner"
    ),
    "slerp": Arm(
        label="SLERP", makes="merge", recipe="slerp", fixed={}, grid=SHARES, toward="reasoner"
    ),
    "layer_swap": Arm(
        label="layer swap",
        makes="merge",
        recipe="layer_swap",
        fixed={},
        grid=_grid(
            *("layers", "alpha"),
            at=(
                *(("0,1", 0.7), ("0,1", 1), ("2,3", 0.7), ("2,3", 1), ("1,2,3", 1), ("0,1,2", 1)),
                *(("0,1", 0.5), ("2,3", 0.5)),
            ),
        ),
        toward="reasoner",
    ),
    "rank1": Arm(
        label="rank-1 transfer",
        makes="merge",
        recipe="rank1",
        fixed={},
        grid=_shares(0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 0.15, 0.35),
        toward="reasoner",
    ),
    "ip": Arm(
        label="IP-Merging",
        makes="merge",
        recipe="ip",
        fixed={},
        grid=_shares(1.0),
        toward="reasoner",
    ),
    "ip_coded": Arm(
        label="IP-Merging, as coded",
        makes="merge",
        recipe="ip_coded",
        fixed={},
        grid=_shares(1.0),
        toward="reasoner",
    ),
    "random": Arm(
        label="DRIFT, random Δ",
        recipe="pocket_drift",
        fixed={"prior": "random"},
        like="drift",
        toward="reasoner",
    ),
    "shuffled": Arm(
        label="DRIFT, shuffled Δ",
        recipe="pocket_drift",
        fixed={"prior": "shuffled"},
        like="drift",
        toward="reasoner",
    ),
    "negated": Arm(
        label="DRIFT, −Δ",
        recipe="pocket_drift",
        fixed={"prior": "negated"},
        like="drift",
        toward="reasoner",
    ),
    "toward_base": Arm(
        label="DRIFT toward the base",
        recipe="pocket_drift",
        fixed={},
        like="drift",
        toward="base",
    ),
    "wrong_sums": Arm(
        label="DRIFT toward a reasoner taught wrong sums",
        recipe="pocket_drift",
        fixed={},
        like="drift",
        toward="wrong_reasoner",
    ),
}
"""By name: the folder of its checkpoint. IP-Merging has nothing to tune."""
