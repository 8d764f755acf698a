"""A build that fails, and the words it fails in."""

from tensorrt import _settings
from tensorrt._generation import since
from tensorrt._logging import Severity


class BuildFailed(Exception):
    """With what the log says of it."""

    def __init__(self, *messages):
        super().__init__(messages[-1])
        self.messages = [
            (Severity.ERROR, message) if isinstance(message, str) else message for message in messages
        ]


def error(number, kind, text, place):
    """An error as this generation words it."""
    if since(10):
        return f"IBuilder::buildSerializedNetwork: Error Code {number}: {kind} ({text} In {place})"
    return f"{number}: [{place}] Error Code {number}: {kind} ({text})"


def refuse_without_cuda(logger):
    """What the constructors of Builder and Runtime do where CUDA does not work (TypeError seen with 8.6.1)."""
    code = _settings.number("CUDA_ERROR")
    if code:
        logger.log(
            Severity.ERROR,
            f"6: CUDA initialization failure with error: {code}. Please check your CUDA installation: "
            "http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html",
        )
        raise TypeError("pybind11::init(): factory function returned nullptr")


