"""A study with tuning whose truth is known: ten seeds that count, two that were tuned on."""

import json
from dataclasses import asdict, replace

import graded

from harness.studies.step import Claim, Design, Method, MethodRun, Trial, Tuning

IMAGE, PERCEPTION = "reasoning-image", "perception"
QUESTIONS = 40
"""Of a group; scores are multiples of 1/40."""

ARMS = {
    "vlm": (7, 38, 0),
    "sft": (18, 37, 4e11),
    "drift": (25, 35, 4e11),
    "random": (9, 37, 4e11),
    "best_merge": (12, 34, 0),
    "sft_16": (26, 36, 64e11),
}
"""Method → right answers on IMAGE and on PERCEPTION, and FLOPs of its training."""

SHIFTS = {"llava_next": (0, 1, 2, 1, 0, -1, 2, 0, 1, -1), "qwen2_5_vl": (-6, -5, 0, 1, -7, -6) * 2}
"""Family → what each seed adds to DRIFT's right answers on IMAGE."""

CLAIMS = (
    Claim(text="DRIFT reasons better than SFT", method="drift", against="sft", group=IMAGE,
          primary=True),
    Claim(text="DRIFT costs perception", method="drift", against="vlm", group=PERCEPTION,
          sign=-1, primary=True),
    Claim(text="A random direction raises reasoning", method="random", against="vlm",
          group=IMAGE, primary=True),
    Claim(text="Merging reasons better than SFT", method="best_merge", against="sft",
          group=IMAGE, primary=True),
    Claim(text="Sixteen times the rows beat DRIFT", method="sft_16", against="drift", group=IMAGE),
)  # fmt: skip
TUNING = Tuning(task="pocket_validation", group=IMAGE, keeps=PERCEPTION, points=5.0, against="vlm")
LABELS = {
    "vlm": "VLM",
    "sft": "SFT",
    "drift": "DRIFT",
    "random": "DRIFT, random Δ",
    "best_merge": "best merge",
    "sft_16": "SFT, 16 × rows",
}

TRIED = {
    "vlm": {(): (7, 38)},
    "sft": {(2e-4,): (8, 38), (1e-3,): (14, 38), (3e-3,): (19, 37)},
    "drift": {
        (2e-4, 0.1): (9, 38),
        (1e-3, 0.1): (26, 37),
        (3e-3, 0.1): (30, 20),
        (2e-4, 1.0): (24, 34),
        (1e-3, 1.0): (31, 22),
        (3e-3, 1.0): (20, 6),
    },
}
"""Method → settings → right answers on validation; of DRIFT the highest loses too much."""


def answers(folder, task, right, prompt, made, losses=()):
    """Write a run with so many right answers on IMAGE and PERCEPTION, and its checkpoint's log."""
    questions = [
        replace(q, id=f"{group}-{q.id}", row={**q.row, "groups": (group,)})
        for group, floor in ((IMAGE, 0.18), (PERCEPTION, 0.1))
        for q in graded.simple_questions(QUESTIONS, task=task, prompt=f"{prompt} ?", floor=floor)
    ]
    # Of the wrong answers of each group one could not be read.
    marks = [
        1 if i < k else "unparsed" if i == QUESTIONS - 1 else 0
        for k in right
        for i in range(QUESTIONS)
    ]
    said = graded.simple_answers(questions, marks)
    checkpoint = folder.parents[1] / "checkpoints" / folder.name
    graded.write_run(folder, questions, said, made=made, checkpoint=str(checkpoint))
    if losses:
        checkpoint.mkdir(parents=True, exist_ok=True)
        lines = [{"step": i, "loss": loss, "rho": 0.5} for i, loss in enumerate(losses, start=1)]
        (checkpoint / "drift_log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))


def made(flops, method="drift", **settings):
    cost = {"seconds": 5.0, "flops": flops} if flops else {"seconds": 1.0}
    return {"method": method, "settings": settings, "cost": cost}


SETTLED = [1.0] * 10 + [0.2] * 90
FALLING = [1.0 - i / 100 for i in range(100)]


def write(folder, families=("llava_next", "qwen2_5_vl"), seeds=10):
    """Write the study: run folders, training logs, the record."""
    trials = []
    for family in families:
        for seed in range(seeds):
            at = folder / f"seed-{seed}" / family
            for name, (image, perception, flops) in ARMS.items():
                more = SHIFTS[family][seed] if name == "drift" else 0
                right = (image + more + seed % 3, perception - seed % 2)
                losses = SETTLED if name == "drift" else FALLING if flops else ()
                origin = made(flops, "merge" if name == "best_merge" else "drift")
                answers(at / "runs" / name, "pocket", right, at.parent.name, origin, losses)
        for seed in (100, 101):
            for name, settings in TRIED.items():
                for values, right in settings.items():
                    own = dict(zip(("lr", "alpha"), values, strict=False))
                    run = "-".join([name, *map(str, values)])
                    place = f"tuning/seed-{seed}/{family}/runs/{run}"
                    right = tuple(min(QUESTIONS, k + seed % 2) for k in right)
                    losses = FALLING if own.get("lr") == 2e-4 else SETTLED
                    cost = made(4e11, **own)
                    answers(folder / place, "pocket_validation", right, place, cost, losses)
                    trials.append(
                        Trial(method=name, family=family, seed=seed, folder=place, settings=own)
                    )
    methods = tuple(
        Method(
            name=name,
            label=LABELS[name],
            runs=tuple(
                MethodRun(family, seed, f"seed-{seed}/{family}/runs/{name}")
                for family in families
                for seed in range(seeds)
            ),
        )
        for name in ARMS
    )
    design = Design(
        methods=methods,
        claims=CLAIMS,
        baseline="sft",
        trials=tuple(trials),
        tuning=TUNING,
        floors={IMAGE: 0.265},
    )
    (folder / "steps").mkdir()
    (folder / "steps" / "study.json").write_text(json.dumps({"recipe": "mine", **asdict(design)}))
    return folder
