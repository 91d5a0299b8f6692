import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Pictures of datasets are kept in a folder of the test's own; this is it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "driftbench" / "pictures"
