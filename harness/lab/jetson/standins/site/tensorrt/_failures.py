"""A build that fails, and the words it fails in."""

from tensorrt import _settings, _words
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


def out_of_memory(size):
    """The error of an allocation on the device that failed."""
    text = f"Requested size was {size} bytes." if since(10) else "no further information"
    return error(2, "OutOfMemory", text, "virtualMemoryBuffer.cpp::resizePhysical::145")


def refuse_without_cuda(logger):
    """Constructors of Builder and Runtime where CUDA does not work; the TypeError was seen with 8.6.1."""
    code = _settings.number("CUDA_ERROR")
    if code:
        logger.log(Severity.ERROR, "6: " + _words.NO_CUDA.format(code=code))
        raise TypeError("pybind11::init(): factory function returned nullptr")
