"""The ways to CUDA. Packages come first: nobody has one on a board by chance, so it is meant to be used."""

import os
from typing import Callable, Dict, List

from device_agents.cuda.base import Cuda, CudaMissing
from device_agents.cuda.cuda_python import open_cuda_python
from device_agents.cuda.libcudart import open_libcudart
from device_agents.cuda.pycuda_driver import open_pycuda

#: Names one of the ways, to be taken without trying others.
VARIABLE = "EDGEBENCH_CUDA"

WAYS: Dict[str, Callable[[], Cuda]] = {
    "pycuda": open_pycuda,
    "cuda-python": open_cuda_python,
    "libcudart": open_libcudart,
}


def open_cuda() -> Cuda:
    """The first way that works; raises CudaMissing with the reason of each."""
    wanted = os.environ.get(VARIABLE)
    if wanted and wanted not in WAYS:
        raise CudaMissing("{} is {!r}; it may be {}".format(VARIABLE, wanted, ", ".join(WAYS)))
    reasons: List[str] = []
    for name in [wanted] if wanted else WAYS:
        try:
            return WAYS[name]()
        except CudaMissing as missing:
            reasons.append("{}: {}".format(name, missing))
    raise CudaMissing("CUDA cannot be used: " + "; ".join(reasons))
