"""What tasks/README.md says: the table of benchmarks, and how one is added."""

import itertools
import re
import shutil
import sys
import textwrap

import tasks
from driftbench import __main__

HEAD = "| task | data | revision | n | licence | compared with published verdicts |"


def line(name):
    task = tasks.load(name)
    found = task.source
    if found is None:
        return f"| `{name}` | `driftbench pocket`: made on your machine | | | yours | |"
    link = f"[{found.repo}](https://huggingface.co/datasets/{found.repo}) "
    link += f"{found.config}, {found.split}"
    revision = f"`{found.revision[:8]}`" if found.revision else "newest, recorded"
    return f"| `{name}` | {link} | {revision} | {found.n:,} | {found.licence} | {task.parity} |"


def test_the_table_is_what_the_tasks_say():
    text = (tasks.HERE / "README.md").read_text()
    table = "\n".join([HEAD, "|---|---|---|---|---|---|", *map(line, tasks.names())])
    assert table in text, f"tasks/README.md should have this table:\n{table}"


def test_every_group_is_named_with_what_is_in_it():
    text = (tasks.HERE / "README.md").read_text()
    for group, names in tasks.groups().items():
        assert f"`{group}`: {', '.join(names)}" in text


def test_the_benchmark_that_it_adds_runs(tmp_path, monkeypatch, capsys):
    text = (tasks.HERE / "README.md").read_text()
    here = tmp_path / "tasks"
    here.mkdir()
    shutil.copy(tasks.HERE / "_base.yaml", here)
    for name in ("sums.yaml", "sums.py"):
        block = text.partition(f"`tasks/{name}`:\n\n")[2]
        lines = itertools.takewhile(lambda line: not line or line[0] == " ", block.split("\n"))
        (here / name).write_text(textwrap.dedent("\n".join(lines)))
    (row,) = re.findall("echo '(.*)' > FOLDER/sums.jsonl", text)
    (tmp_path / "sums.jsonl").write_text(row + "\n")
    monkeypatch.setattr(tasks, "HERE", here)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(here)])
    assert __main__.run(["tasks", "--check", "--data", str(tmp_path)]) == 0
    assert ["sums", "1", "ok"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    task = tasks.load("sums")
    (row,) = task.rows(tmp_path)
    assert (task.to_prompt(row), task.to_images(row)) == ("What is 3 + 4?", [])
    assert task.verdict(row, "So it is 7.") == ("7", True)
    assert sys.modules["tasks.sums"].process_results(row, ["8"]) == {"acc": 0.0}
