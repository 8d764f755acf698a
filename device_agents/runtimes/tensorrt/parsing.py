"""An ONNX model into a network of TensorRT's."""

import os
from typing import Any, NamedTuple, Union

from device_agents.runtimes.base import BuildFailed
from device_agents.runtimes.tensorrt.failures import not_parsed, parser_problems
from device_agents.runtimes.tensorrt.packages import Library

ModelSource = Union[str, bytes]


class Parsed(NamedTuple):
    """A network and its parser, which owns the weights until the engine is built."""

    network: Any
    parser: Any


def parsed(library: Library, builder: Any, source: ModelSource, strongly_typed: bool) -> Parsed:
    """The file at `source`, or these bytes, as a network; raises BuildFailed in the parser's own words."""
    network = builder.create_network(_creation_flags(library.trt, strongly_typed))
    parser = library.trt.OnnxParser(network, library.logger)
    if not _parse(parser, source):
        where = source if isinstance(source, str) else "the model"
        raise not_parsed(library.version, where, parser_problems(parser), library.log)
    if network.num_inputs == 0 or network.num_outputs == 0:
        raise BuildFailed(
            "invalid_model",
            "the model has {} inputs and {} outputs".format(network.num_inputs, network.num_outputs),
        )
    return Parsed(network, parser)


def _creation_flags(trt: Any, strongly_typed: bool) -> int:
    """Explicit batch has to be asked for up to TensorRT 9, means nothing in 10 and is gone in 11."""
    creation = trt.NetworkDefinitionCreationFlag
    flags = 1 << int(creation.EXPLICIT_BATCH) if hasattr(creation, "EXPLICIT_BATCH") else 0
    if strongly_typed:
        flags |= 1 << int(creation.STRONGLY_TYPED)
    return flags


def _parse(parser: Any, source: ModelSource) -> bool:
    if isinstance(source, bytes):
        return bool(parser.parse(source))
    if hasattr(parser, "parse_from_file"):
        # From the file, not from its bytes: data files beside it are found by its place.
        return bool(parser.parse_from_file(os.path.abspath(source)))
    with open(source, "rb") as file:
        return bool(parser.parse(file.read(), os.path.abspath(source)))
