"""A run on disk: its types, its folder, its log, who may write it."""
