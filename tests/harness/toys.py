"""Studies of small steps: `driftbench` is a package `toy` made of one file.

study(step("start", "first - start"), step("left", "copy start left", reads="start"))
"""

from pathlib import Path

from harness.studies import process
from harness.studies.step import COMMANDS, Step, Study

COMMANDS.update(dict.fromkeys(("copy", "first", "second", "slow", "fail", "idle", "say"), ("toy",)))


def install(tmp_path: Path, monkeypatch, source: str) -> Path:
    """Make the steps of a study run `source`; return the package's folder."""
    package = tmp_path / "packages" / "toy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(source)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr(process, "DOOR", "toy")
    return package


def step(name: str, run: str, reads: str = "", writes: str | None = None, **more) -> Step:
    """A step, its words and paths with blanks between them; it writes what it is named after."""
    written = name if writes is None else writes
    words = {"run": run, "reads": reads, "writes": written}
    return Step(name=name, **{key: tuple(text.split()) for key, text in words.items()}, **more)


def study(*steps: Step, name: str = "study", **more) -> Study:
    return Study(name=name, about="a toy study", steps=steps, **more)
