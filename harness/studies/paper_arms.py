"""What the paper's study compares beyond the paper: arms at their own best, and rivals.

Each arm is tried at three settings, the paper's own first, on two seeds that are not counted. Its
rows of table 3 stand beside it at the paper's settings.

    training    3 GPU hours, as in `paper_steps`; GRPO samples 64 answers of some 700 tokens in each
                of 200 steps, at 2,500 tokens a second, and learns from them: 4 hours
    the reasoner's text
                7,473 questions of GSM8K's training split, of some 1,000 tokens each: 1 hour
    validation  4,329 questions of MMBench, 15 minutes for a checkpoint that thinks, 5 for a merge
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.studies import arms, parts
from harness.studies.arms import Arm, grid
from harness.studies.paper_steps import ALPHAS, QWEN, REASONERS, SWEPT, TRAINED
from harness.studies.scale import Scale
from harness.studies.step import Step, Trial, step

SFT = "best_sft"
RATES = grid("lr", at=[[1e-6], [5e-6], [2e-5]])
PULLS = grid("lr", "alpha", at=[[1e-6, 1.0], [5e-6, 0.3], [2e-5, 0.1]])
STARTS = (0.05, 0.1)
SHARES = (0.25, 0.5, 0.75)
"""Of SFT in WiSE-FT."""
COST: Mapping[str, Any] = {"seconds": 10800}
ARMS = {
    SFT: Arm(label="SFT, tuned", recipe="sft", grid=RATES, cost=COST),
    "best_drift": Arm(label="DRIFT, tuned", recipe="drift", grid=PULLS, cost=COST),
    "best_published": Arm(
        label="DRIFT, a pull per micro-batch, tuned",
        recipe="drift",
        fixed=("when=backward",),
        grid=PULLS,
        cost=COST,
    ),
    "best_merge_then_sft": Arm(
        label="merge, then SFT, tuned",
        recipe="sft",
        grid=grid(
            "start",
            "lr",
            at=[["merge-0.05", 5e-6], ["merge-0.10", 1e-6], ["merge-0.10", 5e-6]],
        ),
        cost=COST,
    ),
}
"""Of both families that are trained."""
SAID = f"{QWEN}/said.jsonl"
RIVALS = {
    "text_sft": Arm(
        label="SFT on the reasoner's text, tuned", recipe="sft", grid=RATES, rows=(SAID,), cost=COST
    ),
    "mixed_sft": Arm(
        label="SFT on pictures and the reasoner's text, tuned",
        recipe="sft",
        grid=RATES,
        rows=("", SAID),
        cost={"seconds": 21600},
    ),
    "grpo": Arm(
        label="GRPO on adapters, tuned",
        recipe="lora_grpo",
        grid=grid("lr", at=[[5e-6], [1e-5], [2e-5]]),
        fixed=("epochs=0.4",),
        cost={"seconds": 14400, "gpu": "one", "disk_gib": 0.7},
    ),
}
"""Of Qwen2.5-VL, as controls."""


def of_family(family: str, controls: bool) -> dict[str, Arm]:
    """The arms that a family is tried at."""
    return ARMS | (RIVALS if controls and f"seed-0/{family}" == QWEN else {})


def names(family: str, controls: bool) -> tuple[str, ...]:
    """What is counted for each seed."""
    return (*of_family(family, controls), arms.WISE)


def tried(scale: Scale, controls: bool) -> list[Step]:
    """Trials of every arm, of merges and of WiSE-FT, and what was chosen of them."""
    steps = _said(scale) if controls else []
    for family in SWEPT:
        steps += arms.merges_tried(scale, family, ALPHAS, seconds=300)
    for family in TRAINED:
        at, pair = f"seed-0/{family}/merges", parts.pair(family)
        words = ("--alphas", ",".join(map(str, STARTS)), "--out-dir", at)
        more: dict[str, Any] = {"disk_gib": scale.disk(at) * len(STARTS), "seconds": 300}
        steps.append(step(at, "merge", *pair, *words, reads=pair, stage="tuning", **more))
        steps += arms.tried(scale, family, of_family(family, controls), seconds=900)
    steps.append(arms.choose(arms.CHOSEN, first_trials(controls)))
    for family in TRAINED:
        steps += arms.wise_tried(scale, family, SFT, len(RATES), SHARES, seconds=900)
    steps.append(arms.choose(arms.CHOSEN_LATER, [*_vlms(), *wise_trials()]))
    return [*steps, *(_merged(scale, family) for family in SWEPT)]


def counted(scale: Scale, family: str, seed: int, controls: bool) -> list[Step]:
    """Every arm of a family at what was chosen for it, and WiSE-FT of its SFT."""
    at = f"seed-{seed}/{family}"
    steps = [
        arms.counted(scale, f"{at}/{name}", arm, seed, family)
        for name, arm in of_family(family, controls).items()
    ]
    more = {"stage": "at-their-best", "seconds": 180}
    return [*steps, arms.wise_counted(scale, family, seed, SFT, **more)]


def first_trials(controls: bool) -> list[Trial]:
    """Of what starts from no other arm."""
    merges = [one for family in SWEPT for one in arms.merge_trials(family, ALPHAS)]
    trained = [one for f in TRAINED for one in arms.trials(f, of_family(f, controls))]
    return [*merges, *trained]


def wise_trials() -> list[Trial]:
    """Of WiSE-FT."""
    return [one for family in TRAINED for one in arms.wise_trials(family, SHARES)]


def _vlms() -> Sequence[Trial]:
    return [one for f in TRAINED for one in arms.merge_trials(f, ()) if one.method == "vlm"]


def _merged(scale: Scale, family: str) -> Step:
    return arms.merge_chosen(scale, family, stage="at-their-best", seconds=180)


def _said(scale: Scale) -> list[Step]:
    """The reasoner's own right answers to questions in words, as rows to learn from."""
    reasoner, run = f"{QWEN}/reasoner", f"{QWEN}/said"
    asked = (*REASONERS["qwen2_5_vl"], *scale.options_text, *scale.engine)
    return [
        step(
            run,
            *("eval", reasoner, "--tasks", "gsm8k_train", "--out", run, "--overwrite", *asked),
            reads=(reasoner, *scale.standins),
            gpu="one",
            resumes=True,
            stage="text",
            seconds=3600,
        ),
        step(
            SAID,
            *("rows", run, "--out", SAID, "--inline"),
            reads=(run,),
            writes=(SAID, SAID.replace(".jsonl", ".made.json")),
            stage="text",
            seconds=60,
        ),
    ]
