"""The steps of the paper's study, table by table.

Seconds are estimates for one H100 of 80 GB, or its share of several; none was measured there:

    training    4,000 samples × 3 epochs × about 1,000 tokens, 8 FLOP a parameter and token with
                recomputation, at a third of the peak, and as much again for batches of one sample:
                3 GPU hours
    evaluation  the paper's 7,000 questions with answers of about 400 tokens: 20 minutes;
                perception, 12,400 questions with short answers: 10; text, 1,800: 5, and 35 of a
                reasoner that thinks; a minute to start
    on a CPU    a merge or a distance reads two models of 15 GB, and writes one

Weights, gradients and optimizer of a 7B model take 16 bytes a parameter, 122 GB: one GPU of 141 GB
or more (`--set offload=true`), or four of 80 GB, which shard them (FSDP2).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.studies import parts
from harness.studies.scale import Scale
from harness.studies.step import Step, step

FAMILIES = ("llava_next", "idefics2", "qwen2_vl", "qwen2_5_vl")
SWEPT = ("llava_next", "qwen2_vl", "qwen2_5_vl")
"""Idefics2 is not among vLLM's architectures: it is evaluated through transformers, one merge after
the other, and not tuned."""
TRAINED = ("llava_next", "qwen2_5_vl")
"""A family where merging works, and which the published code attaches no hook to; and the paper's
main one."""
ALPHAS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
"""Below 0.1 as well, where the papers never looked."""
WRITTEN = ("0.10", "0.20", "0.30")
"""Of Idefics2."""
QWEN = "seed-0/qwen2_5_vl"
BASED = ("--base", f"{QWEN}/base")
OTHER_MERGES = {
    "task_arithmetic": ("--alpha", "0.1", *BASED),
    "slerp": ("--alpha", "0.1"),
    "ties": ("--weights", "1.6,0.2", "--density", "0.2", *BASED),
    "dare_ties": ("--weights", "1.6,0.2", "--density", "0.2", *BASED),
    "dare_linear": ("--weights", "1.6,0.2", "--density", "0.2", *BASED),
    "layer_swap": ("--alpha", "0.1"),
}
"""Of table 2. Its Task Arithmetic is linear, and so `merge-0.10` of the sweep; the textbook's is
here, and SLERP. Density, which is not said, is their code's 0.2; that code drops entries for DARE
without dividing the rest by it, which is not done here."""
ABLATIONS = {
    **dict.fromkeys(("absolute", "grad_norm", "grad_norm_attn", "grad_norm_mlp"), "table-4"),
    **dict.fromkeys(("grad_norm_norm", "grad_norm_head"), "table-4"),
    **dict.fromkeys(("attn", "mlp", "norm", "head"), "table-4"),
    "math": "table-5",
    "stage": "table-10",
}
"""Of one training seed → the table: scale and modules, the other reasoner, the update of the
reasoner's own last stage."""
CONTROLS = {
    "random": ("prior=random",),
    "negated": ("prior=negated",),
    "half": ("mode=grad_norm", "alpha=0.5"),
}
"""A random direction with the norms of the prior; the opposite one; the constant that the adaptive
factor is in bfloat16."""
ALPACA = ("--chat-template", str(Path(__file__).with_name("alpaca.jinja")))
REASONERS = {
    "llava_next": (*ALPACA, "--max-tokens", "4096"),
    "idefics2": (*ALPACA, "--max-tokens", "4096"),
    "qwen2_vl": ("--max-tokens", "3072"),
    "qwen2_5_vl": ("--temperature", "0.6", "--top-p", "0.95", "--max-tokens", "16384"),
}
"""How the reasoner of a family is asked. DART-Math and MetaMath were trained on Alpaca's prompt
(hkust-nlp/dart-math@0952f034:dart_math/utils.py; MetaMath's model card) and MetaMath has no chat
template; Qwen2-Math's context is 4,096 tokens; DeepSeek-R1's distillates think long, and repeat
themselves when greedy (their model card)."""


def baselines(family: str) -> tuple[str, ...]:
    """Return what is evaluated of a family beside sweeps and training, by name."""
    more = {"idefics2": tuple(f"merge-{alpha}" for alpha in WRITTEN)}.get(family, ("tuned",))
    teacher = ("teacher", *OTHER_MERGES) if family == "qwen2_5_vl" else ()
    return ("vlm", *more, *teacher)


def trained(controls: bool) -> tuple[str, ...]:
    """Return what is trained for each seed, by name."""
    more = (*CONTROLS, "sft_then_merge", "merge_then_sft") if controls else ()
    return ("sft", "drift", "drift_published", *more)


def ablations() -> tuple[str, ...]:
    """Return what is trained once, by name."""
    return (*(f"drift_{variant}" for variant in ABLATIONS), "sft_noisy", "drift_noisy")


def distances() -> list[Step]:
    """Figure 2, and whether the pairs fit at all."""
    more: dict[str, Any] = {"stage": "figure-2", "seconds": 120}
    return [one for family in FAMILIES for one in parts.checked(family, **more)]


def sweeps(scale: Scale) -> list[Step]:
    """Table 1: merges of four families, over alpha; 0.1 is the paper's."""
    steps = []
    for family in SWEPT:
        here, pair = f"seed-0/{family}", parts.pair(family)
        words = (scale.seeing, f"{here}/runs")
        more: dict[str, Any] = {"stage": "table-1", "seconds": 11400}
        steps.append(parts.swept(scale, f"{here}/sweep", pair, ALPHAS, *words, **more))
    for alpha in WRITTEN:
        run = (f"seed-0/idefics2/merge-{alpha}", parts.pair("idefics2"), "--alpha", alpha)
        steps.append(parts.merge(scale, *run, stage="table-1", seconds=180))
    return steps


def other_merges(scale: Scale) -> list[Step]:
    """Table 2: methods of merging."""
    steps = []
    for method, words in OTHER_MERGES.items():
        layers = ("--layers", scale.swapped) if method == "layer_swap" else ()
        run = ("--method", method, *words, *layers)
        more: dict[str, Any] = {"reads": BASED[1:] if "--base" in words else ()}
        more |= {"stage": "table-2", "seconds": 180 if layers else 240}
        steps.append(parts.merge(scale, f"{QWEN}/{method}", parts.pair("qwen2_5_vl"), *run, **more))
    return steps


def compared(scale: Scale, family: str, seed: int, controls: bool) -> list[Step]:
    """Table 3, the LLaVA-NeXT rows of table 5, and the controls of both."""
    at, own = f"seed-{seed}/{family}", (f"seed={seed}",)
    vlm, llm = parts.pair(family)
    sft, drift = f"{at}/sft", f"{at}/drift"
    pull = (f"{family}_drift", {"vlm": vlm, "reasoner": llm})
    steps = [
        _trained(scale, sft, f"{family}_sft", {"vlm": vlm}, own),
        _trained(scale, drift, *pull, own),
        _trained(scale, f"{at}/drift_published", *pull, (*own, "when=backward")),
    ]
    if controls:
        more: dict[str, Any] = {"stage": "controls"}
        for name, settings in CONTROLS.items():
            steps.append(_trained(scale, f"{at}/{name}", *pull, (*own, *settings), **more))
        # As far toward the reasoner as DRIFT, by merging after or before the same SFT.
        far, merged = ("--base", vlm, "--rho-of", drift), f"{at}/merged"
        after = {"reads": (vlm, drift), "seconds": 600, **more}
        before = {"reads": (sft, drift), "seconds": 600, **more}
        again = (f"{family}_sft", {"vlm": merged}, own)
        steps += [
            parts.merge(scale, f"{at}/sft_then_merge", (sft, llm), *far, **after),
            parts.merge(scale, merged, (vlm, llm), *far, "--before", sft, **before),
            _trained(scale, f"{at}/merge_then_sft", *again, **more),
        ]
    of = [f"{at}/{name}" for name in trained(controls)]
    moved: dict[str, Any] = {"of": of, "stage": "table-3", "seconds": 300}
    return [*steps, parts.distance(f"{at}/trained_distance", (vlm, llm), **moved)]


def studied_once(scale: Scale) -> list[Step]:
    """Tables 4, 5, 7 and 10, of one training seed."""
    vlm, llm = parts.pair("qwen2_5_vl")
    steps = []
    for variant, table in ABLATIONS.items():
        parents = {"vlm": vlm, "reasoner": f"{QWEN}/math" if variant == "math" else llm}
        if variant == "stage":
            parents["base"] = f"{QWEN}/math"
        name = f"drift_{variant}"
        steps.append(_trained(scale, f"{QWEN}/{name}", f"qwen2_5_vl_{name}", parents, stage=table))
    # Noise of our own making, each row again with the answer of another: how the paper's came about
    # is not said.
    made: dict[str, Any] = {"reads": ("data",), "stage": "table-7", "seconds": 60, "disk_gib": 1}
    steps.append(step("noisy", "noisy", scale.rows, "--out", "noisy", **made))
    more: dict[str, Any] = {"rows": ["noisy/rows.jsonl"], "stage": "table-7", "seconds": 21600}
    for way in ("sft", "drift"):
        recipe = (f"qwen2_5_vl_{way}", {"vlm": vlm, "reasoner": llm})
        steps.append(_trained(scale, f"{QWEN}/{way}_noisy", *recipe, **more))
    return steps


def answers(scale: Scale, seeds: int, names: Mapping[str, Sequence[str]]) -> list[Step]:
    """Each checkpoint on the benchmarks of the tables, on perception (table 6) and on text.

    Text shows what training keeps, and the reasoner's own lift, to hold the transfer against.

    Args:
        scale: What stands for the benchmarks.
        seeds: Of training.
        names: Family → what is trained for each seed.
    """
    steps: list[Step] = []
    seconds = {"idefics2": 26000, "qwen2_5_vl": 19500}
    for family in FAMILIES:
        here = f"seed-0/{family}"
        more: dict[str, Any] = {"seconds": seconds.get(family, 4400)}
        thinking = 2400 if family == "qwen2_5_vl" else 600
        if not steps:  # it fetches the benchmarks
            more["download_gib"] = 6
        steps += [
            _answers(scale, f"{here}/baseline_answers", baselines(family), **more),
            _answers(scale, f"{here}/reasoner_answers", ("reasoner",), seconds=thinking),
        ]
    for seed in range(seeds):
        for family, own in names.items():
            more = {"seconds": 4400 + 2160 * (len(own) - 2)}
            steps.append(_answers(scale, f"seed-{seed}/{family}/answers", own, **more))
    steps.append(_answers(scale, f"{QWEN}/ablation_answers", ablations(), seconds=17600))
    return steps


def report(seeds: int) -> Step:
    """All of it."""
    reads = [f"seed-0/{family}/{of}" for of in ("runs", "distance.json") for family in FAMILIES]
    reads += [f"seed-{seed}/{family}/runs" for seed in range(1, seeds) for family in TRAINED]
    return parts.report(reads)


def _trained(
    scale: Scale,
    out: str,
    recipe: str,
    parents: Mapping[str, str],
    settings: Sequence[str] = (),
    **more: Any,
) -> Step:
    more = {"stage": "table-3", "seconds": 10800, **more}
    return parts.trained(scale, out, recipe, parents, settings, **more)


def _answers(scale: Scale, name: str, names: Sequence[str], **more: Any) -> Step:
    at, _, kind = name.rpartition("/")
    if kind == "reasoner_answers":
        asked = (*REASONERS[at.rpartition("/")[2]], *scale.options_text)
        return parts.answers(scale, name, names, scale.text, asked, **more)
    tasks = scale.reasoning if kind == "ablation_answers" else scale.everything
    return parts.answers(scale, name, names, tasks, scale.options, **more)
