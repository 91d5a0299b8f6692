"""Scores, their errors, and the differences between them."""
