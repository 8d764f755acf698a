"""Pinned environments for converters that are heavy or fight over versions, made on first use.

An environment lies in HOME/KEY/env-RANDOM; HOME/KEY/complete names it, and is written last. The key
holds a digest of the pins, so new pins make a new environment and the old one stays usable.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convert.errors import ConversionFailed
from convert.processes.pip_run import disk_full, install_pins, make_environment, prove_imports
from convert.processes.python_finder import find_python

_DIGEST_LENGTH = 12
_KEY = re.compile(rf".+-[0-9a-f]{{{_DIGEST_LENGTH}}}")
_PINS = Path(__file__).resolve().parent / "toolchains"


def _pins(name: str) -> tuple[str, ...]:
    """The lines of a pip requirements file that are not comments."""
    lines = (_PINS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(pin for line in lines if (pin := line.partition("#")[0].strip()))


@dataclass(frozen=True)
class Toolchain:
    """A pinned environment; sizes and seconds were measured on Linux x86-64 with two cores."""

    name: str
    purpose: str  # for people: "PyTorch to ONNX and TFLite"
    pythons: tuple[str, ...]  # versions it works with, best first
    requirements: tuple[str, ...]  # lines of a pip requirements file, every package pinned
    proof: str  # Python code that fails where the environment is of no use
    download_mb: int
    disk_mb: int
    seconds: int
    alone: frozenset[str] = frozenset()  # packages installed without what they declare to need
    note: str | None = None  # for people, before they wait


TOOLCHAINS: dict[str, Toolchain] = {
    toolchain.name: toolchain
    for toolchain in (
        Toolchain(
            name="torch",
            purpose="PyTorch to ONNX and TFLite",
            pythons=("3.11", "3.12", "3.13"),
            requirements=_pins("torch"),
            proof="import torch, onnx, onnxscript, onnxruntime, litert_torch",
            download_mb=460,
            disk_mb=2030,
            seconds=65,
            # They declare the tooling of language models and torchvision, whose wheels are for CUDA.
            alone=frozenset({"litert-torch", "onnx2torch"}),
            note="where the package index has PyTorch for CUDA only, some GB more",
        ),
        Toolchain(
            name="tensorflow",
            purpose="Keras and SavedModel to TFLite and ONNX",
            pythons=("3.11", "3.12", "3.13"),
            requirements=_pins("tensorflow"),
            proof="import tensorflow, keras, h5py, tf2onnx; tensorflow.lite.TFLiteConverter",
            download_mb=330,
            disk_mb=1590,
            seconds=56,
        ),
        Toolchain(
            name="onnx2tf",
            purpose="ONNX to TFLite",
            pythons=("3.12", "3.13"),
            requirements=_pins("onnx2tf"),
            proof="import onnx2tf, onnxsim, onnxruntime, ai_edge_litert.interpreter",
            download_mb=162,
            disk_mb=661,
            seconds=33,
        ),
        Toolchain(
            name="onnx2tf-tensorflow",
            purpose="ONNX to TFLite with the help of TensorFlow",
            pythons=("3.12", "3.13"),
            requirements=_pins("onnx2tf-tensorflow"),
            proof="import onnx2tf, onnxsim, onnxruntime, tensorflow, tf_keras",
            download_mb=460,
            disk_mb=2080,
            seconds=105,
            alone=frozenset({"onnx2tf", "tf_keras"}),
        ),
        Toolchain(
            name="tflite-runtime",
            purpose="running TFLite as older boards do",
            pythons=("3.11", "3.10", "3.9"),
            requirements=_pins("tflite-runtime"),
            proof="import numpy, tflite_runtime.interpreter",
            download_mb=20,
            disk_mb=111,
            seconds=10,
        ),
        Toolchain(
            name="tensorrt-parser",
            purpose="asking TensorRT whether it takes an ONNX model",
            pythons=("3.11", "3.12", "3.13"),
            requirements=_pins("tensorrt-parser"),
            proof="import numpy, tensorrt_rtx_bindings as trt; trt.Builder(trt.Logger())",
            download_mb=103,
            disk_mb=318,
            seconds=12,
        ),
        Toolchain(
            name="openvino",
            purpose="ONNX to OpenVINO",
            pythons=("3.11", "3.12", "3.13"),
            requirements=_pins("openvino"),
            proof="import numpy, openvino; openvino.Core(), openvino.convert_model",
            download_mb=73,
            disk_mb=278,
            seconds=13,
            alone=frozenset({"openvino"}),  # for its telemetry
        ),
    )
}


def toolchain_key(name: str) -> str:
    """The name of the toolchain's folder, which changes when its pins do."""
    toolchain = TOOLCHAINS[name]
    content = "\n".join([*toolchain.requirements, "alone:", *sorted(toolchain.alone)])
    return f"{name}-{hashlib.sha256(content.encode('utf-8')).hexdigest()[:_DIGEST_LENGTH]}"


def find_toolchain(name: str, home: Path) -> Path | None:
    """The python of the toolchain if it is complete; looks at two files and starts nothing."""
    folder = home.absolute() / toolchain_key(name)
    try:
        environment = (folder / "complete").read_text(encoding="utf-8")
    except OSError:
        return None
    python = folder / environment / "bin" / "python"
    # The interpreter it was made with may have been removed since; then it is made anew.
    return python if python.is_file() else None


def prepare_toolchain(name: str, home: Path, tell: Callable[[str], None]) -> Path:
    """The python of the toolchain, made now if it is not there; of several processes one makes it.

    Raises ConversionFailed: toolchain_offline, toolchain_python_missing, toolchain_failed or disk_full.
    """
    found = find_toolchain(name, home)
    if found is not None:
        return found
    toolchain = TOOLCHAINS[name]
    folder = home.absolute() / toolchain_key(name)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _one_at_a_time(
            folder, lambda: tell(f"waiting for another process that makes the {name} toolchain")
        ):
            return find_toolchain(name, home) or _make(toolchain, folder, tell)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(name, str(error)) from error
        raise ConversionFailed(
            f"the {name} toolchain could not be made: {error}", reason="toolchain_failed"
        ) from error


def remove_unused(home: Path) -> list[str]:
    """Removes the environments of pins that are no longer ours, and returns their folders' names."""
    current = {toolchain_key(name) for name in TOOLCHAINS}
    folders = sorted(folder for folder in home.glob("*-*") if _KEY.fullmatch(folder.name) and folder.is_dir())
    old = [folder for folder in folders if folder.name not in current]
    for folder in old:
        with _one_at_a_time(folder, lambda: None):
            (folder / "complete").unlink(missing_ok=True)
            shutil.rmtree(folder)
    return [folder.name for folder in old]


@contextmanager
def _one_at_a_time(folder: Path, tell_waiting: Callable[[], None]) -> Iterator[None]:
    """The kernel frees the lock when its holder ends, however it ends."""
    with folder.with_name(f"{folder.name}.lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell_waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(toolchain: Toolchain, folder: Path, tell: Callable[[str], None]) -> Path:
    interpreter = find_python(toolchain.pythons, f"the {toolchain.name} toolchain ({toolchain.purpose})")
    _remove_leftovers(folder)
    _check_space(toolchain, folder)
    tell(_announcement(toolchain))
    if toolchain.note is not None:
        tell(f"{toolchain.name} toolchain: {toolchain.note}")
    started = time.monotonic()
    # A name of its own each time: pip may outlive a killed builder and write on for a while.
    environment = Path(tempfile.mkdtemp(prefix="env-", dir=folder))
    try:
        python = _fill(toolchain, interpreter, environment, tell)
        _mark_complete(folder, environment)
    except BaseException:  # Ctrl-C too must not leave gigabytes behind
        shutil.rmtree(environment, ignore_errors=True)
        raise
    tell(f"the {toolchain.name} toolchain is ready after {time.monotonic() - started:.0f} s")
    return python


def _fill(toolchain: Toolchain, interpreter: Path, environment: Path, tell: Callable[[str], None]) -> Path:
    name = toolchain.name
    python = make_environment(interpreter, environment, name)
    for alone in (False, True):
        pins = [pin for pin in toolchain.requirements if (_package(pin) in toolchain.alone) is alone]
        if pins:
            file = environment / ("pins-alone.txt" if alone else "pins.txt")
            file.write_text("\n".join(pins) + "\n", encoding="utf-8")
            install_pins(python, file, name, tell, alone=alone)
    prove_imports(python, toolchain.proof, name)
    return python


def _package(pin: str) -> str:
    return pin.partition("==")[0].partition("[")[0].strip()


def _mark_complete(folder: Path, environment: Path) -> None:
    unfinished = folder / "complete.part"
    unfinished.write_text(environment.name, encoding="utf-8")
    unfinished.replace(folder / "complete")


def _announcement(toolchain: Toolchain) -> str:
    minutes = max(1, round(toolchain.seconds / 60))
    return (
        f"making the {toolchain.name} toolchain ({toolchain.purpose}): about "
        f"{_size(toolchain.disk_mb)} on disk, {_size(toolchain.download_mb)} to fetch, "
        f"{minutes} minute{'s' if minutes > 1 else ''}, once"
    )


def _check_space(toolchain: Toolchain, folder: Path) -> None:
    # Twice what is fetched: pip unpacks from a copy of its own and keeps one in its cache.
    needed_mb = toolchain.disk_mb + 2 * toolchain.download_mb
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < needed_mb:
        raise disk_full(
            toolchain.name, f"{folder} has {_size(free_mb)} free and making it takes {_size(needed_mb)}"
        )


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def _remove_leftovers(folder: Path) -> None:
    """What killed builders left, and an environment whose interpreter is gone."""
    (folder / "complete").unlink(missing_ok=True)
    for environment in folder.glob("env-*"):
        shutil.rmtree(environment, ignore_errors=True)
