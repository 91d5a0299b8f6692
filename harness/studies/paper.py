"""The study of DRIFT (arXiv 2510.15050v2, Findings of ACL 2026), and what its reviewers asked for.

    driftbench reproduce paper --gpus 8
    driftbench reproduce paper --scale pocket      # every step, on stand-ins, on a CPU
    driftbench reproduce paper --set qwen2_5_vl/vlm=/models/Qwen2.5-VL-7B-Instruct

What the paper leaves unsaid, and what is done here, stands in docs/reproducing_the_paper.md. Rows
that it quotes from others (OpenVLThinker, R1-OneVision, X-REASONER, the rest of table 3) are quoted
from reports/published, not run again.
"""

from collections.abc import Sequence
from typing import Literal

from common.text import share
from harness.studies import arms, paper_arms, parts
from harness.studies import paper_steps as tables
from harness.studies.paper_scale import POCKET, REAL
from harness.studies.scale import given
from harness.studies.step import Claim, Method, MethodRun, Study

LABELS = {
    "vlm": "VLM",
    "reasoner": "reasoner (text only)",
    "teacher": "teacher of the data",
    **{f"merge-{share(alpha)}": f"merge, α = {alpha:g}" for alpha in tables.ALPHAS},
    "tuned": "merge, tuned",
    "task_arithmetic": "Task Arithmetic",
    "slerp": "SLERP",
    "ties": "TIES",
    "dare_ties": "DARE, TIES",
    "dare_linear": "DARE, linear",
    "layer_swap": "layer swap",
    "sft": "SFT",
    "drift": "DRIFT",
    "drift_published": "DRIFT, a pull per micro-batch",
    **{name: arm.label for name, arm in paper_arms.ARMS.items()},
    arms.WISE: "WiSE-FT, tuned",
    **{name: arm.label for name, arm in paper_arms.RIVALS.items()},
    "merge_then_sft": "merge, then SFT, as far as DRIFT",
    "sft_then_merge": "SFT, then merge, as far as DRIFT",
    "random": "DRIFT, random Δ",
    "negated": "DRIFT, −Δ",
    "half": "DRIFT, α = 0.5",
    "drift_absolute": "DRIFT, absolute",
    "drift_grad_norm": "DRIFT, gradient's norm",
    "drift_grad_norm_attn": "DRIFT, gradient's norm, attention",
    "drift_grad_norm_mlp": "DRIFT, gradient's norm, MLP",
    "drift_grad_norm_norm": "DRIFT, gradient's norm, norms",
    "drift_grad_norm_head": "DRIFT, gradient's norm, head",
    "drift_attn": "DRIFT, attention",
    "drift_mlp": "DRIFT, MLP",
    "drift_norm": "DRIFT, norms",
    "drift_head": "DRIFT, head",
    "drift_math": "DRIFT, reasoner Qwen2.5-Math",
    "drift_stage": "DRIFT, Δ of the reasoner's last stage",
    "sft_noisy": "SFT, half noise",
    "drift_noisy": "DRIFT, half noise",
}
"""Method → its row, in the order of the tables."""
BENCHMARKS = {
    "mathvista": "MathVista",
    "mathvision": "MathVision",
    "mathverse_vision_only": "MathVerse",
    "wemath": "We-Math",
    "logicvista": "LogicVista",
}
PRIMARY = ("mathvista", "mathvision")
SHARDING = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
"""Of training on several GPUs: FSDP2, a unit a decoder layer."""


def study(
    *,
    seeds: int = 1,
    controls: bool = False,
    scale: Literal["pocket"] | None = None,
    offload: bool = False,
    **models: str,
) -> Study:
    """Build the study.

    Args:
        seeds: Of training.
        controls: Does the direction matter, or its size, or that there is a pull at all?
        scale: `pocket`: the same steps on stand-ins. What it cannot try is the download itself,
            vLLM and sharding on GPUs, and whether everything fits.
        offload: Keep Δ in the host's memory.
        models: Folders of one's own in the place of names on the hub, see `paper_scale.MODELS`.

    Raises:
        UserError: One of `models` is none.
    """
    chosen = given(POCKET if scale else REAL, models, offload)
    steps = [*parts.fetched(chosen), *tables.distances()]
    steps += [*tables.sweeps(chosen), *tables.other_merges(chosen)]
    for seed in range(seeds):
        for family in tables.TRAINED:
            steps += tables.compared(chosen, family, seed, controls)
    steps += [*tables.studied_once(chosen), *paper_arms.tried(chosen, controls)]
    for seed in range(seeds):
        for family in tables.TRAINED:
            steps += paper_arms.counted(chosen, family, seed, controls)
    steps += tables.answers(chosen, seeds, _trained(controls))
    steps.append(tables.report(seeds))
    about = (
        "DRIFT as published, on the published models, data and benchmarks, and what was asked of it"
    )
    if scale:
        about = "The steps of the paper's study on stand-ins; its numbers mean nothing"
        steps = parts.in_miniature(steps, "paper")
    methods = _methods(seeds, controls)
    return Study(
        name="paper at pocket scale" if scale else "paper",
        about=about,
        steps=tuple(steps),
        methods=methods,
        claims=_claims({method.name for method in methods}),
        baseline="sft",
        trials=(*paper_arms.first_trials(controls), *paper_arms.wise_trials()),
        tuning=chosen.rule,
        threads=1 if scale else 8,
        forked=bool(scale),
        global_batch=8,
        sharding={} if scale else SHARDING,
    )


def _trained(controls: bool) -> dict[str, tuple[str, ...]]:
    """Family → what of it is trained for each seed."""
    return {
        family: (*tables.trained(controls), *paper_arms.names(family, controls))
        for family in tables.TRAINED
    }


def _methods(seeds: int, controls: bool) -> tuple[Method, ...]:
    runs: dict[str, list[MethodRun]] = {name: [] for name in LABELS}

    def found(family: str, seed: int, names: Sequence[str]) -> None:
        for name in names:
            runs[name].append(MethodRun(family, seed, f"seed-{seed}/{family}/runs/{name}"))

    for family in tables.FAMILIES:
        found(family, 0, (*tables.baselines(family), "reasoner"))
        if family in tables.SWEPT:
            found(family, 0, [f"merge-{share(alpha)}" for alpha in tables.ALPHAS])
        for seed in range(seeds if family in tables.TRAINED else 0):
            found(family, seed, _trained(controls)[family])
    found("qwen2_5_vl", 0, tables.ablations())
    return tuple(
        Method(name=name, label=LABELS[name], runs=tuple(own)) for name, own in runs.items() if own
    )


def _claims(methods: set[str]) -> tuple[Claim, ...]:
    """Of each benchmark of the paper, those whose methods are both made.

    Primary are those of arms at their own best on the two benchmarks that the paper begins with.
    """
    best = (
        ("DRIFT beats SFT, each at its best", "best_drift", "best_sft"),
        ("DRIFT as published beats SFT, each at its best", "best_published", "best_sft"),
        ("DRIFT beats merge, then SFT, each at its best", "best_drift", "best_merge_then_sft"),
    )
    asked = (
        ("DRIFT scores higher than SFT", "drift", "sft"),
        ("DRIFT as published scores higher than SFT", "drift_published", "sft"),
        ("DRIFT at its best scores higher than the VLM", "best_drift", "vlm"),
        ("DRIFT beats the best merge", "best_drift", arms.TUNED),
        ("DRIFT beats WiSE-FT, each at its best", "best_drift", arms.WISE),
        ("DRIFT beats SFT on the reasoner's text, each at its best", "best_drift", "text_sft"),
        ("DRIFT beats SFT on pictures and that text", "best_drift", "mixed_sft"),
        ("DRIFT beats GRPO, each at its best", "best_drift", "grpo"),
        ("It is the direction: Δ beats a random one of its norms", "drift", "random"),
        ("DRIFT scores higher than merging as far, then SFT", "drift", "merge_then_sft"),
        ("DRIFT scores higher than SFT, then merging as far", "drift", "sft_then_merge"),
    )
    return tuple(
        Claim(
            text=f"{text}: {title}",
            method=a,
            against=b,
            group=task,
            primary=(text, a, b) in best and task in PRIMARY,
        )
        for text, a, b in (*best, *asked)
        if {a, b} <= methods
        for task, title in BENCHMARKS.items()
    )
