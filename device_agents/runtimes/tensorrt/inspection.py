"""Which precision each layer of an engine really got, by TensorRT's engine inspector (8.2 on).

Its JSON differs by version, and where an engine was built without details its layers are mere names. Whatever
cannot be told is left out: an empty answer means "not known", not "none".
"""

import json
import re
from typing import Any, Dict, List, Optional

from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import pick
from device_agents.runtimes.tensorrt.executors import Executor, executor_of

#: Layers that only move data: they say nothing of the precision that was computed in.
_MOVERS = re.compile(r"reformat|noop|no-op|constant|shape|shuffle|signal|wait|copy|print", re.I)

#: TensorRT's words for types ("Half", "FP16", "Channel major FP16 format where ..."), narrow ones first.
_TYPES = (
    ("int8", re.compile(r"int8", re.I)),
    ("fp8", re.compile(r"fp8|float8", re.I)),
    ("bf16", re.compile(r"bf16|bfloat16", re.I)),
    ("fp16", re.compile(r"fp16|half|float16", re.I)),
    ("fp32", re.compile(r"fp32|tf32|float", re.I)),
)


def layer_precisions(trt: Any, engine: Any, inputs: List[TensorSpec]) -> Dict[str, int]:
    """Number of computing layers by precision, as in {"fp16": 12, "fp32": 1}; empty where nobody can say.

    An engine for a range of shapes tells formats only for shapes that are set: for those of `inputs`.
    """
    if not hasattr(engine, "create_engine_inspector"):
        return {}
    context = engine.create_execution_context()
    inspector = engine.create_engine_inspector()
    if context is not None:
        _set_shapes(executor_of(trt, engine, context), inputs)
        inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return precisions_of(str(text or ""))


def _set_shapes(executor: Executor, inputs: List[TensorSpec]) -> None:
    names = pick(inputs, [tensor.name for tensor in executor.tensors() if tensor.is_input], "input")
    for spec in inputs:
        name = names[spec.names[0]]
        if executor.shape(name) != list(spec.shape):
            executor.set_shape(name, spec.shape)


def precisions_of(text: str) -> Dict[str, int]:
    """The same of the inspector's text."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    layers = document.get("Layers") if isinstance(document, dict) else document
    counts: Dict[str, int] = {}
    for layer in layers if isinstance(layers, list) else []:
        precision = _precision(_as_object(layer))
        if precision is not None:
            counts[precision] = counts.get(precision, 0) + 1
    return counts


def _as_object(layer: Any) -> Dict[str, Any]:
    """A layer's own object; some releases have it as text, and without details it is a name."""
    if isinstance(layer, str) and layer.lstrip().startswith("{"):
        try:
            layer = json.loads(layer)
        except ValueError:
            return {}
    return layer if isinstance(layer, dict) else {}


def _precision(layer: Dict[str, Any]) -> Optional[str]:
    """What a layer computes in: its weights' type where it has any, else its inputs' and its outputs'."""
    kind = str(layer.get("LayerType", layer.get("ParameterType", "")))
    if not layer or _MOVERS.search(kind):
        return None
    weights = layer.get("Weights")
    said: List[str] = []
    if isinstance(weights, dict) and "Type" in weights:
        said.append(str(weights["Type"]))
    for side in ("Inputs", "Outputs"):
        tensors = layer.get(side)
        said += [_format(tensor) for tensor in tensors] if isinstance(tensors, list) else []
    found = (_type_of(text) for text in said)
    return next((precision for precision in found if precision is not None), None)


def _format(tensor: Any) -> str:
    """A tensor's type: "Format/Datatype" up to TensorRT 10, apart from there on."""
    if not isinstance(tensor, dict):
        return ""
    for key in ("Datatype", "DataType", "Type", "Format/Datatype", "Format"):
        if key in tensor:
            return str(tensor[key])
    return ""


def _type_of(text: str) -> Optional[str]:
    return next((name for name, pattern in _TYPES if pattern.search(text)), None)
