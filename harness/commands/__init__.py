"""One file a group of commands; `harness/cli.py` names them."""
