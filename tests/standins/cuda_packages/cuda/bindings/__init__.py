"""Stands in for cuda-python, over the libcudart that STANDIN_LIBCUDART names."""

__version__ = "13.4.4"
