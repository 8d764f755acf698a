"""Converters of this environment: a file for each target, and what they share."""
