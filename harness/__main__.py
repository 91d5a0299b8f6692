"""`python -m harness` is `driftbench`."""

from harness.cli import main

if __name__ == "__main__":
    main()
