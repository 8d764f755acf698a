"""TensorRT's Python package, under whichever name it is installed."""

import atexit
import importlib
from typing import Any, NamedTuple

from device_agents.boards.host import this_host
from device_agents.cuda.base import Cuda, CudaMissing
from device_agents.runtimes.base import RuntimeMissing
from device_agents.runtimes.tensorrt.log_book import LogBook
from device_agents.runtimes.tensorrt.logger import make_logger

#: TensorRT-RTX is the desktop's, with the API of TensorRT 11. Its wheels of bindings come without the package
#: that only renames them.
_PACKAGES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


class Library(NamedTuple):
    """The imported package, its log, and CUDA."""

    trt: Any
    package: str
    version: str
    #: An ILogger; TensorRT keeps the first it is given for as long as the process lives.
    logger: Any
    log: LogBook
    cuda: Cuda


def open_library() -> Library:
    """Import TensorRT and CUDA; raises RuntimeMissing, which says what to install."""
    trt, package = _import_package()
    try:
        importlib.import_module("numpy")
    except ImportError as error:
        raise RuntimeMissing("TensorRT is here and numpy is not: {}".format(error)) from error
    library = library_of(trt, package, _open_cuda())
    # Registered before any engine's, so it comes after them.
    atexit.register(library.cuda.close)
    if hasattr(trt, "init_libnvinfer_plugins"):
        # The parsers of TensorRT 8 make InstanceNormalization and others from these.
        trt.init_libnvinfer_plugins(library.logger, "")
    return library


def library_of(trt: Any, package: str, cuda: Cuda) -> Library:
    """A Library with a log of its own."""
    log = LogBook()
    return Library(trt, package, str(trt.__version__), make_logger(trt, log), log, cuda)


def create(library: Library, kind: str) -> Any:
    """A Builder or Runtime. Without a working GPU their constructors give nothing; the log says why."""
    library.log.clear()
    try:
        made = getattr(library.trt, kind)(library.logger)
    except (TypeError, RuntimeError) as error:  # TypeError is pybind11's for a null pointer
        said = "; ".join(library.log.errors[:3]) or str(error)
        raise RuntimeMissing(
            "TensorRT {} is installed and makes no {}: {}".format(library.version, kind, said)
        ) from error
    return made


def _import_package() -> Any:
    reasons = []
    for name in _PACKAGES:
        try:
            return importlib.import_module(name), name
        except (ImportError, OSError) as error:  # OSError: a wheel that loads its libraries by itself
            reasons.append("{}: {}".format(name, error))
    raise RuntimeMissing("TensorRT cannot be imported ({}). {}".format("; ".join(reasons), _remedy()))


def _remedy() -> str:
    if this_host().files.text("/etc/nv_tegra_release") is not None:
        return (
            "JetPack has it for the system's own Python only: sudo apt-get install python3-libnvinfer, then "
            "use /usr/bin/python3 or an environment made by /usr/bin/python3 -m venv --system-site-packages; "
            "never pip install tensorrt there"
        )
    return "On a PC with an NVIDIA GPU: python -m pip install tensorrt, or tensorrt-rtx"


def _open_cuda() -> Cuda:
    from device_agents.cuda.table import open_cuda

    try:
        return open_cuda()
    except CudaMissing as error:
        raise RuntimeMissing("TensorRT is here and CUDA is not: {}".format(error)) from error
