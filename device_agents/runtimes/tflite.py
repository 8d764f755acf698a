"""TFLite, from whichever package serves it: ai_edge_litert, else tflite_runtime, else tensorflow.

`compute` is `Interpreter.invoke`, what benchmark_model times; `latency` adds `set_tensor` of the inputs and
`get_tensor` of the outputs, both of which copy.

Options: `delegate` and `delegate_options`, see tflite_delegates.py.
"""

import base64
import functools
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from device_agents.measurement import Steps
from device_agents.protocol import TensorSpec
from device_agents.runtimes import tflite_delegates
from device_agents.runtimes.base import (
    Engine,
    LoadFailed,
    Request,
    Runtime,
    RuntimeMissing,
    nothing,
    package_version,
    pick,
)
from device_agents.runtimes.tflite_delegates import Delegate

#: y = relu(x), float[1,4], one builtin operator of version 1. Made with TFLite's own flatbuffer schema.
_PROOF = base64.b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAA7AAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABQAAAAAAA4AGAAUABAA"
    "DAAIAAQADgAAABQAAAAcAAAASAAAAEwAAABQAAAABAAAAG1haW4AAAAAAQAAABAAAAAAAAoADAAAAAgABAAKAAAACAAAAAwAAAABAAAA"
    "AQAAAAEAAAAAAAAAAQAAAAEAAAABAAAAAAAAAAIAAAA0AAAABAAAAOD///8IAAAADAAAAAEAAAB5AAAAAgAAAAEAAAAEAAAADAAMAAgA"
    "AAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAACAAAAAQAAAAQAAAABAAAAEAAAAAwADAALAAAAAAAEAAwAAAATAAAAAAAAEw=="
)


class TfliteEngine(Engine):
    """An Interpreter with its tensors allocated for the requested shapes."""

    def __init__(self, interpreter: Any, request: Request, delegate: Optional[Delegate]) -> None:
        self._interpreter = interpreter
        if delegate is not None:
            self.details = tflite_delegates.details_of(delegate, interpreter)
        inputs, outputs = _named_tensors(interpreter)
        self._inputs = _indices(pick(request.inputs, list(inputs), "input"), inputs)
        self._outputs = _indices(pick(request.outputs, list(outputs), "output"), outputs)
        self._allocate(request.inputs, delegate)
        self.inputs = [_spec(detail) for detail in interpreter.get_input_details()]
        self.outputs = [_spec(detail) for detail in interpreter.get_output_details()]

    def steps(self, feed: Dict[str, Any]) -> Steps:
        """Copy inputs in, invoke, copy outputs out."""
        set_tensor, get_tensor = self._interpreter.set_tensor, self._interpreter.get_tensor
        copy_in = [functools.partial(set_tensor, self._inputs[name], array) for name, array in feed.items()]
        copy_out = [functools.partial(get_tensor, index) for index in self._outputs.values()]
        return Steps(_together(copy_in), self._interpreter.invoke, _together(copy_out))

    def run(self, feed: Dict[str, Any]) -> Dict[str, Any]:
        """One inference."""
        for name, array in feed.items():
            self._interpreter.set_tensor(self._inputs[name], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def _allocate(self, wanted: List[TensorSpec], delegate: Optional[Delegate]) -> None:
        shapes = {detail["index"]: list(detail["shape"]) for detail in self._interpreter.get_input_details()}
        try:
            for spec in wanted:
                index = self._inputs[spec.names[0]]
                if [int(size) for size in shapes[index]] != spec.shape:
                    self._interpreter.resize_tensor_input(index, spec.shape)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = tflite_delegates.explain(str(error), delegate)
            raise LoadFailed(f"tflite cannot prepare the model for its inputs: {reason}") from error


class TfliteRuntime(Runtime):
    """XNNPACK where the package was built with it, as an application gets by default.

    A delegate that is asked for takes its operators first.
    """

    name = "tflite"

    def start(self) -> None:
        """Import the first package that is there."""
        reasons = []
        for package, importer in _PACKAGES:
            try:
                self._interpreter_class, self._load_delegate, module = importer()
            except ImportError as error:
                reasons.append(f"{package}: {error}")
                continue
            self.package = package
            self.version = package_version(package.split(".")[0].replace("_", "-"), module)
            return
        raise RuntimeMissing("no package for tflite can be imported (" + "; ".join(reasons) + ")")

    def load(self, request: Request) -> Engine:
        """Create the interpreter, with its delegate if it is to have one, and allocate its tensors."""
        package = f"{self.package} {self.version}"
        delegate = tflite_delegates.wanted(request.options, self._load_delegate, package)
        interpreter = self._interpreter(request.num_threads, delegate, model_path=request.files[0])
        return TfliteEngine(interpreter, request, delegate)

    def prove(self) -> Dict[str, str]:
        """Run relu; only a built Interpreter proves that the package and numpy fit each other."""
        import numpy as np

        try:
            interpreter = self._interpreter(1, None, model_content=_PROOF)
            interpreter.allocate_tensors()
            interpreter.set_tensor(0, np.array([[-1, 2, -3, 4]], dtype="float32"))
            interpreter.invoke()
            result = interpreter.get_tensor(1).tolist()
        except (SystemError, AttributeError, ImportError) as error:
            version = package_version("numpy", np)
            raise RuntimeMissing(
                f"{self.package} {self.version} does not work with numpy {version}: {error}"
            ) from error
        if result != [[0, 2, 0, 4]]:
            raise LoadFailed(f"relu of -1, 2, -3, 4 came out as {result}")
        return {"numpy": package_version("numpy", np)}

    def _interpreter(self, num_threads: int, delegate: Optional[Delegate], **model: Any) -> Any:
        if delegate is not None:
            model["experimental_delegates"] = [delegate.native]
        try:
            return self._interpreter_class(num_threads=num_threads, **model)
        except (RuntimeError, ValueError) as error:
            reason = tflite_delegates.explain(str(error), delegate)
            raise LoadFailed(f"{self.package} {self.version}: {reason}") from error


#: Interpreter, load_delegate and the module with the version.
_Imported = Tuple[Any, Any, Any]


def _from_litert() -> _Imported:
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter, load_delegate

    return Interpreter, load_delegate, ai_edge_litert


def _from_tflite_runtime() -> _Imported:
    import tflite_runtime
    from tflite_runtime.interpreter import Interpreter, load_delegate

    return Interpreter, load_delegate, tflite_runtime


def _from_tensorflow() -> _Imported:
    import tensorflow as tf

    return tf.lite.Interpreter, tf.lite.experimental.load_delegate, tf


_PACKAGES: Tuple[Tuple[str, Callable[[], _Imported]], ...] = (
    ("ai_edge_litert", _from_litert),
    ("tflite_runtime", _from_tflite_runtime),
    ("tensorflow.lite", _from_tensorflow),
)


def _named_tensors(interpreter: Any) -> Tuple[Dict[str, int], Dict[str, int]]:
    """Tensor indices by tensor name and, for a model with one signature, by the signature's names too."""
    inputs = {str(detail["name"]): int(detail["index"]) for detail in interpreter.get_input_details()}
    outputs = {str(detail["name"]): int(detail["index"]) for detail in interpreter.get_output_details()}
    # Signatures came with TF 2.5 and their tensor details with 2.13; before that tensor names have to do.
    signatures = interpreter.get_signature_list() if hasattr(interpreter, "get_signature_list") else {}
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        if hasattr(runner, "get_input_details") and hasattr(runner, "get_output_details"):
            inputs.update({name: int(detail["index"]) for name, detail in runner.get_input_details().items()})
            outputs.update(
                {name: int(detail["index"]) for name, detail in runner.get_output_details().items()}
            )
    return inputs, outputs


def _indices(chosen: Dict[str, str], tensors: Dict[str, int]) -> Dict[str, int]:
    return {name: tensors[runtime_name] for name, runtime_name in chosen.items()}


def _together(calls: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """One call that makes them all; a single one stays itself."""
    if len(calls) == 1:
        return calls[0]
    if not calls:
        return nothing

    def all_of_them() -> None:
        for call in calls:
            call()

    return all_of_them


def _spec(detail: Dict[str, Any]) -> TensorSpec:
    import numpy as np

    return TensorSpec(
        [str(detail["name"])], [int(size) for size in detail["shape"]], str(np.dtype(detail["dtype"]).name)
    )
