"""What the stand-in is told by the environment; README.md in tests/standins lists the variables."""

import os


def text(name, default=""):
    """STANDIN_<name>."""
    return os.environ.get("STANDIN_" + name, default)


def number(name, default=None):
    """STANDIN_<name> as an integer; `default` where it is not set."""
    found = text(name)
    return int(found) if found else default


def names(name):
    """STANDIN_<name> as a list, comma separated."""
    return [part for part in text(name).split(",") if part]


def compute_capability():
    """As in (5, 3); a Jetson Nano's unless STANDIN_GPU_CC says otherwise."""
    major, minor = text("GPU_CC", "5.3").split(".")
    return int(major), int(minor)


def has_fast_fp16():
    """By the throughput of arithmetic instructions (CUDA C++ Programming Guide); 6.1 is slow at it."""
    capability = compute_capability()
    return capability in ((5, 3), (6, 0), (6, 2)) or capability >= (7, 0)


def has_fast_int8():
    """dp4a came with 6.1 and is missing from 6.2 (support matrix: "does not support INT8")."""
    capability = compute_capability()
    return capability == (6, 1) or capability >= (7, 0)


def has_tf32():
    """From Ampere on."""
    return compute_capability() >= (8, 0)
