"""The study in miniature: a small world and tiny models of real families, made from scratch."""
