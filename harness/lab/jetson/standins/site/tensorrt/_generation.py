"""Which generation this process stands in for; without STANDIN_TENSORRT there is no TensorRT here."""

from tensorrt import _settings
from tensorrt._shape import Shape

if not _settings.text("TENSORRT"):
    raise ImportError("No module named 'tensorrt' (the stand-in is switched on by STANDIN_TENSORRT)")

SHAPE = Shape(_settings.text("TENSORRT"))
VERSION = SHAPE.version


def since(*numbers):
    """Whether this generation is that one or a later one."""
    return SHAPE.numbers >= numbers
