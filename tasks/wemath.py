"""We-Math: 525 problems of two or three steps, each asked whole and step by step; 1,740 questions.

Paper: Qiao et al. 2024, "We-Math: Does Your Large Multimodal Model Achieve Human-like Mathematical
Reasoning?", arXiv 2407.01284. Code: github.com/We-Math/We-Math at a57a0e83 (data CC BY-NC 4.0);
VLMEvalKit (Apache-2.0) at cfa63b1d, its judge's text from vlmeval/dataset/utils/multiple_choice.py
as a later version has it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from tasks import multiple_choice, published
from tasks.data import FOLDER, Row
from tasks.data.loading import loader
from tasks.data.local import questions
from tasks.grading import vlmevalkit
from tasks.judging import Judging, Reading, metrics
from tasks.published import Check, Record, Vectors

TEMPLATE = (
    "Now, we require you to solve a multiple-choice math question.\n"
    "Please briefly describe your thought process and provide the final answer(option).\n"
    "Question: {question}\n"
    "Option: {option}\n"
    "Regarding the format, please answer following the template below, and be sure to include two "
    "<> symbols:\n"
    "<Thought process>:<<your thought process>>\n"
    "<Answer>:<<your option>>."
)
"""From a contributor's generator; the repository has no prompt of its own."""

HINT = (
    "Now, we require you to solve a multiple-choice math question. Please briefly describe your "
    "thought process and provide the final answer(option)."
)
"""As in lmms-eval's copy of VLMEvalKit's prompt; VLMEvalKit's own table was not seen."""

PARTS = {"2steps": 3, "3steps": 4}
"""Kind of problem → its questions: each step, and the whole."""

DOMAINS = {
    "Understanding and Conversion of Units": (
        "Conversion Rates and Calculations Between Area Units",
        "Conversion Rates and Calculations Between Volume Units (Including Liters and Milliliters)",
        "Conversion Rates and Calculations Between Length Units",
    ),
    "Angles and Length": (
        "Understanding Angles (Using a Protractor)",
        "Understanding Length (Using a Ruler)",
    ),
    "Calculation of Solid Figures": (
        "Surface Area of Cylinders",
        "Surface Area of Rectangular Cuboids",
        "Surface Area of Cubes",
        "Volume and Capacity of Cylinders",
        "Volume and Capacity of Cones",
        "Volume and Capacity of Rectangular Cuboids",
        "Volume and Capacity of Cubes",
    ),
    "Understanding of Solid Figures": (
        "Expanded View of Cylinders",
        "Expanded View of Rectangular Cuboids",
        "Expanded View of Cubes",
        "Properties of Cylinders",
        "Properties of Cones",
        "Properties and Understanding of Rectangular Cuboids",
        "Properties and Understanding of Cubes",
        "Observing Objects",
    ),
    "Calculation of Plane Figures": (
        "Sum of Interior Angles of Other Polygons",
        "Sum of Interior Angles of Triangles",
        "Calculation and Comparison of Angles",
        "Area of Parallelograms",
        "Area of Triangles",
        "Area of Sectors",
        "Area of Trapezoids",
        "Area of Circles",
        "Area of Rectangles",
        "Area of Squares",
        "Perimeter of Parallelograms",
        "Perimeter of Triangles",
        "Perimeter of Trapezoids",
        "Circumference of Circles",
        "Perimeter of Rectangles",
        "Perimeter of Squares",
    ),
    "Understanding of Plane Figures": (
        "Properties and Understanding of Parallelograms",
        "Properties and Understanding of Triangles",
        "Properties and Understanding of Trapezoids",
        "Properties and Understanding of Rectangles",
        "Properties and Understanding of Squares",
        "Understanding Triangular Rulers",
        "Understanding and Representing Angles",
        "Distance Between Two Points",
        "Understanding Line Segments, Lines, and Rays",
        "perpendicularity",
        "Parallel",
        "Understanding Sectors",
        "Understanding Circles",
        "Observing Figures",
    ),
    "Basic Transformations of Figures": (
        "Axial Symmetry",
        "Translation",
        "Rotation",
    ),
    "Cutting and Combining of Figures": (
        "Combining and Dividing Solids",
        "Division of Plane Figures",
        "Combining Plane Figures",
        "Tessellation of Figures",
        "Folding Problems of Figures",
    ),
    "Direction": (
        "Southeast, Southwest, Northeast, Northwest Directions",
        "Cardinal Directions (East, South, West, North)",
    ),
    "Route Map": (
        "Determining the Positions of Objects Based on Direction, Angle, and Distance",
        "Describing Simple Routes Based on Direction and Distance",
    ),
    "Correspondence of Coordinates and Positions": (
        "Representing Positions Using Ordered Pairs",
        "Finding Positions Based on Ordered Pairs",
    ),
    "Position": (
        "Front-Back Position",
        "Up-Down Position",
        "Left-Right Position",
    ),
}
"""Domain → its knowledge concepts: data/knowledge_structure_nodes.json."""


# Rows


def _row(row: Row) -> Row:
    concept = "knowledge concept"
    return {
        "id": f"{row['ID']}/{row['key']}",
        "ID": row["ID"],
        "key": row["key"],
        **{field: row.get(field) for field in ("question", "option", "answer")},
        "metadata": {concept: row[concept]},
        "images": row.get("images") or ([row["image_path"]] if row.get("image_path") else None),
        FOLDER: row[FOLDER],
        **{field: row[field] for field in ("image_sha256",) if field in row},
    }


_FILES = "wemath_testmini.json", "data/testmini.json", "testmini.json"

dataset = loader(
    "wemath",
    _row,
    ["question", "option", "answer", "key", "images"],
    questions("wemath", *_FILES, benchmark="We-Math"),
)


_LABEL = re.compile(r"(?:^|[;\s])([A-I])[.．](?!\s*(?:;|$))")


def options(row: Row) -> dict[str, str]:
    """Split the options, which are one text.

    >>> options({"option": "A. 3, 5; B. to get shape ;C.; C. No.; F. No correct answer"})
    {'A': '3, 5', 'B': 'to get shape ;C.', 'C': 'No.', 'F': 'No correct answer'}
    """
    text = row["option"]
    labels: list[re.Match[str]] = []
    for label in _LABEL.finditer(text):
        if not labels or label[1] > labels[-1][1]:
            labels.append(label)
    ends = [label.start() for label in labels[1:]] + [len(text)]
    return {
        label[1]: text[label.end() : end].strip().removesuffix(";").strip()
        for label, end in zip(labels, ends, strict=True)
    }


# Prompts


def to_prompt(row: Row) -> str:
    """Return the picture and the template with question and options."""
    filled = TEMPLATE.format(question=row["question"], option=row["option"])
    return f"<image>{filled}"


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's form (dataset `WeMath`): hint, question, options, no request."""
    listed = "".join(f"{letter}. {text}\n" for letter, text in options(row).items())
    return f"<image>Hint: {HINT}\nQuestion: {row['question']}\nOptions:\n{listed}"


# Verdicts


def official(row: Row, text: str) -> Reading:
    """Take the first letter behind the last "Answer" (accuracy.py); without one it is wrong."""
    letter = letter_behind(text)
    return letter, letter == row["answer"]


def letter_behind(text: str) -> str | None:
    """Return the first sign behind the last "Answer" and `<>:.`, if it is one of A to H.

    >>> letter_behind("<Answer>:<<C>>."), letter_behind("Answer: **B**"), letter_behind("Big")
    ('C', None, 'B')
    """
    rest = re.sub("[><:.]", "", text.rpartition("Answer")[2].strip()).strip()
    return rest[0] if rest and rest[0] in "ABCDEFGH" else None


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match with the options."""
    choose = partial(vlmevalkit.choose, template=vlmevalkit.MATCH_MARKED, head=head)
    return (yield from choose(row["question"], options(row), row["answer"], text))


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text, without the signs of the form that was asked for."""
    plain = re.sub("<<|>>", " ", text).replace("<Answer>", "Answer")
    return multiple_choice.read(options(row), row["answer"], plain)


# Breakdowns and metrics

_DOMAIN = {concept: domain for domain, concepts in DOMAINS.items() for concept in concepts}


def groups(row: Row) -> tuple[str, ...]:
    """Return the number of steps that the question takes (S1, S2, S3) and its place, the key.

    A single step also has its knowledge concept, and the domain of that.
    """
    kind, place = row["key"].split("_")
    if place == "multi":
        return f"S{kind[0]}", row["key"]
    concept = row["metadata"]["knowledge concept"]
    domain = _DOMAIN.get(concept, "none of the 12")
    return "S1", row["key"], f"domain: {domain}", f"knowledge: {concept}"


def cluster(row: Row) -> str:
    """Return the problem, whose steps and whole are questions each."""
    kind, _ = row["key"].split("_")
    return f"{kind} {row['ID'].split('_')[1]}"


def summary(graded: Iterable[tuple[Row, bool]]) -> dict[str, float]:
    """Return We-Math's four-dimensional metrics, as shares of the problems asked completely.

    A problem is insufficient knowledge (IK: not every step right, nor the whole), inadequate
    generalization (IG: every step right, the whole not), complete mastery (CM) or rote
    memorization (RM: the whole right without the steps). Strict CM wants every step right, loose
    CM one of them. `accuracy …` is of a domain, as the official script has it: the mean over its
    knowledge concepts, large or small.

    Args:
        graded: Row, and whether it was answered right.

    Returns:
        Metric → value; empty when no problem was asked completely.
    """
    problems: dict[tuple[str, str], dict[str, bool]] = {}
    concepts: dict[str, list[bool]] = defaultdict(list)
    for row, right in graded:
        kind, place = row["key"].split("_")
        problems.setdefault((kind, row["ID"].split("_")[1]), {})[place] = right
        if place != "multi":
            concepts[row["metadata"]["knowledge concept"]].append(right)
    complete = [p for (kind, _), p in problems.items() if len(p) == PARTS[kind]]
    if not complete:
        return {}
    counts = dict.fromkeys(("IK", "IG", "CM strict", "RM strict", "CM loose", "RM loose"), 0)
    for parts in complete:
        whole = parts["multi"]
        steps = [right for place, right in parts.items() if place != "multi"]
        if whole:
            counts["CM strict" if all(steps) else "RM strict"] += 1
            counts["CM loose" if any(steps) else "RM loose"] += 1
        else:
            counts["IG" if all(steps) else "IK"] += 1
    return {"problems": len(complete), **shares(counts, len(complete)), **_domains(concepts)}


def shares(counts: Mapping[str, int], n: int) -> dict[str, float]:
    """Return the four-dimensional metrics from counts of problems.

    Score = CM + IG / 2. `RM rate` is RM / (CM + RM), as the official script has it.

    Args:
        counts: IK, IG, and CM and RM, strict and loose.
        n: All problems.
    """
    metrics = {name: count / n for name, count in counts.items()}
    for form in ("strict", "loose"):
        mastered, by_rote = counts[f"CM {form}"], counts[f"RM {form}"]
        metrics[f"score {form}"] = (mastered + counts["IG"] / 2) / n
        metrics[f"RM rate {form}"] = by_rote / (mastered + by_rote) if mastered + by_rote else 0.0
    return metrics


def _domains(concepts: Mapping[str, list[bool]]) -> dict[str, float]:
    found = {}
    for domain, names in DOMAINS.items():
        means = [sum(concepts[name]) / len(concepts[name]) for name in names if name in concepts]
        if means:
            found[f"accuracy {domain}"] = sum(means) / len(means)
    return found


process_results = metrics(acc=robust, acc_official=official)


# Published outputs


def from_record(record: Record) -> Row:
    """Return a record of published answers as a row: the questions of a problem share its `ID`."""
    return {"question": "", **record, "ID": record["id"], "id": f"{record['id']}/{record['key']}"}


def checks(_: Record) -> list[Check]:
    """Check letters and verdicts, and both sets of metrics."""
    return [Check("official", published.whole(official, from_record), _scores)]


def _scores(graded: published.Graded) -> dict[str, Any]:
    found = summary([(from_record(record), right) for record, right in graded])
    scores = published.shares(_steps)(graded)
    scores |= {f"accuracy/{domain}": found[f"accuracy {domain}"] for domain in DOMAINS}
    for form in ("strict", "loose"):
        at = f"({form.capitalize()})"
        scores |= {
            f"four_dim/Score {at}": found[f"score {form}"],
            f"four_dim/InsufficientKnowledge {at}": found["IK"],
            f"four_dim/InadequateGeneralization {at}": found["IG"],
            f"four_dim/CompleteMastery {at}": found[f"CM {form}"],
            f"four_dim/RoteMemorization {at}": found[f"RM rate {form}"],
        }
    return scores


def _steps(record: Record) -> list[str]:
    names = {"S1": "One-step(S1)", "S2": "Two-step(S2)", "S3": "Three-step(S3)"}
    return [f"accuracy/{names[groups(from_record(record))[0]]}"]


def from_counts(model: Record) -> dict[str, tuple[float, str]]:
    """Return the metrics that follow from a model's published counts, beside the published ones."""
    kinds = ("IK", "IG", "CM strict", "RM strict", "CM loose", "RM loose")
    problems = {kind: model[kind.replace(" ", "_")] for kind in kinds}
    found = shares(problems, sum(problems[kind] for kind in kinds[:4]))
    names = ("score strict", "score loose", "RM rate strict", "RM rate loose")
    return {metric: (found[metric], model[metric.replace(" ", "_")]) for metric in names}


VECTORS: Vectors = {("wemath.letter", "out"): lambda vector: letter_behind(vector["response"])}
