"""A graded run in the forms of other tools."""
