"""`python -m drift`, which `driftbench train` and its sisters hand over to."""

from drift.cli import main

main()
