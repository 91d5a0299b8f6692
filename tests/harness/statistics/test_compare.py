"""`driftbench compare` and `agree`, on run folders whose numbers are known."""

import csv
import gzip
import io
import json
import random

import graded
import places
import pytest
from scipy import stats

from driftbench import __main__
from harness.runs.folder import read_verdicts
from harness.runs.schema import Sampling
from harness.statistics import power

PUBLISHED = places.PARITY[0] / "open"


def compare(*words):
    return __main__.run(["compare", *map(str, words)])


def told(capsys, *words):
    """The comparison as JSON."""
    assert compare(*words, "--format", "json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def pair(tmp_path):
    """16 questions: 9 right in `sft`; `drift` has all of these but one, and five more."""
    a = graded.write(tmp_path / "sft", graded.bits("1111111110000000"))
    b = graded.write(tmp_path / "drift", graded.bits("1111111101111100"))
    return a, b


def test_the_numbers_of_one_pair_by_hand(pair, capsys):
    found = told(capsys, *pair)
    (row,) = found["headline"]
    assert (row["name"], row["baseline"], row["task"], row["n"]) == ("drift", "sft", "t", 16)
    assert (row["score"], row["baseline_score"]) == (13 / 16, 9 / 16)
    assert row["difference"] == pytest.approx(4 / 16)
    assert (row["above"], row["below"], row["test"]) == (5, 1, "exact McNemar")
    assert row["p"] == row["p_holm"] == 2 * (1 + 6) / 2**6
    assert row["low"] < 0 < row["high"]
    assert row["needed"] == power.questions_needed(4 / 16, 6 / 16)
    assert row["finding"] == "inside the noise"


def test_the_table_and_the_sentence(pair, capsys):
    assert compare(*pair) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "headline:"
    assert lines[1].split()[:4] == ["run", "n", "score", "difference"]
    assert lines[2].split() == ["t"]
    assert lines[3].split() == ["sft", "16", "56.2", "±", "12.8", "baseline"]
    assert lines[4].split()[:8] == ["drift", "16", "81.2", "±", "10.1", "+25.0", "±", "14.4"]
    assert "inside the noise" in lines[4]
    said = "t: drift is 25.0 points above sft: inside the noise (16 questions, p = 0.22)."
    assert any(line.startswith(said) for line in lines)
    assert max(map(len, lines)) <= 100


def test_a_narrow_terminal_gets_the_columns_it_has_room_for(pair, capsys, monkeypatch):
    from harness.commands import compare as room

    for width, heads in (
        (70, "run n score difference p (Holm) finding"),
        (100, "run n score difference 95 % interval p p (Holm) finding"),
        (140, "run n score difference 95 % interval p p (Holm) finding finds settles flips"),
    ):
        monkeypatch.setattr(room, "WIDTH", width)
        assert compare(*pair) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split()[: len(heads.split())] == heads.split()
        assert max(map(len, lines)) <= width
        more = "a wider terminal shows more, --format csv everything"
        assert (more in lines) == (width < 140)


@pytest.mark.parametrize("format", ["markdown", "latex", "csv"])
def test_other_formats_carry_the_same_numbers(pair, capsys, format):
    assert compare(*pair, "--format", format) == 0
    out = capsys.readouterr().out
    if format == "csv":
        (row,) = csv.DictReader(io.StringIO(out))
        assert (float(row["p"]), row["finding"]) == (0.21875, "inside the noise")
        return
    line = next(line for line in out.splitlines() if "+25.0" in line)
    parts = [part.strip(" \\|") for part in line.split("|" if format == "markdown" else "&")]
    assert "0.22" in parts and "16" in parts


def test_names_are_escaped_in_every_format(tmp_path, capsys):
    a = graded.write(tmp_path / "a_1 & [red]", graded.bits("1100"))
    b = graded.write(tmp_path / "b|*\x1b[31m", graded.bits("1000"))
    for format, there in (
        ("text", ["a_1 & [red]", "b|*\\x1b[31m"]),
        ("markdown", [r"a\_1 & \[red\]", r"b\|\*\\x1b\[31m"]),
        ("latex", [r"a\_1 \& {[}red]", r"b|*\textbackslash{}x1b{[}31m"]),
    ):
        assert compare(a, b, "--format", format) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert all(name in out for name in there), format


def join(folder, other):
    """Add the answers of another run, to another task, to a run."""
    for file in ("questions", "responses", "verdicts"):
        with (folder / f"{file}.jsonl").open("ab") as lines:
            lines.write((other / f"{file}.jsonl").read_bytes())


def test_several_tasks_are_corrected_together(tmp_path, capsys):
    for name, first, second in (("sft", "1" * 4 + "0" * 12, "1" * 8), ("drift", "1" * 16, "0" * 8)):
        folder = graded.write(tmp_path / name, graded.bits(first))
        other = graded.write(tmp_path / "other" / name, graded.bits(second), task="u")
        join(folder, other)
    found = told(capsys, tmp_path / "sft", tmp_path / "drift")
    raw = [2 / 2**12, 2 / 2**8]
    assert [row["p"] for row in found["headline"]] == raw
    assert [row["p_holm"] for row in found["headline"]] == [2 * raw[0], raw[1]]
    assert [row["finding"] for row in found["headline"]] == ["supported", "supported"]
    only = told(capsys, tmp_path / "sft", tmp_path / "drift", "--tasks", "u")
    assert [row["p_holm"] for row in only["headline"]] == [raw[1]]


def test_the_baseline_can_be_any_side(pair, capsys):
    (row,) = told(capsys, *pair, "--baseline", "drift")["headline"]
    assert (row["name"], row["difference"]) == ("sft", -4 / 16)


def test_a_folder_of_runs_stands_for_them_all(pair, capsys):
    found = told(capsys, pair[0].parent)
    assert [(row["name"], row["baseline"]) for row in found["headline"]] == [("sft", "drift")]


def test_groups_are_corrected_among_themselves(tmp_path, capsys):
    def groups(id):
        return ("even" if int(id[1:]) % 2 == 0 else "odd",)

    a = graded.write(tmp_path / "a", graded.bits("00" * 10), groups=groups)
    b = graded.write(tmp_path / "b", graded.bits("10" * 10), groups=groups)
    found = told(capsys, a, b, "--groups")
    assert [(row["group"], row["n"], row["p"]) for row in found["exploratory"]] == [
        ("even", 10, 2 / 2**10),
        ("odd", 10, 1.0),
    ]
    assert [row["p_holm"] for row in found["exploratory"]] == [4 / 2**10, 1.0]
    assert found["headline"][0]["p_holm"] == 2 / 2**10
    assert compare(a, b, "--groups") == 0
    out = capsys.readouterr().out
    assert "t, even: b is 100.0 points above a: supported (10 questions, p = 0.004 aft" in out
    assert "corrected among themselves" in " ".join(out.split())
    assert [line for line in out.splitlines() if line.endswith(":")] == [
        "headline:",
        "exploratory:",
    ]


def test_clusters_are_taken_from_the_verdicts(tmp_path, capsys):
    # Ten problems of four questions; each comes out one way in each run.
    def cluster(id):
        return str(int(id[1:]) // 4)

    a = graded.write(tmp_path / "a", graded.bits("0000" * 10), cluster=cluster)
    b = graded.write(tmp_path / "b", graded.bits("1111" * 4 + "0000" * 6), cluster=cluster)
    (row,) = told(capsys, a, b)["headline"]
    assert (row["n"], row["clusters"], row["p"]) == (40, 10, 2 / 2**4)
    assert (row["test"], row["interval"]) == ("exact sign flip", "bootstrap")
    assert row["finding"] == "cannot be told"
    assert compare(a, b) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "cannot be told (40 questions in 10 clusters, p = 0.12). They came out diff" in out


def test_different_questions_are_compared_where_they_meet(tmp_path, capsys):
    a = graded.write(tmp_path / "a", graded.bits("1" * 20))
    b = graded.write(tmp_path / "b", graded.bits("0" * 10))
    found = told(capsys, a, b)
    (row,) = found["headline"]
    assert (row["n"], row["baseline_score"], row["difference"]) == (10, 1.0, -1.0)
    assert (
        "t: b answered 10 questions and a 20; compared on the 10 that they share."
        in (found["notes"])
    )


def test_an_unfinished_run_says_so(tmp_path, pair, capsys):
    half = graded.write(tmp_path / "half", graded.bits("11110000"), finished=False)
    path = half / "run.json"
    path.write_text(path.read_text().replace('"n": 8', '"n": 16'))
    notes = told(capsys, pair[0], half)["notes"]
    assert "half is not finished: 8 of 16 answers are graded." in notes
    path.write_text(path.read_text().replace('"finished": false', '"finished": true'))
    notes = told(capsys, pair[0], half)["notes"]
    assert "half has lost answers: it was finished, and 8 of 16 are there." in notes


def test_what_was_asked_otherwise_is_told(tmp_path, pair, capsys):
    warm = graded.write(
        tmp_path / "warm",
        graded.bits("1111000011110000"),
        sampling=Sampling(temperature=0.7),
        engine="hf",
        prompt="tell me {}!",
    )
    notes = told(capsys, pair[0], warm)["notes"]
    assert any("engine hf 0.32.0 against vllm 0.32.0" in note for note in notes)
    assert any("temperature 0.7 against 0.0" in note for note in notes)
    assert any("warm saw 16 of the shared questions in other words" in note for note in notes)
    assert told(capsys, *pair)["notes"] == []


SAMPLED = {
    "a": {"q0": "7733", "q1": "3337", "q2": "3333", "q3": "7777"},
    "b": {"q0": "7773", "q1": "7737", "q2": "7333", "q3": "7777"},
}


@pytest.fixture
def sampled(tmp_path):
    return [
        graded.write(tmp_path / name, {id: list(given) for id, given in answers.items()})
        for name, answers in SAMPLED.items()
    ]


@pytest.mark.parametrize(
    "metric, scores",
    [
        ("mean", (7 / 16, 11 / 16)),
        ("maj", ((0.5 + 0 + 0 + 1) / 4, (1 + 1 + 0 + 1) / 4)),
        ("pass@2", ((5 / 6 + 1 / 2 + 0 + 1) / 4, (1 + 1 + 1 / 2 + 1) / 4)),
        ("pass@4", (3 / 4, 1.0)),
    ],
)
def test_metrics_of_several_answers(sampled, capsys, metric, scores):
    found = told(capsys, *sampled, "--metric", metric)
    (row,) = found["headline"]
    assert (row["baseline_score"], row["score"]) == pytest.approx(scores)
    assert row["difference"] == pytest.approx(scores[1] - scores[0])
    assert any("from drawing 4 answers" in n for n in found["notes"]) == (metric == "mean")


def seed_runs(folder, name, rows, **settings):
    return [
        graded.write(
            folder / f"{name}-{seed}",
            graded.bits(row),
            made={"method": name, "settings": {"seed": seed, **settings}},
        )
        for seed, row in enumerate(rows)
    ]


def test_training_seeds_are_a_level_of_their_own(tmp_path, capsys):
    generator = random.Random(0)
    rows = {
        name: ["".join("01"[generator.random() < p] for _ in range(50)) for _ in range(3)]
        for name, p in (("sft", 0.5), ("drift", 0.6))
    }
    for name, texts in rows.items():
        seed_runs(tmp_path, name, texts)
    (row,) = told(capsys, f"sft={tmp_path}/sft-*", f"drift={tmp_path}/drift-*")["headline"]
    means = {name: [text.count("1") / 50 for text in texts] for name, texts in rows.items()}
    expected = sum(means["drift"]) / 3 - sum(means["sft"]) / 3
    assert row["difference"] == pytest.approx(expected)
    assert row["test"] == "t over 3 and 3 paired seeds"
    assert row["difference_stderr"] ** 2 >= (
        stats.sem([a - b for a, b in zip(means["drift"], means["sft"], strict=True)]) ** 2
    )
    listed = ",".join(str(tmp_path / f"drift-{seed}") for seed in (2, 0))
    (fewer,) = told(capsys, f"sft={tmp_path}/sft-*", f"drift={listed}")["headline"]
    assert fewer["test"] == "t over 2 and 3 independent seeds"


def test_seeds_that_asked_other_questions_are_compared_over_seeds(tmp_path, capsys):
    rows = {"sft": ("1000", "1000", "0000"), "drift": ("1110", "1100", "1000")}
    for name, texts in rows.items():
        for seed, text in enumerate(texts):
            asked = f"as seed {seed} has it, what is {{}}?"
            graded.write(tmp_path / f"{name}-{seed}", graded.bits(text), prompt=asked)
    # The order in which a side names its runs does not matter: questions pair them.
    listed = ",".join(str(tmp_path / f"drift-{seed}") for seed in (2, 0, 1))
    sides = (f"sft={tmp_path}/sft-*", f"drift={listed}")
    found = told(capsys, *sides)
    (row,) = found["headline"]
    # Differences 1/2, 1/4, 1/4: mean 1/3, standard error 1/12. Of eight patterns of signs two lie
    # as far out, and none of three seeds lies farther.
    assert row["difference"] == pytest.approx(1 / 3)
    assert row["difference_stderr"] == pytest.approx(1 / 12)
    assert row["p"] == row["p_holm"] == 2 / 8
    assert (row["score"], row["baseline_score"]) == pytest.approx((1 / 2, 1 / 6))
    assert (row["n"], row["finding"]) == (12, "cannot be told")
    assert (row["detectable"], row["needed"]) == (None, None)
    assert row["test"] == "exact sign flip over 3 paired seeds, each with questions of its own"
    assert found["notes"] == [
        "t: drift and sft were asked different questions by each seed: compared over 3 seeds, not "
        "question by question."
    ]
    assert compare(*sides) == 0
    out = " ".join(capsys.readouterr().out.split())
    test = "exact sign flip over 3 paired seeds, each with questions of its own"
    assert f"(12 questions, {test}, p = 0.25). Had every seed agreed, so few would" in out
    # Without their like on the other side they are not compared at all.
    assert compare(f"sft={tmp_path}/sft-0,{tmp_path}/sft-1", f"drift={listed}") == 2
    assert "were asked different questions, and not each by one run" in capsys.readouterr().err


def test_other_questions_under_the_same_ids_are_not_paired(tmp_path, capsys):
    a = graded.write(tmp_path / "a", graded.bits("1100"))
    b = graded.write(tmp_path / "b", graded.bits("1010"), prompt="how much is {}?")
    path = b / "questions.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], *(line.replace('"7"', '"8"') for line in lines[2:])]))
    found = told(capsys, a, b)
    (row,) = found["headline"]
    assert (row["n"], row["difference"]) == (2, -1 / 2)  # the first two are reworded alone
    assert found["notes"] == [
        "t: b saw other questions than a under 2 of the ids; they are left out.",
        "t: b saw 2 of the shared questions in other words or with other pictures than a.",
    ]
    path.write_text("".join(line.replace('"7"', '"8"') for line in lines))
    assert compare(a, b) == 2
    assert "under the same ids they were asked other questions" in capsys.readouterr().err


def test_a_validation_split_is_no_headline(tmp_path, capsys):
    for name, first, second in (("sft", "1100", "0000"), ("drift", "1110", "1111")):
        run = graded.write(tmp_path / name, graded.bits(first))
        more = graded.write(tmp_path / "v" / name, graded.bits(second), task="t_validation")
        join(run, more)
    runs = (tmp_path / "sft", tmp_path / "drift")
    found = told(capsys, *runs, "--groups")
    assert [row["task"] for row in found["headline"]] == ["t"] and not found["exploratory"]
    assert "t_validation is a validation split: not compared unless it is named." in found["notes"]
    found = told(capsys, *runs, "--tasks", "t_validation")
    assert [row["p"] for row in found["exploratory"]] == [2 / 2**4] and not found["headline"]
    assert told(capsys, tmp_path / "v")["exploratory"][0]["task"] == "t_validation"


def test_the_mean_over_tasks_is_exploratory_and_told_from_the_pooled_score(tmp_path, capsys):
    for name, first, second in (("sft", "1000", "11000000"), ("drift", "1110", "11110000")):
        join(
            graded.write(tmp_path / name, graded.bits(first)),
            graded.write(tmp_path / "u" / name, graded.bits(second), task="u"),
        )
    found = told(capsys, tmp_path / "sft", tmp_path / "drift", "--groups")
    (row,) = found["exploratory"]
    assert (row["task"], row["group"], row["n"]) == ("t+u", "mean over tasks", 12)
    assert (row["baseline_score"], row["score"]) == ((1 / 4 + 1 / 4) / 2, (3 / 4 + 1 / 2) / 2)
    assert row["difference"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert {row["group"] for row in found["headline"]} == {"all"}
    assert compare(tmp_path / "sft", tmp_path / "drift", "--groups") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert " mean over t and u " in out
    assert "Exploratory: the mean over tasks; not what the runs were compared for." in out


def test_a_mean_over_tasks_that_is_not_taken_is_told(tmp_path, capsys):
    for name in ("a", "b", "c", "d"):
        first = graded.write(tmp_path / name, graded.bits("1000"), groups=lambda id: ("g",))
        join(first, graded.write(tmp_path / "u" / name, graded.bits("11000000"), task="u"))
    sides = (f"{n}={tmp_path / one},{tmp_path / two}" for n, one, two in ("xab", "ycd"))
    assert compare(*sides, "--groups") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "mean over tasks: y cannot be compared with x: a mean over tasks is taken of " in out
    assert "Exploratory: groups; not what the runs were compared for." in out


def test_the_folder_of_pictures_among_runs_is_no_run(tmp_path, pair, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    every = sorted(path.name for path in tmp_path.iterdir())
    assert every == ["drift", "images", "sft"]
    assert told(capsys, *every)["headline"] == told(capsys, "drift", "sft")["headline"]
    assert told(capsys, "*")["headline"] == told(capsys, "drift", "sft")["headline"]
    assert __main__.run(["report", *every, "--out", "../out"]) == 0
    assert __main__.run(["score", *every]) == 2  # the benchmark is made up, and told so
    assert "images" not in capsys.readouterr().err
    assert __main__.run(["compare", "images"]) == 2
    assert "images is not a run folder" in capsys.readouterr().err


def test_a_task_that_the_baseline_did_not_answer_has_another(tmp_path, capsys):
    runs = [graded.write(tmp_path / name, graded.bits("1100"), task=name[0]) for name in ("t", "u")]
    runs.append(graded.write(tmp_path / "u2", graded.bits("1111"), task="u"))
    found = told(capsys, *runs)
    assert [(r["name"], r["baseline"], r["task"]) for r in found["headline"]] == [("u2", "u", "u")]
    assert "t: u and u2 did not answer it." in found["notes"]
    assert "u: t did not answer it: compared with u." in found["notes"]


def test_one_cluster_is_told_as_such(tmp_path, capsys):
    a = graded.write(tmp_path / "a", graded.bits("0000"), cluster=lambda id: "one")
    b = graded.write(tmp_path / "b", graded.bits("1111"), cluster=lambda id: "one")
    (said,) = told(capsys, a, b)["sentences"]
    assert "cannot be told (4 questions in 1 cluster, p = 1.00)" in said
    assert said.endswith("All of them are one cluster, which says nothing about its own error.")


def test_many_runs_are_counted_and_stay_within_the_page(tmp_path, capsys):
    graded.write(tmp_path / "base", graded.bits("0" * 20))
    for place in range(30):
        name = f"a-checkpoint-with-a-rather-long-name-{place:02}"
        graded.write(tmp_path / name, graded.bits("1" * 20 if place < 2 else "0" * 20), engine="hf")
    assert compare(tmp_path, "--baseline", "base") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 50 and max(map(len, lines)) <= 100
    said = " ".join(" ".join(lines).split())
    assert "t: of 30 differences to base 2 supported above (a-checkpoint-with-a-" in said
    assert " and 28 cannot be told (" in said
    assert "and 24 others had other settings than base: engine hf 0.32.0 against" in said


def test_protocols_beside_the_run_can_be_compared(pair, capsys):
    for folder, text in zip(pair, ("0" * 16, "1" * 16), strict=True):
        graded.write(folder / "scored" / "official", graded.bits(text))
    (row,) = told(capsys, *pair, "--protocol", "official")["headline"]
    assert (row["name"], row["difference"]) == ("drift", 1.0)
    assert compare(*pair, "--protocol", "vlmevalkit") == 2
    assert "was not scored by vlmevalkit-2026: `driftbench score" in capsys.readouterr().err


def test_agreement_of_protocols(pair, driftbench, mistake):
    graded.write(pair[0] / "scored" / "official", graded.bits("1111111000000001"))
    line = driftbench("agree", pair[0]).out.splitlines()[1].split()
    # 7 of 9 right in both, 1 of 7 right by the second alone; chance (9·8 + 7·8) / 256 = 1/2.
    assert line[:6] == ["t", "robust", "/", "official", "16", "81.2"]
    assert line[7:] == ["0.625", "56.2", "/", "50.0", "2", "1"]
    assert "was scored by robust alone" in mistake("agree", pair[1])


MISTAKES = [
    ("{sft}", "there is only sft: name a second run"),
    ("{sft} {sft}", "is given twice"),
    ("{sft} {root}/drfit", "there is no run folder {root}/drfit: did you mean drift?"),
    ("{sft} {root}/empty", "{root}/empty is not a run folder: it has no run.json"),
    ("{sft} {root}/none-*", "nothing matches {root}/none-*"),
    ("{sft} b=", "'b=' is not NAME=RUN,RUN"),
    ("x={sft} x={drift}", "two sides of the comparison are named x"),
    ("{sft} {drift} --baseline drfit", "no side is named 'drfit': did you mean drift? there are"),
    ("{sft} {drift} --tasks tt", "none of the runs answered 'tt': did you mean t? there are"),
    ("{sft} {drift} --metric pass@0", "there is no metric 'pass@0': expected mean, maj, or pass"),
    (
        "{sft} {drift} --metric pass@2",
        "nothing can be compared: t: drift cannot be compared with sft: pass@2 takes 2 answers",
    ),
    ("{sft} {drift} --format jsn", "no format 'jsn': did you mean json? the formats are text, mar"),
    ("{sft} {root}/apart", "they have no question in common"),
    ("{sft} {root}/ungraded", "ungraded has no verdict yet: `driftbench score"),
    ("{sft} {root}/twice", "has two verdicts on an answer to q0 of t: `driftbench score"),
]


@pytest.mark.parametrize(("line", "sentence"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_gives_one_sentence(tmp_path, pair, mistake, line, sentence):
    (tmp_path / "empty").mkdir()
    graded.write(tmp_path / "apart", {"z": ["7"], "y": ["7"]})
    ungraded = graded.write(tmp_path / "ungraded", graded.bits("11"))
    (ungraded / "verdicts.jsonl").unlink()
    twice = graded.write(tmp_path / "twice", graded.bits("1")) / "verdicts.jsonl"
    twice.write_text(2 * twice.read_text())
    places = {"root": tmp_path, "sft": pair[0], "drift": pair[1]}
    assert sentence.format(**places) in mistake("compare", line.format(**places))


def test_published_verdicts_give_scipys_p(tmp_path, capsys):
    verdicts = {}
    for model in ("Gemini-Pro", "LLaVA-v1.5-7B", "ShareGPT4V-13B"):
        with gzip.open(PUBLISHED / f"mathv_test__{model}.jsonl.gz", "rt") as lines:
            rows = [json.loads(line) for line in lines]
        verdicts[model] = {row["id"]: bool(row["official_verdict"]) for row in rows}
        subjects = {row["id"]: row["metadata"]["subject"] for row in rows}
        graded.write(
            tmp_path / model,
            {row["id"]: ["7" if row["official_verdict"] else "3"] for row in rows},
            task="mathvision",
            groups=lambda id, subjects=subjects: (subjects[id],),
        )
    names = list(verdicts)
    found = told(capsys, *(tmp_path / name for name in names), "--groups")
    base = verdicts[names[0]]
    assert {row["n"] for row in found["headline"]} == {3040}
    assert len(found["exploratory"]) == 2 * 16
    for row in (*found["headline"], *found["exploratory"]):
        mine = verdicts[row["name"]]
        ids = [id for id in base if row["group"] in ("all", subjects[id])]
        up = sum(mine[id] > base[id] for id in ids)
        down = sum(mine[id] < base[id] for id in ids)
        assert (row["above"], row["below"], row["n"]) == (up, down, len(ids))
        assert row["difference"] == pytest.approx((up - down) / len(ids))
        expected = stats.binomtest(up, up + down).pvalue if up + down else 1.0
        assert row["p"] == pytest.approx(expected, rel=1e-9)
    raw = [row["p"] for row in found["headline"]]
    assert [row["p_holm"] for row in found["headline"]] == pytest.approx(
        [min(1, 2 * p) if p == min(raw) else max(p, 2 * min(raw)) for p in raw]
    )


def test_records_written_without_clusters_still_read(pair):
    path = pair[0] / "verdicts.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["cluster"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {verdict.cluster for verdict in read_verdicts(pair[0])} == {""}
