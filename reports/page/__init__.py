"""The page on which every answer can be read."""
