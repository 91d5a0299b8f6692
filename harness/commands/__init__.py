"""One file a group of commands; `driftbench/__main__.py` names them."""
