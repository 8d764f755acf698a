"""What a model file of either format holds, read in this process.

In the worker process only: it imports the runtimes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def inspect_file(path: Path) -> dict[str, Any]:
    """Inputs, outputs, operators and precision of the model at `path`, as `inspection` keeps them."""
    if path.suffix.lower() == ".onnx":
        from convert.sources.onnx_file import inspect_onnx

        return inspect_onnx(path)
    from convert.sources.tflite_file import inspect_tflite

    return inspect_tflite(path)


def inspection(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: request["path"] read."""
    return inspect_file(Path(request["path"]))
