"""Stands in for pycuda, over the libcudart that STANDIN_LIBCUDART names. Names: captures/cuda-api/pycuda-*.json."""

VERSION_TEXT = "2026.1"
