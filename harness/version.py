"""The version of edgebench that is installed."""

from importlib.metadata import PackageNotFoundError, version


def harness_version() -> str:
    """As pip knows it, or 0+unknown in a checkout that was never installed."""
    try:
        return version("edgebench")
    except PackageNotFoundError:
        return "0+unknown"
