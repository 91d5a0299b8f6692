"""Ask a model, store what it said, grade it, count it."""
