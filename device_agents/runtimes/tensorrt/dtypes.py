"""TensorRT's data types as numpy's.

Not by `trt.nptype`: it uses np.bool, which numpy 1.24 removed, in every TensorRT of JetPack 4 and 5.
"""

from typing import Any, Dict

from device_agents.runtimes.base import LoadFailed

#: Members of trt.DataType, which differ by version (UINT8 since 8.5, INT64 since 10), and numpy's names. What
#: is missing (BF16, FP8, INT4, FP4) numpy does not have.
_NUMPY_NAMES: Dict[str, str] = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT64": "int64",
}


def numpy_name(trt: Any, dtype: Any, tensor: str) -> str:
    """The name that numpy has for a trt.DataType; raises LoadFailed where it has none."""
    for member, name in _NUMPY_NAMES.items():
        if hasattr(trt.DataType, member) and dtype == getattr(trt.DataType, member):
            return name
    raise LoadFailed("tensor {!r} of the engine is {}, which numpy does not have".format(tensor, dtype))


def fitted(array: Any, dtype: str, name: str) -> Any:
    """`array` as the engine wants it, narrowed where need be; values it cannot hold are refused."""
    import numpy as np

    given = np.asarray(array)
    wanted = np.dtype(dtype)
    if given.dtype == wanted:
        return np.ascontiguousarray(given)
    if given.dtype.kind != wanted.kind or wanted.kind not in "fiu":
        raise LoadFailed(
            "input {!r} is given as {} and the engine wants {}".format(name, given.dtype, wanted)
        )
    bounds = np.finfo(wanted) if wanted.kind == "f" else np.iinfo(wanted)
    finite = given[np.isfinite(given)] if wanted.kind == "f" else given
    if finite.size and (finite.min() < bounds.min or finite.max() > bounds.max):
        raise LoadFailed(
            "input {!r} has values from {} to {}, which the engine's {} cannot hold".format(
                name, finite.min(), finite.max(), wanted
            )
        )
    return np.ascontiguousarray(given.astype(wanted))
