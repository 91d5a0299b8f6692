"""The document of the pocket study follows from the tables beside it."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import tuned

from common.errors import UserError
from common.text import percent, signed
from harness.studies import pocket, tuning
from harness.studies.pocket_arms import FAMILIES, VARIANTS
from reports import load, study_csv, study_document, study_read

SCRIPT = Path(__file__).parents[2] / "docs" / "pocket" / "recompute.py"


@pytest.fixture(scope="module")
def recompute():
    spec = importlib.util.spec_from_file_location("recompute", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tuned.write(tmp_path_factory.mktemp("tuned"), families=("llava_next",))
    return study_read.of(load.collect([folder]))


@pytest.fixture
def tables(study, tmp_path):
    for name, text in study_csv.files(study).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_the_report_wrote_follows_from_its_tables(recompute, study, tables):
    document = tables / "study.md"
    document.write_text(study_document.markdown(study))
    assert len(study_document.MARKED.findall(document.read_text())) == 6
    assert recompute.main(tables, (document,)) == []


def test_a_number_that_was_changed_is_found(recompute, study, tables):
    document = tables / "study.md"
    document.write_text(study_document.markdown(study).replace("+18.8", "+18.9"))
    assert recompute.main(tables, (document,)) == [
        f"{document}: the part {name!r} differs from what the tables say"
        for name in ("lead", "claims", "differences")
    ]
    assert recompute.main(tables, (document,), write=True) == []
    assert document.read_text() == study_document.markdown(study)
    findings = tables / "findings.csv"
    findings.write_text(findings.read_text().replace(",supported", ",contradicted", 1))
    assert recompute.main(tables, ()) == [f"{findings} differs from what the scores say"]


def test_a_score_that_was_changed_changes_what_is_said(recompute, study, tables):
    scores = tables / "study_scores.csv"
    lines = [
        line.replace("0.65", "0.35") if line.startswith("llava_next,LLaVA-NeXT,drift,") else line
        for line in scores.read_text().splitlines(keepends=True)
    ]
    scores.write_text("".join(lines))
    document = tables / "study.md"
    document.write_text(study_document.markdown(study))
    wrong = recompute.main(tables, (document,))
    assert f"{tables / 'findings.csv'} differs from what the scores say" in wrong
    assert any("'claims'" in one for one in wrong)


def test_what_is_not_there_is_named(recompute, study, tables):
    document = tables / "study.md"
    document.write_text(study_document.marked("weather", "fine"))
    with pytest.raises(UserError, match="the part 'weather', which the tables do not tell of"):
        recompute.main(tables, (document,))
    (tables / "findings.csv").write_text("claim,family\n")
    with pytest.raises(UserError, match="has no column method"):
        recompute.main(tables, ())
    (tables / "findings.csv").unlink()
    with pytest.raises(UserError, match=r"there is no .*findings\.csv"):
        recompute.main(tables, ())


def test_what_counts_has_the_settings_that_the_trials_chose():
    counted = tuning.read(pocket.SETTINGS).methods
    told = {}
    for folder, families in ((SCRIPT.parent, FAMILIES), (SCRIPT.parent / "variants", VARIANTS)):
        found = study_csv.read(folder).settings
        chosen = [one for one in found if one.chosen and one.method != "vlm"]
        told |= {(o.method, o.family): o.settings for o in chosen if o.family in families}
    assert told == {(m, f): one.settings for m, of in counted.items() for f, one in of.items()}


def test_the_table_of_the_variants_is_of_their_files():
    folder = SCRIPT.parent / "variants"
    with (folder / "full_merges.csv").open(newline="") as file:
        merges = [row for row in csv.DictReader(file) if row["group"] == "reasoning-image"]
    study = study_csv.read(folder)
    rows = []
    for family in study.families:
        found = {
            (one.claim.method, one.claim.against): one
            for one in study.findings
            if one.family == family.name and one.claim.group == "reasoning-image"
        }
        cells = []
        for pair in (("merge", "vlm"), ("drift", "sft"), ("drift", "merge_then_sft")):
            one = found[pair]
            differs = one.verdict in ("supported", "contradicted") or not any(one.found.differences)
            cells.append(f"{signed(one.found.difference)}{'' if differs else ' (n.s.)'}")
        own = [float(row["score"]) for row in merges if row["family"] == family.name]
        assert len(own) == 6
        rows.append([*cells, percent(sum(own) / 6)])
    table = (folder / "README.md").read_text().partition("| points of ")[2].partition("\n\n")[0]
    told = [line.strip("|").split("|")[1:] for line in table.splitlines()[2:]]
    assert sorted([cell.strip() for cell in line] for line in told) == sorted(rows)


def test_the_document_follows_from_the_tables_beside_it():
    done = subprocess.run(
        [sys.executable, "-P", str(SCRIPT)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
