"""The two ways an engine is run: by its tensors' names (TensorRT 8.5 on) and by bindings (up to 9)."""

import functools
from typing import Any, Callable, List, NamedTuple

from device_agents.runtimes.base import LoadFailed
from device_agents.runtimes.tensorrt.dtypes import numpy_name


class TensorInfo(NamedTuple):
    """An input or output of an engine; `dtype` is numpy's name."""

    name: str
    is_input: bool
    dtype: str


class Executor:
    """Shapes, addresses and the start of an inference, without a word of which API does it."""

    api = ""

    def tensors(self) -> List[TensorInfo]:
        """Inputs and outputs, in the engine's order."""
        raise NotImplementedError

    def set_shape(self, name: str, shape: List[int]) -> bool:
        """Say how an input will be fed; False if the engine was not built for it."""
        raise NotImplementedError

    def unspecified(self) -> List[str]:
        """Inputs that still lack a shape or value."""
        raise NotImplementedError

    def shape(self, name: str) -> List[int]:
        """A tensor's shape once inputs have theirs; -1 where only the data decide."""
        raise NotImplementedError

    def bind(self, name: str, address: int) -> None:
        """Where a tensor lies on the device."""
        raise NotImplementedError

    def starter(self, stream: int) -> Callable[[], bool]:
        """A call that begins one inference; bind everything first."""
        raise NotImplementedError


class TensorExecutor(Executor):
    """set_input_shape, set_tensor_address, execute_async_v3."""

    api = "tensors"

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        self._trt = trt
        self._engine = engine
        self._context = context

    def tensors(self) -> List[TensorInfo]:
        """Inputs and outputs."""
        engine, found = self._engine, []
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
            is_input = engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
            found.append(
                TensorInfo(name, is_input, numpy_name(self._trt, engine.get_tensor_dtype(name), name))
            )
        return found

    def set_shape(self, name: str, shape: List[int]) -> bool:
        """Say how an input will be fed."""
        return bool(self._context.set_input_shape(name, tuple(shape)))

    def unspecified(self) -> List[str]:
        """Inputs that lack something."""
        return [str(name) for name in self._context.infer_shapes()]

    def shape(self, name: str) -> List[int]:
        """A tensor's shape now."""
        return [int(size) for size in self._context.get_tensor_shape(name)]

    def bind(self, name: str, address: int) -> None:
        """Where a tensor lies."""
        if not self._context.set_tensor_address(name, address):
            raise LoadFailed("TensorRT does not take the memory of tensor {!r}".format(name))

    def starter(self, stream: int) -> Callable[[], bool]:
        """A call that begins one inference."""
        return functools.partial(self._context.execute_async_v3, stream)


class BindingExecutor(Executor):
    """set_binding_shape, a list of addresses, execute_async_v2."""

    api = "bindings"

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        self._trt = trt
        self._engine = engine
        self._context = context
        self._names = [str(engine.get_binding_name(i)) for i in range(engine.num_bindings)]
        self._addresses = [0] * len(self._names)

    def tensors(self) -> List[TensorInfo]:
        """Inputs and outputs."""
        engine = self._engine
        return [
            TensorInfo(
                name,
                bool(engine.binding_is_input(i)),
                numpy_name(self._trt, engine.get_binding_dtype(i), name),
            )
            for i, name in enumerate(self._names)
        ]

    def set_shape(self, name: str, shape: List[int]) -> bool:
        """Say how an input will be fed."""
        return bool(self._context.set_binding_shape(self._names.index(name), tuple(shape)))

    def unspecified(self) -> List[str]:
        """Inputs that lack something."""
        if self._context.all_binding_shapes_specified:
            return []
        return [name for i, name in enumerate(self._names) if self._engine.binding_is_input(i)]

    def shape(self, name: str) -> List[int]:
        """A tensor's shape now."""
        return [int(size) for size in self._context.get_binding_shape(self._names.index(name))]

    def bind(self, name: str, address: int) -> None:
        """Where a tensor lies."""
        self._addresses[self._names.index(name)] = address

    def starter(self, stream: int) -> Callable[[], bool]:
        """A call that begins one inference."""
        return functools.partial(self._context.execute_async_v2, self._addresses, stream)


def executor_of(trt: Any, engine: Any, context: Any) -> Executor:
    """By names wherever that is there; TensorRT 8.5 to 8.6 have both."""
    if hasattr(context, "execute_async_v3") and hasattr(engine, "num_io_tensors"):
        return TensorExecutor(trt, engine, context)
    return BindingExecutor(trt, engine, context)
