"""The table of benchmarks in tasks/README.md is what the YAMLs say."""

import tasks

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
