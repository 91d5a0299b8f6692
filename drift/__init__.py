"""The prior, the bias, the merges, the trainer. Imports nothing of the other packages."""
