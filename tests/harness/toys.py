"""A package `toy` made of one file, importable here and in the processes that a study starts."""

from pathlib import Path

from harness.studies import recipe as study_recipe
from harness.studies import runner


def install(tmp_path: Path, monkeypatch, source: str) -> Path:
    """Make `python -m toy` run `source`; return the package's folder."""
    package = tmp_path / "packages" / "toy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(source)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    return package


def go(recipe: str, out: Path, jobs: int | None = None) -> None:
    """Load a recipe and run it."""
    runner.run(study_recipe.load(recipe), out, jobs)
