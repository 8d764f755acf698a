"""Stands in for pycuda, over the libcudart that STANDIN_LIBCUDART names."""

VERSION_TEXT = "2026.1"
