"""Where the project lies, the data of its tests, and the shared data beside it."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
DATA = ROOT / "tests" / "data"

PARITY = [path for path in (SHARED / "parity", DATA / "published") if path.exists()]
"""Published outputs: all of them, where they are at hand, and the part that is in the project."""

MORE = [path for path in (SHARED / "parity" / "more",) if path.exists()]
"""Published outputs of the benchmarks of 2026, where they are at hand."""
