"""Tools that run in toolchains of their own: one file for each, tasks of convert.processes.worker.

They import numpy, the standard library and, inside their functions, what their toolchain holds.
"""
