"""Pocket studies with made-up answers, written as the harness writes them."""

import hashlib
import io
import json
import math
import os
import random
from dataclasses import asdict
from pathlib import Path

from graded import write_run

from harness.runs.schema import Image, Question
from harness.studies.step import Method, MethodRun

GROUPS = ("perception", "reasoning-image", "reasoning-both", "reasoning-text")
ALPHAS = tuple(i / 10 for i in range(11))


def picture(digits, generator, size=56):
    """A PNG of two by two digits."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size * 0.42)
    canvas = Pillow.new("L", (size, size), 235)
    draw = ImageDraw.Draw(canvas)
    for i, digit in enumerate(digits):
        x, y = (i % 2) * size / 2, (i // 2) * size / 2
        jitter = generator.randint(-2, 2), generator.randint(-2, 2)
        draw.text((x + size * 0.1 + jitter[0], y + jitter[1]), str(digit), 40, font=font)
    file = io.BytesIO()
    canvas.save(file, "PNG")
    data = file.getvalue()
    return Image(hashlib.sha256(data).hexdigest(), ".png", data)


def pocket_questions(task, per_group, seed=0):
    generator = random.Random(f"{task}{seed}")
    questions = []
    for group in GROUPS:
        for i in range(per_group):
            digits = [generator.randrange(10) for _ in range(4)]
            words = " ".join(map(str, digits))
            shown = {"reasoning-text": words, "reasoning-both": f"<image> {words}"}
            asks = "second ?" if group == "perception" else "+ * - ?"
            images = () if group == "reasoning-text" else (picture(digits, generator),)
            a, b, c, d = digits
            answer = b if group == "perception" else ((a + b) * c - d) % 10
            row = {
                "answer": str(answer),
                "groups": (group,),
                "digits": digits,
                "floor": 0.1 if group == "perception" else 0.18,
            }
            prompt = f"{shown.get(group, '<image>')} {asks}"
            questions.append(
                Question(task=task, id=f"{group}-{i:04d}", prompt=prompt, images=images, row=row)
            )
    return questions


def pocket_answers(questions, skill, seed, text_only=False):
    """Skill: group → chance of a right answer. A question's difficulty is the same in every run."""
    generator = random.Random(seed)
    found = {}
    for q in questions:
        group = q.row["groups"][0]
        if text_only and group != "reasoning-text":
            continue
        a, b, c, d = q.row["digits"]
        hard = random.Random(q.id).random()
        right = 0.6 * hard + 0.4 * generator.random() < 0.05 + 0.9 * skill[group]
        answer = q.row["answer"] if right else str(generator.randrange(10))
        s, p = (a + b) % 10, (a + b) * c % 10
        thought = f"<think> {a} + {b} = {s} ; {s} * {c} = {p} ; {p} - {d} = {answer} </think> "
        text = answer if group == "perception" else thought + answer
        luck = generator.random()
        if luck < 0.01:
            found[q.task, q.id] = [(None, "truncated", None, f"<think> {a} + {b} = {a} + " * 4)]
        elif luck < 0.015:
            found[q.task, q.id] = [(None, "unparsed", None, "<think> </think>")]
        else:
            found[q.task, q.id] = [(answer == q.row["answer"], "rule", answer, text)]
    return found


def skills(name, alpha=0.0, shift=0.0):
    """Chance of a right answer by group, in the shape the merging literature reports."""
    step = 1 / (1 + math.exp(-14 * (alpha - 0.6 - shift)))
    if name == "merge":
        perception, reasoning = 0.97 - 0.45 * alpha**4, 0.15 + 0.6 * step * (1 - 0.5 * alpha**5)
    else:
        perception, reasoning = {
            "vlm": (0.97, 0.15),
            "reasoner": (0.2, 0.92),
            "sft": (0.97, 0.24 + shift),
            "drift": (0.93, 0.7 - 2 * shift),
        }[name]
    text = 0.2 + 0.75 * step if name == "merge" else min(0.97, reasoning + 0.06)
    return dict(zip(GROUPS, (perception, reasoning, reasoning + 0.03, text), strict=True))


def made(method, /, **settings):
    content = {
        "method": method,
        "name": method,
        "parents": [{"role": "vlm", "path": "vlm", "fingerprint": "f" * 64}],
        "settings": settings,
        "cost": {
            "seconds": 9.2,
            "processor_seconds": 8.1,
            "samples": 3200,
            "tokens": 64_000,
            "flops": 2.4e12,
            "device": "cpu",
            "peak_memory_bytes": 512 * 2**20,
        },
        "packages": {"torch": "2.13.0"},
        "git": None,
    }
    if method in ("drift", "merge"):
        content["coverage"] = {"tensors": 28, "parameters": 441_600, "decoder_share": 0.974}
    return content


LABELS = {"vlm": "VLM", "sft": "SFT", "drift": "DRIFT"}


def record(folder, claims=(), leave_out=(), out=None, **more):
    """Write what the study in a folder compares, as the harness does: whatever was run there.

    Args:
        folder: `<folder>/[seed-<n>/]<family>/<place>/<run>`; merges are one method, the best merge.
        claims: Of `harness.studies.step.Claim`.
        leave_out: Names of runs that are no method's.
        out: Where to write it, instead of the folder.
        more: Other fields.
    """
    found = {name: [] for name in ("vlm", "reasoner", "best_merge", "sft", "drift")}
    runs = [Path(at) for at, _, names in os.walk(folder, followlinks=True) if "run.json" in names]
    order = ["qwen2_5_vl", "llava_next", "idefics3"]
    by_family = {name: place for place, name in enumerate(order)}
    for run in sorted(sorted(runs), key=lambda run: by_family.get(run.parts[-3], 3)):
        parts = run.relative_to(folder).parts
        seed = int(parts[0].removeprefix("seed-")) if parts[0].startswith("seed-") else 0
        name = "best_merge" if parts[-1].startswith("merge-") else parts[-1]
        if name not in leave_out:
            found.setdefault(name, []).append(MethodRun(parts[-3], seed, "/".join(parts)))
    methods = [
        Method(
            name=name,
            label=LABELS.get(name, name.replace("_", " ")),
            runs=tuple(runs),
            chosen_on="pocket_validation" if name == "best_merge" else "",
        )
        for name, runs in found.items()
        if runs
    ]
    content = {"recipe": "mine", "baseline": "sft" if found["sft"] else "", **more}
    content |= {"methods": [asdict(one) for one in methods], "claims": [asdict(c) for c in claims]}
    place = (out or folder) / "steps"
    place.mkdir(exist_ok=True)
    (place / "study.json").write_text(json.dumps(content))


def write_study(
    folder,
    *,
    families=("qwen2_5_vl", "llava_next", "idefics3"),
    alphas=ALPHAS,
    per_group=30,
    validation=True,
):
    questions = pocket_questions("pocket", per_group)
    if validation:
        questions += pocket_questions("pocket_validation", max(2, per_group // 2))
    for f, family in enumerate(families):
        shift = 0.05 * f
        runs = {name: (skills(name, shift=shift), made(name)) for name in ("sft", "drift")}
        runs["vlm"] = (skills("vlm"), made("pocket-vlm"))
        runs["reasoner"] = (skills("reasoner"), made("pocket-reasoner"))
        for alpha in alphas:
            settings = made("merge", method="linear", alpha=alpha)
            runs[f"merge-{alpha:.2f}"] = (skills("merge", alpha, shift), settings)
        for name, (skill, origin) in runs.items():
            seed = f"{family}{'vlm' if name == 'merge-0.00' else name}"
            answers = pocket_answers(questions, skill, seed, text_only=name == "reasoner")
            write_run(folder / family / "runs" / name, questions, answers, made=origin)
            (folder / family / name).mkdir()
            (folder / family / name / "made.json").write_text(json.dumps(origin))
        (folder / family / "base").mkdir()
        (folder / family / "base" / "made.json").write_text(json.dumps(made("pocket-base")))
    (folder / "steps").mkdir()
    for i, name in enumerate(["world", *(f"{family}-train" for family in families), "evaluate"]):
        step = {"name": name, "seconds": 20.5 * (i + 1), "peak_memory_bytes": 2**30, "started": i}
        (folder / "steps" / f"{name}.json").write_text(json.dumps(step))
    whole = {"recipe": "pocket", "seconds": 99.0, "peak_memory_bytes": 2**31}
    record(folder, **whole)
    (folder / "steps" / "fingerprints.json").write_text("{}")
    return folder
