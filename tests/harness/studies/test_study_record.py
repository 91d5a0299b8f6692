"""What a study's folder keeps of what the study was before."""

import json
from dataclasses import replace

import pytest
from toys import step, study

from harness.studies import load, record
from harness.studies.step import Claim, Method, MethodRun, Trial


def method(*runs, **more):
    return Method(name="m", label="M", runs=tuple(MethodRun(*run) for run in runs), **more)


OTHER = Method(name="other", label="Other", runs=())


def held(out, *studies):
    (out / "steps").mkdir(exist_ok=True)
    for one in studies:
        record.write(one, out)
    return record.read(out)


def made(*, claims=(), trials=(), **more):
    methods = (method(("f", 0, "f/runs/m"), **more), OTHER)
    return study(step("start", "first - start"), methods=methods, claims=claims, trials=trials)


def test_a_run_that_lies_elsewhere_now_takes_the_place_of_the_older(tmp_path):
    one = made()
    more = (method(("f", 0, "f/runs/m"), ("f", 1, "1/f/runs/m"), ("g", 0, "g/runs/m")), OTHER)
    moved = replace(one, methods=(method(("f", 0, "f/runs/renamed")), OTHER))
    found = held(tmp_path, replace(one, methods=more), moved)
    assert [(run.family, run.seed, run.folder) for run in found.methods[0].runs] == [
        ("f", 0, "f/runs/renamed"),
        ("f", 1, "1/f/runs/m"),
        ("g", 0, "g/runs/m"),
    ]
    swept = [
        replace(one, methods=(method(("f", 0, f"f/runs/{name}"), sweep=True), OTHER))
        for name in ("merge-0.10", "merge-0.20")
    ]
    (tmp_path / "steps" / "study.json").unlink()
    assert len(held(tmp_path, *swept).methods[0].runs) == 2


def test_the_pocket_with_another_share_of_the_merge_goes_on_in_its_folder(tmp_path):
    from harness.studies.pocket import SETTINGS

    tuned = json.loads(SETTINGS.read_text())
    tuned["methods"]["merge"]["llava_next"]["settings"]["alpha"] = 0.5
    (tmp_path / "other.json").write_text(json.dumps(tuned))
    other = load.load("pocket", settings=[f"chosen={tmp_path / 'other.json'}"])
    found = held(tmp_path, load.load("pocket"), other)
    assert {one.name: one for one in found.methods} == {one.name: one for one in other.methods}


CLAIM = Claim(text="M beets other", method="m", against="other", group="t", primary=True)


@pytest.mark.parametrize(
    ("before", "now", "stays"),
    [
        (CLAIM, replace(CLAIM, text="M beats other"), False),
        (CLAIM, replace(CLAIM, families=("f", "g")), False),
        (CLAIM, replace(CLAIM, primary=False), False),
        (CLAIM, replace(CLAIM, group="another"), True),
        (replace(CLAIM, primary=False, families=("g",)), CLAIM, True),
    ],
)
def test_a_claim_that_is_put_otherwise_is_no_second_one(tmp_path, before, now, stays):
    found = held(tmp_path, made(claims=(before,)), made(claims=(now,)))
    assert found.claims == ((now, before) if stays else (now,))


def test_two_claims_of_one_study_about_the_same_are_both_kept(tmp_path):
    both = (CLAIM, replace(CLAIM, text="M differs from other", sign=0, primary=False))
    assert held(tmp_path, made(claims=both), made(claims=both)).claims == both


def test_a_trial_stays_unless_its_folder_or_its_settings_are_tried_now(tmp_path):
    def trial(number, lr, seed=1):
        folder = f"{seed}/m-{number}"
        return Trial(method="m", family="f", seed=seed, folder=folder, settings={"lr": lr})

    before = (trial(0, 0.1), trial(1, 0.2), trial(2, 0.3), trial(0, 0.1, seed=2))
    now = (trial(0, 0.2), trial(4, 0.4))  # the folder of the first, the settings of the second
    found = held(tmp_path, made(trials=before), made(trials=now))
    assert found.trials == (trial(2, 0.3), trial(0, 0.1, seed=2), *now)


def test_what_a_study_took_is_added_up_unless_all_of_it_is_made_again(tmp_path):
    held(tmp_path, made())

    def spent():
        held(tmp_path, made())  # another run begins
        content = json.loads(record.place(tmp_path).read_text())
        return content.get("seconds"), content.get("peak_memory_bytes")

    assert spent() == (None, None)
    record.spend(tmp_path, 10.04, 3, whole=False)
    assert spent() == (10.0, 3)
    record.spend(tmp_path, 2.5, 2, whole=False)
    assert spent() == (12.5, 3)
    record.spend(tmp_path, 7, 1, whole=True)
    assert spent() == (7, 1)
