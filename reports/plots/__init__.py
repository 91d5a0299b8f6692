"""The plots, and what they are drawn from."""
