"""A loaded engine with its memory on both sides.

Inputs are put into page-locked host memory once, before anything is timed, as an application that wants speed
does and as trtexec does. `latency` then spans the copy to the device, the inference and the copy back into
page-locked memory; `compute` is the inference by CUDA events, what trtexec calls GPU Compute Time.
"""

import atexit
import contextlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from device_agents.cuda.base import Cuda, CudaError
from device_agents.measurement import Steps
from device_agents.protocol import TensorSpec
from device_agents.runtimes.base import Engine, LoadFailed, Request, pick
from device_agents.runtimes.tensorrt.dtypes import fitted
from device_agents.runtimes.tensorrt.executors import Executor, TensorInfo, executor_of
from device_agents.runtimes.tensorrt.packages import Library
from device_agents.runtimes.tensorrt.plans import load_plan


class Buffer(NamedTuple):
    """A tensor's page-locked host array and its place on the device."""

    host: Any
    address: int


class TensorRtEngine(Engine):
    """An engine, its context, and buffers for one shape of inputs."""

    def __init__(self, library: Library, plan: bytes, request: Request) -> None:
        self._library = library
        dla_core = request.options.get("dla_core")
        loaded = load_plan(library, plan, int(dla_core) if dla_core else None)
        self._runtime, self._engine = loaded
        self._context = self._made_context()
        self._executor: Optional[Executor] = executor_of(library.trt, self._engine, self._context)
        self._buffers: Dict[str, Buffer] = {}
        self._device_bytes = 0
        self._start: Callable[[], bool] = _closed
        # At the interpreter's end objects die in any order; TensorRT wants context, engine, runtime.
        atexit.register(self.close)
        try:
            self._prepare(self._executor, request)
        except CudaError as error:
            if "MemoryAllocation" in error.name:
                raise MemoryError(str(error)) from error
            raise LoadFailed(str(error)) from error
        scratch = _scratch_bytes(self._engine)
        # What the process itself asked for. cudaMemGetInfo would add what everybody else does, where the GPU
        # shares the RAM.
        self.gpu_bytes = None if scratch is None else scratch + len(plan) + self._device_bytes
        self.details = {
            "api": self._executor.api,
            "cuda": library.cuda.package,
            "plan_bytes": str(len(plan)),
            "scratch_bytes": "unknown" if scratch is None else str(scratch),
            "layers": str(getattr(self._engine, "num_layers", "unknown")),
        }

    def steps(self, feed: Dict[str, Any]) -> Steps:
        """Copy in, run between two events, copy out and wait."""
        self._put(feed)
        cuda, stream, start = self._library.cuda, self._stream, self._start
        begun, ended = cuda.create_event(), cuda.create_event()
        copy_in, copy_out, record = cuda.copy_in, cuda.copy_out, cuda.record
        ins = [self._buffers[name] for name in self._inputs.values()]
        outs = [self._buffers[name] for name in self._outputs.values()]

        def copy_inputs() -> None:
            for host, address in ins:
                copy_in(address, host, stream)

        def invoke() -> None:
            record(begun, stream)
            if not start():
                raise self._refusal()
            record(ended, stream)

        def copy_outputs() -> None:
            for host, address in outs:
                copy_out(host, address, stream)
            cuda.synchronize(stream)

        return Steps(copy_inputs, invoke, copy_outputs, _elapsed(cuda, begun, ended))

    def run(self, feed: Dict[str, Any]) -> Dict[str, Any]:
        """One inference; the arrays are the caller's."""
        import numpy as np

        self._put(feed)
        cuda = self._library.cuda
        for name in self._inputs.values():
            cuda.copy_in(self._buffers[name].address, self._buffers[name].host, self._stream)
        if not self._start():
            raise self._refusal()
        for name in self._outputs.values():
            cuda.copy_out(self._buffers[name].host, self._buffers[name].address, self._stream)
        cuda.synchronize(self._stream)
        return {name: np.array(self._buffers[own].host) for name, own in self._outputs.items()}

    def close(self) -> None:
        """Let everything go, in the order that TensorRT and CUDA want. A second call does nothing."""
        if self._executor is None:
            return
        self._executor = None
        self._start = _closed
        self._context = None
        self._engine = None
        self._runtime = None
        for buffer in self._buffers.values():
            with contextlib.suppress(CudaError):  # after a failed kernel CUDA refuses everything
                self._library.cuda.free(buffer.address)
        self._buffers = {}

    # --- making ready -----------------------------------------------------------------------------

    def _made_context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            said = "; ".join(self._library.log.errors[:3]) or "it does not say why"
            message = "TensorRT makes no execution context: {}".format(said)
            raise MemoryError(message) if self._library.log.ran_out_of_memory else LoadFailed(message)
        return context

    def _prepare(self, executor: Executor, request: Request) -> None:
        tensors = executor.tensors()
        given = [tensor for tensor in tensors if tensor.is_input]
        computed = [tensor for tensor in tensors if not tensor.is_input]
        self._inputs = pick(request.inputs, [tensor.name for tensor in given], "input")
        self._outputs = pick(request.outputs, [tensor.name for tensor in computed], "output")
        # As the engine has them, -1 where it leaves sizes open; then as they are fed.
        self.inputs = _specs(executor, given)
        self._set_shapes(executor, request.inputs)
        self.outputs = _specs(executor, computed)
        for spec in self.outputs:
            if any(size < 0 for size in spec.shape):
                raise LoadFailed(
                    "output {!r} has shape {}, which depends on the data: no memory can be set aside".format(
                        spec.names[0], spec.shape
                    )
                )
        for spec in _specs(executor, tensors):
            self._buffers[spec.names[0]] = self._made_buffer(spec)
            executor.bind(spec.names[0], self._buffers[spec.names[0]].address)
        self._stream = self._library.cuda.create_stream()
        self._start = executor.starter(self._stream)

    def _set_shapes(self, executor: Executor, wanted: List[TensorSpec]) -> None:
        for spec in wanted:
            name = self._inputs[spec.names[0]]
            if executor.shape(name) != list(spec.shape) and not executor.set_shape(name, spec.shape):
                said = "; ".join(self._library.log.errors[:3])
                raise LoadFailed(
                    "the engine was not built for input {!r} of shape {}: {}".format(name, spec.shape, said)
                )
        missing = executor.unspecified()
        if missing:
            raise LoadFailed("the engine wants to be told the shapes of {}".format(", ".join(missing)))

    def _made_buffer(self, spec: TensorSpec) -> Buffer:
        host = self._library.cuda.pinned(spec.shape, spec.dtype)
        host.fill(0)
        size = max(1, int(host.nbytes))
        self._device_bytes += size
        return Buffer(host, self._library.cuda.allocate(size))

    def _put(self, feed: Dict[str, Any]) -> None:
        """Inputs into their page-locked arrays."""
        for name, own in self._inputs.items():
            host = self._buffers[own].host
            array = fitted(feed[name], str(host.dtype), name)
            if array.shape != host.shape:
                raise LoadFailed(
                    "input {!r} is given as {} and was announced as {}".format(name, array.shape, host.shape)
                )
            host[...] = array

    def _refusal(self) -> Exception:
        said = "; ".join(self._library.log.errors[-3:]) or "it does not say why"
        return RuntimeError("TensorRT did not start the inference: {}".format(said))


def _closed() -> bool:
    return False


def _elapsed(cuda: Cuda, begun: Any, ended: Any) -> Callable[[], float]:
    return lambda: cuda.elapsed_s(begun, ended)


def _specs(executor: Executor, tensors: List[TensorInfo]) -> List[TensorSpec]:
    return [TensorSpec([tensor.name], executor.shape(tensor.name), tensor.dtype) for tensor in tensors]


def _scratch_bytes(engine: Any) -> Optional[int]:
    """Activation memory of one context, bytes, under either of its names."""
    for name in ("device_memory_size_v2", "device_memory_size"):
        if hasattr(engine, name):
            return int(getattr(engine, name))
    return None
