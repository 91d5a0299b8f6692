"""The door: the command line, and the public Python API."""
