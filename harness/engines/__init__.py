"""One file an engine. Questions in, responses out as each finishes."""
