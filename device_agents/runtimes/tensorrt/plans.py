"""Engines from files: TensorRT's `deserialize`, whose failures are in its log."""

from typing import Any, Callable, NamedTuple, Optional, TypeVar

from device_agents.runtimes.base import LoadFailed
from device_agents.runtimes.tensorrt.packages import Library, create

T = TypeVar("T")


class Loaded(NamedTuple):
    """An engine with the runtime that has to outlive it."""

    runtime: Any
    engine: Any


def load_plan(library: Library, content: Any, dla_core: Optional[int] = None) -> Loaded:
    """The engine of a serialised plan; raises LoadFailed in TensorRT's words, or MemoryError."""
    runtime = create(library, "Runtime")
    if dla_core is not None and hasattr(runtime, "DLA_core"):
        runtime.DLA_core = dla_core
    try:
        engine = runtime.deserialize_cuda_engine(content)
    except (RuntimeError, TypeError, ValueError) as error:
        # Of a file that is no plan at all; the error's own text is pybind11's and says less than the log.
        library.log.on_error(str(error))
        engine = None
    if engine is None:
        said = "; ".join(library.log.errors[:3]) or "it does not say why"
        message = "TensorRT {} does not load the engine: {}".format(library.version, said)
        raise MemoryError(message) if library.log.ran_out_of_memory else LoadFailed(message)
    return Loaded(runtime, engine)


def look_into(library: Library, path: str, look: Callable[[Any], T]) -> T:
    """What `look` finds in the engine of a file. It must not keep that: it has to go before its runtime."""
    with open(path, "rb") as file:
        runtime, engine = load_plan(library, file.read())
    found = look(engine)
    del engine
    del runtime
    return found
