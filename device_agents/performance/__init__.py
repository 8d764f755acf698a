"""Raising a board's clocks and power for a job, and putting back what was there, whoever dies meanwhile."""
