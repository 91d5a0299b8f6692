"""Score published model outputs again, and compare with what was published, row by row.

A folder holds `manifest.json` and the files that it lists: gzip JSON lines, one row a response,
with what was published about it. A row whose published verdict cannot be made again says so in its
own fields (a random draw, or code that has changed since), and is counted apart.
"""

import hashlib
import importlib
import json
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tasks
from common.errors import UserError
from common.progress import counted
from tasks.data import local
from tasks.judging import Reading, settle

Record = dict[str, Any]
Graded = list[tuple[Record, bool]]
Pair = tuple[Any, Any]
"""What is found here, and what was published."""


@dataclass(frozen=True)
class Check:
    """One thing that was published about responses of a benchmark."""

    what: str
    pair: Callable[[Record], Pair | None]
    """None for a record about which it was not published."""
    metrics: Callable[[Graded], dict[str, Any]] | None = None
    """Of records and whether they are right, by these pairs: the published scores by their names,
    the parts of a name joined by "/"; None where pairs are no verdicts."""


@dataclass(frozen=True)
class Outcome:
    """How one check went on one file."""

    file: str
    what: str
    rows: int
    agree: int
    flagged: int
    """Rows that disagree, as the file says they must."""
    wrong: tuple[str, ...]
    """Names of the others that disagree, with what was found and what was published."""
    score: float
    """Share of right answers by our verdicts; nan where the check is of something else."""
    published: float
    seconds: float


# A folder


def outcomes(folder: Path) -> Iterator[Outcome]:
    """Yield how the checks went, file by file.

    Raises:
        UserError: The folder is none of these, or a file is not what its manifest says.
    """
    for entry in _manifest(folder):
        path = folder / entry["file"]
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise UserError(f"{path} is not the file that its manifest.json lists: copy it again")
        rows = local.read_json(path)
        for check in checks(entry):
            yield from _checked(entry, check, rows)
    for name, compare in TABLES.items():
        if (folder / name).is_file():
            yield from compare(name, json.loads((folder / name).read_text()))


def _manifest(folder: Path) -> list[dict[str, Any]]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise UserError(f"{folder} has no manifest.json: give a folder of published outputs")
    try:
        return list(json.loads(path.read_text())["files"])
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} lists no files: {error!r}") from error


def _checked(entry: dict[str, Any], check: Check, rows: list[Record]) -> Iterator[Outcome]:
    began = time.monotonic()
    agree, flagged, wrong = 0, 0, []
    graded: Graded = []
    right = published = 0
    for row in counted(entry["file"], rows, len(rows)):
        try:
            pair = check.pair(row)
        except Exception as error:
            pair = f"{type(error).__name__} {error}", "a value"
        if pair is None:
            continue
        found, expected = pair
        if found == expected:
            agree += 1
        elif _is_flagged(row):
            flagged += 1
        else:
            wrong.append(f"{_name(row)}: {found!r}, published {expected!r}")
        right += found is True
        published += expected is True
        graded.append((row, (expected if _is_flagged(row) else found) is True))
    if not graded:
        return
    counts = check.metrics is not None
    yield Outcome(
        file=entry["file"],
        what=check.what,
        rows=len(graded),
        agree=agree,
        flagged=flagged,
        wrong=tuple(wrong),
        score=right / len(graded) if counts else math.nan,
        published=published / len(graded) if counts else math.nan,
        seconds=time.monotonic() - began,
    )
    if check.metrics is not None:
        yield from _compared(entry, check, check.metrics(graded))


def _name(record: Record) -> str:
    return f"{record['id']}/{record['key']}" if "key" in record else str(record["id"])


def _is_flagged(record: Record) -> bool:
    """Whether the file says that the published verdict was drawn, or that it is stale."""
    return bool(record.get("random_fallback")) or "rerun_verdict" in record


# Published scores


def _compared(entry: dict[str, Any], check: Check, metrics: dict[str, Any]) -> Iterator[Outcome]:
    """Compare the scores that both have; a share in words is good to its last digit.

    Counts are made of verdicts that were compared row by row. Where they differ, it is by other
    groups than those in the file (MathVista's were edited since), and they are flagged.
    """
    published = dict(_flat(entry.get("official_scores") or {}))
    names = [name for name in metrics if name in published]
    flagged, wrong = 0, []
    for name in names:
        found, expected = metrics[name], published[name]
        if _same_score(found, expected):
            continue
        if isinstance(found, float):
            wrong.append(f"{name}: {found!r}, published {expected!r}")
        else:
            flagged += 1
    if names:
        yield Outcome(
            file=entry["file"],
            what=f"{check.what}: scores",
            rows=len(names),
            agree=len(names) - len(wrong) - flagged,
            flagged=flagged,
            wrong=tuple(wrong),
            score=math.nan,
            published=math.nan,
            seconds=0.0,
        )


def _flat(scores: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value


def _same_score(found: Any, published: Any) -> bool:
    if isinstance(published, str) and isinstance(found, float):
        number = re.match(r"-?[\d.]+", published)
        return number is not None and abs(float(number[0]) - 100 * found) <= 0.0051
    if isinstance(published, float):
        return math.isclose(found, published, rel_tol=1e-9)
    return bool(found == published)


def _counts(graded: Graded, names: Callable[[Record], Iterable[str]]) -> dict[str, tuple[int, int]]:
    """Return for each name the right answers and all of the records that bear it."""
    found: dict[str, list[bool]] = defaultdict(list)
    for record, right in graded:
        for name in names(record):
            found[name].append(right)
    return {name: (sum(rights), len(rights)) for name, rights in found.items()}


# One response


def _read(record: Record, task: str, protocol: str, replies: Iterable[str] = ()) -> Reading:
    loaded = tasks.load(task, protocol)
    module = importlib.import_module(loaded.verdict.__module__)
    from_record = getattr(module, "from_record", None)
    row = from_record(record) if from_record else {"question": "", "images": [], **record}
    text = record.get("response_entry", record.get("response")) or ""
    return settle(loaded.verdict, row, text, replies)[0]


def _verdict(
    task: str,
    protocol: str = "official",
    replies: Callable[[Record], Iterable[str]] = lambda record: (),
    expected: str = "official_verdict",
) -> Callable[[Record], Pair | None]:
    """Compare whether a response is right."""

    def pair(record: Record) -> Pair | None:
        if record.get(expected) is None:
            return None
        return _read(record, task, protocol, replies(record))[1], record[expected]

    return pair


def _rule(task: str, field: str) -> Callable[[Record], Pair | None]:
    """Compare what VLMEvalKit's rules read without a judge; False is nothing."""

    def pair(record: Record) -> Pair | None:
        published = record.get(field)
        if published is None:
            return None
        return _read(record, task, "vlmevalkit")[0] or False, _of(published, "2025")

    return pair


# The benchmarks


def checks(entry: dict[str, Any]) -> list[Check]:
    """Return what can be checked of a file, by the benchmark that its manifest names.

    Raises:
        UserError: The benchmark is not known.
    """
    known = {
        "MathVista": _mathvista,
        "MATH-V": _mathvision,
        "LogicVista": _logicvista,
        "We-Math": _wemath,
        "MathVerse": _mathverse,
        "MMMU": _mmmu,
        "MMMU-Pro": _mmmu_pro,
        "MMStar": _mmstar,
        "POPE": _pope,
        "HallusionBench": _hallusionbench,
        "ScienceQA": _scienceqa,
    }
    if entry.get("benchmark") not in known:
        raise UserError(
            f"{entry['file']} is of the benchmark {entry.get('benchmark')!r}: expected one of "
            f"{', '.join(known)}"
        )
    return known[entry["benchmark"]](entry)


def _mathvista(entry: dict[str, Any]) -> list[Check]:
    """Check both integer rules and VLMEvalKit's rules, from the published extraction.

    The scripts' own shortcuts are passed by: some files hold an extraction of an empty response.
    """
    from tasks import mathvista

    def official(expected: str, legacy: bool) -> Callable[[Record], Pair | None]:
        def pair(record: Record) -> Pair:
            extraction = record["official_extraction"] or ""
            return mathvista.score(record, extraction, legacy)[1], record[expected]

        return pair

    def rules(version: str) -> Callable[[Record], Pair | None]:
        def pair(record: Record) -> Pair | None:
            expected = _of(record["vlmevalkit"], version)["prefetch"]
            found = mathvista.prefetch(record, record["response"] or "", head=version == "head")
            return _unless_error(found or "False", str(expected))

        return pair

    def extracted(version: str) -> Callable[[Record], Pair | None]:
        def pair(record: Record) -> Pair | None:
            expected = _of(record["vlmevalkit"], version)["hit_given_official_extraction"]
            extraction = record["official_extraction"] or ""
            return _unless_error(
                mathvista.hit(record, extraction, head=version == "head"), expected
            )

        return pair

    def names(record: Record) -> Iterator[str]:
        yield "average"
        for name in ("question_type", "answer_type"):
            yield f"{name}/{record[name]}"
        for name in ("language", "source", "category", "task", "context", "grade"):
            yield f"{name}/{record['metadata'][name]}"
        yield from (f"skills/{skill}" for skill in record["metadata"]["skills"])

    legacy = "legacy" in entry.get("integer_rule_of_published_verdicts", "")
    return [
        Check("official", official("official_verdict", legacy), _counter(names)),
        Check("official, now", official("current_code_verdict", False), _no_metrics),
        Check("vlmevalkit, rules", rules("2025")),
        Check("vlmevalkit, rules of 2026", rules("head")),
        Check("vlmevalkit, same extraction", extracted("2025"), _no_metrics),
        Check("vlmevalkit, same extraction, 2026", extracted("head"), _no_metrics),
    ]


def _of(by_version: dict[str, Any], version: str) -> Any:
    """Return what was published of a version of VLMEvalKit, or of both alike."""
    return by_version["both"] if "both" in by_version else by_version[version]


def _unless_error(found: Any, published: Any) -> Pair | None:
    """Return nothing to compare where VLMEvalKit's own code breaks."""
    return None if str(published).startswith("ERR:") else (found, published)


def _no_metrics(_: Graded) -> dict[str, Any]:
    return {}


def _counter(names: Callable[[Record], Iterable[str]]) -> Callable[[Graded], dict[str, Any]]:
    """Return a function that counts right answers and all, of each name that a record bears."""

    def metrics(graded: Graded) -> dict[str, Any]:
        counts = _counts(graded, names)
        correct = {f"{name}/correct": k for name, (k, _) in counts.items()}
        return correct | {f"{name}/total": n for name, (_, n) in counts.items()}

    return metrics


def _mathvision(_: dict[str, Any]) -> list[Check]:
    def extraction(record: Record) -> Pair | None:
        from tasks import mathvision

        expected = record.get("rerun_extraction", record["official_extraction"])
        return mathvision.extract(record["response"] or ""), expected

    def names(record: Record) -> Iterator[str]:
        level, subject = f"level{record['metadata']['level']}", record["metadata"]["subject"]
        yield from ("-all", f"-{level}", subject, f"{subject}_{level}", f"-{level}_{subject}")

    def metrics(graded: Graded) -> dict[str, Any]:
        counts = _counts(graded, names)
        return {name: f"{k}/{n}={round(100 * k / n, 2)}%" for name, (k, n) in counts.items()}

    return [
        Check("official", _verdict("mathvision"), metrics),
        Check("official, now", _verdict("mathvision", expected="rerun_verdict")),
        Check("official, extraction", extraction),
        Check("vlmevalkit, rules", _rule("mathvision", "vlmevalkit_prefetch")),
    ]


def _logicvista(_: dict[str, Any]) -> list[Check]:
    def letters(record: Record) -> list[str]:
        return [", ".join(record["official_extraction"])]

    def names(record: Record) -> Iterator[str]:
        yield "total"
        yield from record["metadata"]["skill"]
        found = record["metadata"].get("published_capability", ())
        yield from (f"capability:{name}" for name in found)

    return [Check("official", _verdict("logicvista", replies=letters), _counter(names))]


def _wemath(_: dict[str, Any]) -> list[Check]:
    from tasks import wemath

    def names(record: Record) -> Iterator[str]:
        steps = {"S1": "One-step(S1)", "S2": "Two-step(S2)", "S3": "Three-step(S3)"}
        yield f"accuracy/{steps[wemath.groups(wemath.from_record(record))[0]]}"

    def metrics(graded: Graded) -> dict[str, Any]:
        found = _summary("wemath", "official", graded)
        scores: dict[str, Any] = {name: k / n for name, (k, n) in _counts(graded, names).items()}
        scores |= {f"accuracy/{domain}": found[f"accuracy {domain}"] for domain in wemath.DOMAINS}
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

    return [Check("official", _verdict("wemath"), metrics)]


def _mathverse(_: dict[str, Any]) -> list[Check]:
    return [Check("official", _verdict("mathverse"), _no_metrics)]


def _mmmu(_: dict[str, Any]) -> list[Check]:
    def names(record: Record) -> tuple[str, str]:
        return "overall", record["metadata"]["subject"]

    return [
        Check("official", _verdict("mmmu"), _counter(names)),
        Check("vlmevalkit, rules", _rule("mmmu", "vlmevalkit_prefetch")),
    ]


def _mmmu_pro(_: dict[str, Any]) -> list[Check]:
    from tasks import mmmu
    from tasks.grading import vlmevalkit

    official = {name: _verdict(f"mmmu_pro_{name}") for name in ("standard", "vision")}
    rules = {name: _rule(f"mmmu_pro_{name}", "vlmevalkit_prefetch") for name in official}

    def verdict(record: Record) -> Pair | None:
        return official[_setting(record)](record)

    def rule(record: Record) -> Pair | None:
        if "_cot" in record["setting"]:
            return rules[_setting(record)](record)
        # Asked for the letter alone, VLMEvalKit looks at the whole response.
        choices = vlmevalkit.lettered(mmmu.unquoted(record["choices"]))
        found = vlmevalkit.can_infer(record["response"], choices)
        return found or False, _of(record["vlmevalkit_prefetch"], "2025")

    return [
        Check("official", verdict, _counter(lambda _: ["overall"])),
        Check("vlmevalkit, rules", rule),
    ]


def _setting(record: Record) -> str:
    return "vision" if "vision" in record["setting"] else "standard"


def _mmstar(_: dict[str, Any]) -> list[Check]:
    def names(record: Record) -> tuple[str, str, str]:
        core, fine = record["metadata"]["category"], record["metadata"]["l2_category"]
        return "final score", core, f"{core}({fine})"

    def metrics(graded: Graded) -> dict[str, Any]:
        return {name: k / n for name, (k, n) in _counts(graded, names).items()}

    return [Check("official", _verdict("mmstar"), metrics)]


def _pope(_: dict[str, Any]) -> list[Check]:
    def extraction(record: Record) -> Pair | None:
        return _read(record, "pope", "official")[0], record["official_extraction"]

    def word(record: Record) -> Pair | None:
        found = _read(record, "pope", "vlmevalkit")[0]
        return found or "Unknown", record["vlmevalkit_extraction"]

    def metrics(graded: Graded) -> dict[str, Any]:
        found = _summary("pope", "official", graded)
        names = {"accuracy": "accuracy", "precision": "precision", "recall": "recall",
                 "F1": "f1", "yes ratio": "yes_ratio"}  # fmt: skip
        return {f"official/{theirs}": found[f"all {ours}"] for ours, theirs in names.items()}

    return [
        Check("official", _verdict("pope"), metrics),
        Check("official, extraction", extraction),
        Check("vlmevalkit, rules", word),
    ]


def _hallusionbench(_: dict[str, Any]) -> list[Check]:
    def code(record: Record) -> list[str]:
        replies = {"0": "incorrect", "1": "correct", "2": "unclear"}
        return [replies[record["judge_code"]]] if "judge_code" in record else []

    def word(record: Record) -> Pair | None:
        if "vlmevalkit_extraction" not in record:
            return None
        found = _read(record, "hallusionbench", "vlmevalkit")[0]
        return found or "Unknown", record["vlmevalkit_extraction"]

    def metrics(graded: Graded) -> dict[str, Any]:
        found = _summary("hallusionbench", "official", graded)
        scores: dict[str, Any] = {name: found[name] for name in ("yes_diff", "fp_ratio")}
        for part, suffix in (("overall", ""), ("VD", " VD"), ("VS", " VS")):
            for name in ("aAcc", "fAcc", "qAcc", "easy", "hard"):
                scores[f"{part}/{name}"] = 100 * found[f"{name}{suffix}"]
        return scores

    return [
        Check("official", _verdict("hallusionbench", replies=code), metrics),
        Check("vlmevalkit, rules", word),
    ]


def _scienceqa(_: dict[str, Any]) -> list[Check]:
    def option(record: Record) -> Pair | None:
        if len(re.findall(r"The answer is ([A-Z]).", record["response"])) != 1:
            return None  # the script draws one at random
        letter = _read(record, "scienceqa", "official")[0]
        return "ABCDE".index(letter) if letter else None, record["official_extraction"]

    return [Check("official, extraction", option)]


def _summary(task: str, protocol: str, graded: Graded) -> dict[str, float]:
    loaded = tasks.load(task, protocol)
    if loaded.summary is None:
        return {}
    module = importlib.import_module(loaded.verdict.__module__)
    from_record = getattr(module, "from_record", lambda record: record)
    return loaded.summary([(from_record(record), right) for record, right in graded])


# Tables


def _vectors(name: str, table: list[dict[str, Any]]) -> Iterator[Outcome]:
    """Run our twins of the official functions on the inputs of theirs."""
    from tasks import chartqa, mathvision, mathvista, mmmu, mmmu_pro, pope, wemath
    from tasks.grading import vlmevalkit

    def normal(vector: Record, legacy: bool) -> str | None:
        return mathvista.normal({"metadata": {}, **vector}, vector["extraction"], legacy)

    def pro(vector: Record) -> str:
        row = {"choices": list(vector["choices"].values()), "answer": ""}
        return mmmu_pro.official(row, vector["response"])[0] or "RANDOM"

    def short(vector: Record) -> list[str]:
        return sorted(map(str, mmmu.read_short(vector["response"])))

    twins: dict[tuple[str, str], Callable[[Record], Any]] = {
        ("mathvista.normalize", "out_current"): lambda v: normal(v, False),
        ("mathvista.normalize", "out_legacy_2023"): lambda v: normal(v, True),
        ("mathv.extract", "out"): lambda v: mathvision.extract(v["response"]),
        ("mathv.is_equal", "out"): lambda v: mathvision.equal(v["gt"], v["answer"]),
        ("option_match", "vlmevalkit_2025"): lambda v: (
            vlmevalkit.can_infer(v["response"], v["choices"]) or False
        ),
        ("option_match", "vlmevalkit_head"): lambda v: (
            vlmevalkit.can_infer(v["response"], v["choices"], head=True) or False
        ),
        ("option_match", "mmmu_official"): lambda v: (
            mmmu.read_letter(v["response"], v["choices"]) or "RANDOM"
        ),
        ("option_match", "mmmu_pro_official"): pro,
        ("mmmu.open", "parsed"): short,
        ("mmmu.open", "verdict"): lambda v: mmmu.agrees(mmmu.read_short(v["response"]), v["gt"]),
        ("yes_no", "pope_official"): lambda v: pope.official({"answer": ""}, v["response"])[0],
        ("yes_no", "vlmevalkit"): lambda v: vlmevalkit.yes_no(v["response"]),
        ("relaxed_correctness", "out"): lambda v: chartqa.relaxed(v["target"], v["prediction"]),
        ("wemath.letter", "out"): lambda v: wemath.official({"answer": ""}, v["response"])[0],
    }
    for (function, field), twin in twins.items():
        began = time.monotonic()
        pairs = {
            number: (twin(vector), vector[field])
            for number, vector in enumerate(table)
            if vector["fn"] == function and field in vector
        }
        if field == "parsed":
            pairs = {n: (found, sorted(map(str, theirs))) for n, (found, theirs) in pairs.items()}
        yield _table_outcome(name, f"{function} {field}", pairs, began)


def _aggregates(name: str, table: dict[str, Any]) -> Iterator[Outcome]:
    """Make We-Math's published metrics from its published counts of problems."""
    from tasks import wemath

    for entry in table["published"]:
        began = time.monotonic()
        counts = {
            kind: entry[kind.replace(" ", "_")]
            for kind in ("IK", "IG", "CM strict", "RM strict", "CM loose", "RM loose")
        }
        n = sum(counts[kind] for kind in ("IK", "IG", "CM strict", "RM strict"))
        found = wemath.shares(counts, n)
        pairs: dict[Any, Pair] = {}
        for metric in ("score strict", "score loose", "RM rate strict", "RM rate loose"):
            published = entry[metric.replace(" ", "_")]
            same = _same_score(found[metric], published)
            pairs[metric] = (published if same else f"{found[metric]:.2%}"), published
        yield _table_outcome(name, entry["model"], pairs, began)


def _table_outcome(name: str, what: str, pairs: dict[Any, Pair], began: float) -> Outcome:
    wrong = [f"{at}: {a!r}, published {b!r}" for at, (a, b) in pairs.items() if a != b]
    return Outcome(
        file=name,
        what=what,
        rows=len(pairs),
        agree=len(pairs) - len(wrong),
        flagged=0,
        wrong=tuple(wrong),
        score=math.nan,
        published=math.nan,
        seconds=time.monotonic() - began,
    )


TABLES: dict[str, Callable[[str, Any], Iterator[Outcome]]] = {
    "rule_vectors.json": _vectors,
    "wemath_published_aggregates.json": _aggregates,
}
