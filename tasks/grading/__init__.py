"""From a text to an answer, and whether it is the right one."""
