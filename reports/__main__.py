"""`python -m reports`: what `driftbench report` runs."""

from reports.cli import main

if __name__ == "__main__":
    main()
