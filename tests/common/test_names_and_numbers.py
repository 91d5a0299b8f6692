import csv
import io

import pytest

from common import terminal, text


@pytest.mark.parametrize(
    "value, said",
    [(0.0004, "p < 0.001"), (0.0123, "p = 0.012"), (0.21, "p = 0.21"), (1.0, "p = 1.00")],
)
def test_p_as_text(value, said):
    assert text.probability(value) == said


@pytest.mark.parametrize("value, said", [(0.016, "+1.6"), (-0.25, "−25.0"), (-1e-9, "0.0")])
def test_difference_as_text(value, said):
    assert text.signed(value) == said


def test_numbers_that_are_not_known_say_so():
    nan = float("nan")
    assert (text.percent(nan), text.signed(nan), text.with_error(0.5, nan)) == (
        "?",
        "?",
        "50.0 ± ?",
    )
    assert text.csv_text(["a"], [{"a": nan}, {"a": float("inf")}, {}, {"a": 0.1 + 0.2}]) == (
        'a\n""\n""\n""\n0.30000000000000004\n'
    )


NAMES = ("=cmd|'/C calc'!A0", "@SUM(1+1)", "+1", "-1", " =x", "＝x", "\t=x", "\r@x")


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_a_formula(name):
    written = text.csv_text(["name", "n"], [{"name": name, "n": -1.5}])
    _, (cell, number) = csv.reader(io.StringIO(written))
    assert number == "-1.5"  # numbers are left as they are
    assert cell.lstrip()[0] not in "=+-@＝＋－＠"
    assert cell.removeprefix("'") == text.printable(name)


def test_names_are_inert_in_every_format(capsys):
    name = "[red]a_1|b\x1b[2J\u202e & 50% #{x}\n"
    escaped = r"[red]a_1|b\x1b[2J\u202e & 50% #{x}\n"
    terminal.print_table([name, "n"], [[name, "1"]], "lr")
    shown = capsys.readouterr().out
    assert shown.count(escaped) == 2 and "\x1b" not in shown
    assert text.in_markdown(name) == r"\[red\]a\_1\|b\\x1b\[2J\\u202e & 50% #{x}\\n"
    assert text.in_latex("a_1 & [b] 50% ~^\\ α") == (
        r"a\_1 \& {[}b] 50\% \textasciitilde{}\textasciicircum{}\textbackslash{} $\alpha$"
    )


def test_a_table_in_each_format():
    assert text.markdown_table(["a", "b"], [["1", "2"]], "lr") == (
        "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    )
    table = text.latex_table("50 %", "x y", "lr", [text.latex_row(["a_", "b"])])
    assert r"\caption{50 \%}" in table and r"\label{tab:x-y}" in table
    assert "\\toprule\na\\_ & b \\\\\n\\bottomrule" in table
    assert text.listed(["a", "b", "c"]) == "a, b and c" and text.listed(["a"]) == "a"
