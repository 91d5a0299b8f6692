import shutil
import subprocess

import graded
import pytest

from reports import compact, costs, formats, load, tables

LATEX = shutil.which("tectonic") or shutil.which("pdflatex")


def write(folder):
    """100 questions each; `up` is told apart on t, `down` on u; `part` has answered half of t."""
    questions = [q for task in ("t", "u") for q in graded.simple_questions(100, task)]
    bits = {
        "base": [1] * 50 + [0] * 50 + [1] * 50 + [0] * 50,
        "up": [1] * 90 + [0] * 10 + [1] * 50 + [0] * 50,
        "down": [1] * 50 + [0] * 50 + [1] * 10 + [0] * 90,
    }
    for name, own in bits.items():
        graded.write_run(folder / name, questions, graded.simple_answers(questions, own))
    half = questions[:50]
    graded.write_run(folder / "part", half, graded.simple_answers(half, [1] * 50))
    return [folder / name for name in (*bits, "part")]


def test_the_best_is_bold_and_what_is_told_apart_is_marked(tmp_path):
    [table] = map(tables.compare, load.collect(write(tmp_path)).blocks)
    found = {name: [(s.text, s.best, s.mark) for s in own] for name, own in compact.lines(table)}
    assert found["base"] == [("50.0", False, ""), ("50.0", True, ""), ("50.0", False, "")]
    assert found["up"] == [("90.0", True, "†"), ("50.0", True, ""), ("70.0", True, "†")]
    assert found["down"] == [("50.0", False, ""), ("10.0", False, "‡"), ("30.0", False, "‡")]
    assert [text for text, *_ in found["part"]] == ["–", "–", "–"]
    text = compact.markdown([table])
    assert "| up | **90.0**† | **50.0** | **70.0**† |" in text
    assert "† above and ‡ below base" in text
    text = compact.latex([table])
    assert r"up & \textbf{90.0}$^{\dagger}$ & \textbf{50.0} & \textbf{70.0}$^{\dagger}$ \\" in text
    assert r"down & 50.0 & 10.0$^{\ddagger}$ & 30.0$^{\ddagger}$ \\" in text


def test_families_of_the_same_columns_are_one_table(study):
    counted = [tables.compare(block) for block in load.collect([study]).blocks]
    [own] = compact.together(counted)
    assert own == counted
    text = compact.markdown(counted)
    assert text.count("| --- |") == 1 and "| *LLaVA-NeXT* | " in text


@pytest.mark.skipif(not LATEX, reason="needs tectonic or pdflatex, which is not installed")
def test_the_latex_compiles(study, tmp_path):
    """With names that LaTeX would take for commands."""
    questions = graded.simple_questions(4, r"a_b\x{%$#&^~")
    for name in (r"50% & $x_1$ \^~{}#", "ü ± − α < >"):
        graded.write_run(
            tmp_path / "r" / name, questions, graded.simple_answers(questions, [1, 0, 1, 1])
        )
    paths = sorted((tmp_path / "r").iterdir())
    blocks = [*load.collect(paths).blocks, *load.collect([study]).blocks]
    counted = [tables.compare(block) for block in blocks]
    body = formats.latex(counted) + costs.latex(blocks)
    text = (
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs}\\begin{document}\n"
        f"{body}\n\\end{{document}}\n"
    )
    (tmp_path / "x.tex").write_text(text, encoding="utf-8")
    options = ["-halt-on-error", "-interaction=nonstopmode"] if "pdflatex" in LATEX else []
    done = subprocess.run(
        [LATEX, *options, "x.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "x.pdf").stat().st_size > 10_000
