"""Asks TensorRT's parser and builder whether they take an ONNX model; needs no GPU.

Runs in the tensorrt-parser toolchain, which has TensorRT-RTX: its parser is TensorRT's, its engines are
for other devices and thrown away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed

#: Least, usual and most along the first axis of a dynamic input.
_PROFILE = (1, 4, 8)
_MOST_REASONS = 3


def check(request: dict[str, Any]) -> dict[str, Any]:
    """Parses and builds request["model"]; answers version, layers and the engine's bytes.

    Open first axes get the sizes of request["profile"], three numbers. Raises ConversionFailed
    `runtime_refused` with the parser's or builder's own reasons, each naming its node and operator.
    """
    import tensorrt_rtx_bindings as trt

    model = Path(request["model"])
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    # From the file, not from its bytes: data files beside it are found by its place.
    if not parser.parse_from_file(str(model)):
        raise _refused(trt, model, "its parser does not take", _parser_reasons(parser) or log.errors)
    log.errors.clear()
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    sizes = tuple(request.get("profile") or _PROFILE)
    if _set_sizes(network, profile, sizes, model):
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _refused(trt, model, "it builds no engine from", log.errors)
    return {"version": trt.__version__, "layers": network.num_layers, "engine_bytes": int(engine.nbytes)}


def _log(trt: Any) -> Any:
    class ErrorLog(trt.ILogger):  # type: ignore[misc]  # a class of another environment
        """Keeps what TensorRT says of errors."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            # On a computer without a GPU the missing driver is told as an error, and does not matter here.
            if severity <= trt.ILogger.Severity.ERROR and "catchCudaError" not in message:
                self.errors.append(message)

    return ErrorLog()


def _parser_reasons(parser: Any) -> list[str]:
    return [_reason(parser.get_error(i)) for i in range(min(parser.num_errors, _MOST_REASONS))]


def _reason(error: Any) -> str:
    said = " ".join(error.desc().split())
    if error.node() < 0:
        return said
    return f"node {error.node()} {error.node_name()!r} ({error.node_operator()}): {said}"


def _set_sizes(network: Any, profile: Any, sizes: tuple[int, ...], model: Path) -> bool:
    """Sizes for the open first axes; whether there are any."""
    is_open = False
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = tuple(tensor.shape)
        if -1 in shape[1:]:
            raise ConversionFailed(
                f"input {tensor.name!r} of {model.name} has open axes beside the first: {shape}",
                reason="runtime_refused",
                remedy="Give TensorRT a model that is open along its batch axis only",
            )
        if shape and shape[0] == -1:
            is_open = True
            profile.set_shape(tensor.name, *((size, *shape[1:]) for size in sizes))
    return is_open


def _refused(trt: Any, model: Path, what: str, reasons: list[str]) -> ConversionFailed:
    said = "; ".join(" ".join(reason.split()) for reason in reasons[:_MOST_REASONS]) or "it does not say why"
    return ConversionFailed(
        f"TensorRT-RTX {trt.__version__}: {what} {model.name}: {said}", reason="runtime_refused"
    )
