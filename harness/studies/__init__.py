"""A study as a list of steps, and what runs them."""
