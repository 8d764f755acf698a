"""Damaged agent lines, journals and result files, made from real ones, and what they are given to."""
