"""Settings chosen among trials, against choices made by hand."""

import json
from dataclasses import replace

import pytest

from common.errors import UserError
from harness.runs.schema import Verdict
from harness.studies import load, record, tuning
from harness.studies.step import Design, Method, Trial, Tuning

RULE = Tuning(task="t", group="hard", keeps="easy", points=5.0, against="vlm")
SCORES = {
    # method, number → seed → (hard, easy), of 20 questions each
    ("vlm", 0): {0: (2, 20), 1: (2, 18)},
    ("sft", 0): {0: (6, 19), 1: (6, 18)},
    ("sft", 1): {0: (12, 18), 1: (8, 18)},
    ("sft", 2): {0: (20, 12), 1: (20, 12)},
    ("drift", 0): {0: (9, 10), 1: (9, 10)},
    ("drift", 1): {0: (20, 9), 1: (20, 10)},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A design whose runs are made of the scores above."""

    def verdicts(folder, *_, **__):
        method, number, seed = folder.name.split("-")
        right = SCORES[method, int(number)][int(seed)]
        found = {
            ("t", group): [
                Verdict(task="t", id=f"{i}", sample=0, correct=i < n, answer="", how="rule",
                        groups=(group,))
                for i in range(20)
            ]
            for group, n in zip(("hard", "easy"), right, strict=True)
        }  # fmt: skip
        from harness.statistics import scores

        class Found:
            cells = {where: scores.cell("r", where, these) for where, these in found.items()}

        return Found

    monkeypatch.setattr(tuning, "read_run", verdicts)
    trials = tuple(
        Trial(
            method=method,
            family="llava_next",
            seed=seed,
            folder=f"runs/{method}-{number}-{seed}",
            settings={} if method == "vlm" else {"lr": float(number)},
        )
        for (method, number), seeds in SCORES.items()
        for seed in seeds
    )
    methods = tuple(Method(name=name, label=name, runs=()) for name in ("vlm", "sft", "drift"))
    return Design(methods=methods, trials=trials, tuning=RULE)


def test_the_best_of_those_that_keep_what_is_to_be_kept(study, tmp_path):
    # The VLM keeps 38 of 40, so 36 are enough: sft-1 has exactly these, sft-2 only 24.
    chosen = tuning.tune(study, tmp_path).of("sft", "llava_next", "here")
    assert chosen.settings == {"lr": 1.0} and chosen.keeps
    assert (chosen.score, chosen.kept) == (pytest.approx(20 / 40), pytest.approx(36 / 40))
    assert (chosen.seeds, chosen.trials) == (2, 3)


def test_where_none_keeps_it_the_one_that_loses_least(study, tmp_path):
    chosen = tuning.tune(study, tmp_path, ["drift"]).of("drift", "llava_next", "here")
    assert chosen.settings == {"lr": 0.0} and not chosen.keeps


def test_a_setting_that_was_not_tried_on_every_seed_is_refused(study, tmp_path):
    part = replace(study, trials=study.trials[:-1])
    with pytest.raises(UserError, match=r"drift was tried at \{'lr': 1.0\} on some of the seeds"):
        tuning.tune(part, tmp_path)


def test_words_of_a_step_are_filled_with_what_was_chosen(study, tmp_path):
    path = tmp_path / "tuned.json"
    tuning.write(path, tuning.tune(study, tmp_path))
    assert tuning.read(path) == tuning.tune(study, tmp_path)
    word = f"lr={tuning.word('tuned.json', 'sft', 'llava_next', 'lr')}"
    assert tuning.filled(word, tmp_path) == "lr=1.0"
    place = f"x/{tuning.word('tuned.json', 'sft', 'llava_next', 'trial')}/y"
    assert tuning.filled(place, tmp_path) == "x/sft-1-0/y"
    for method, family, name, said in (
        ("drfit", "llava_next", "lr", "did you mean drift"),
        ("sft", "llava", "lr", "it has llava_next"),
        ("sft", "llava_next", "alpha", "chose no alpha"),
    ):
        with pytest.raises(UserError, match=said):
            tuning.filled(tuning.word("tuned.json", method, family, name), tmp_path)
    with pytest.raises(UserError, match="`driftbench tune` writes"):
        tuning.filled(tuning.word("none.json", "sft", "llava_next", "lr"), tmp_path)


def test_what_was_not_tried_is_told(study, tmp_path):
    with pytest.raises(UserError, match="tried no 'sgt'; did you mean sft"):
        tuning.tune(study, tmp_path, ["sgt"])
    with pytest.raises(UserError, match="no trials to choose among"):
        tuning.tune(replace(study, trials=()), tmp_path)


def test_what_was_chosen_for_the_pocket_is_of_its_grid():
    from harness.studies.pocket import SETTINGS
    from harness.studies.pocket_arms import ARMS

    assert json.loads(SETTINGS.read_text())
    for method, families in tuning.read(SETTINGS).methods.items():
        for chosen in families.values():
            assert dict(chosen.settings) in [dict(one) for one in ARMS[method].grid]


def test_a_whole_number_stays_one(study, tmp_path):
    path = tmp_path / "tuned.json"
    settings = {"steps": 200, "lr": 0.001, "layers": "0,1"}
    trials = tuple(replace(one, settings=settings) for one in study.trials if one.method == "vlm")
    tuning.write(path, tuning.tune(replace(study, trials=trials), tmp_path, ["vlm"]))
    held = tuning.read(path).of("vlm", "llava_next", path).settings
    assert [f"{value}" for value in held.values()] == ["200", "0.001", "0,1"]


def test_tuning_and_counting_in_one_folder_are_one_record(tmp_path):
    (tmp_path / "steps").mkdir()
    counting, trying = load.load("pocket"), load.load("pocket", settings=["tune=true"])
    for order in ((counting, trying), (trying, counting)):
        for study in order:
            record.write(study, tmp_path)
        held = record.read(tmp_path)
        runs = {method.name: method.runs for method in held.methods}
        assert all(runs[method.name] == method.runs for method in counting.methods)
        assert held.trials == trying.trials and held.tuning == counting.tuning
        assert held.claims == counting.claims and held.baseline == "sft"
        (tmp_path / "steps" / "study.json").unlink()
