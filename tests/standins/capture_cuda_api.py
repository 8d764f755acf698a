"""Writes names and signatures of the Python packages for CUDA to JSON files under tests/captures/cuda-api.

    python -m pip install cuda-python==13.4.4
    python tests/standins/capture_cuda_api.py cuda-python OUT.json

    python -m pip download --no-deps --no-binary pycuda pycuda==2026.1
    python tests/standins/capture_cuda_api.py pycuda pycuda-2026.1.tar.gz OUT.json

cuda-python has to be importable; it is asked without a GPU, when each call answers its error and a None for
each value. pycuda cannot be built without CUDA's headers: its names are read from the sources that declare
them.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import tarfile
from pathlib import Path

#: Calls with arguments that get as far as CUDA's own answer.
ASKED = {
    "cudaGetDeviceCount": (),
    "cudaSetDevice": (0,),
    "cudaRuntimeGetVersion": (),
    "cudaMemGetInfo": (),
    "cudaMalloc": (16,),
    "cudaFree": (0,),
    "cudaHostAlloc": (16, 0),
    "cudaFreeHost": (0,),
    "cudaStreamCreateWithFlags": (1,),
    "cudaStreamSynchronize": (0,),
    "cudaEventCreateWithFlags": (0,),
    "cudaEventRecord": (0, 0),
    "cudaEventElapsedTime": (0, 0),
    "cudaGetDeviceProperties": (0,),
    "cudaGetLastError": (),
}
ENUMERATIONS = ("cudaError_t", "cudaMemcpyKind", "cudaDeviceAttr")


def cuda_python() -> dict[str, object]:
    """Signatures, enumerations, and the number of values in each answer."""
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            module = importlib.import_module(name)
            break
        except ImportError:
            continue
    version = importlib.import_module(name.rpartition(".")[0]).__version__
    functions = {}
    for word, value in sorted(vars(module).items()):
        if word.startswith("cuda") and callable(value) and not isinstance(value, type):
            functions[word] = (value.__doc__ or word).splitlines()[0]
    return {
        "origin": {
            "package": f"cuda-python {version}",
            "module": name,
            "made_by": "tests/standins/capture_cuda_api.py",
        },
        "functions": functions,
        "values": {word: len(getattr(module, word)(*arguments)) - 1 for word, arguments in ASKED.items()},
        "enums": {
            word: {member.name: int(member) for member in getattr(module, word)} for word in ENUMERATIONS
        },
    }


def pycuda(archive: Path) -> dict[str, object]:
    """Functions, classes with their attributes, exceptions."""
    with tarfile.open(archive) as opened:
        (name,) = (found for found in opened.getnames() if found.endswith("wrapper/wrap_cudadrv.cpp"))
        source = opened.extractfile(name).read().decode()
    functions = re.findall(r'py::def\("(\w+)"', source) + re.findall(r"DEF_SIMPLE_FUNCTION\((\w+)\)", source)
    classes = {}
    parts = re.split(r"py::class_<", source)[1:]
    for part in parts:
        named = re.search(r'\(\s*"(\w+)"', part)
        end = part.find(";\n  }")
        body = part[: end if end > 0 else len(part)]
        words = re.findall(r'\.(?:def|add_property)\("(\w+)"', body)
        words += re.findall(r"DEF_SIMPLE_(?:RO_|RW_)?(?:METHOD|MEMBER)\((\w+)\)", body)
        if named:
            classes[named[1]] = sorted(set(words))
    return {
        "origin": {
            "package": archive.name.removesuffix(".tar.gz"),
            "file": name,
            "made_by": "capture_cuda_api.py",
        },
        "functions": sorted(set(functions)),
        "classes": classes,
        "exceptions": [word for word in re.findall(r"DECLARE_EXC\((\w+), ", source) if word != "NAME"],
    }


def main() -> None:
    """As the module's docstring says."""
    kind, *rest, out = sys.argv[1:]
    found = cuda_python() if kind == "cuda-python" else pycuda(Path(rest[0]))
    Path(out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
