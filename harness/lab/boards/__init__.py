"""A virtual board: its kind, files and processes."""
