"""Stands in for cuda-python. Names and numbers of values: captures/cuda-api/cuda-python-*.json."""
