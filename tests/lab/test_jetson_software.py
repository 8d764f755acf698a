"""What a virtual Jetson gets of this machine, and what it says of what it lacks."""

from __future__ import annotations

import platform
import zipfile
from pathlib import Path

import pytest

from harness.farm.wheelhouse import Wheel, WheelsMissing
from harness.lab.boards.kinds import kinds
from harness.lab.jetson import software as jetson_software
from harness.lab.jetson.software import JetsonSoftware, find_software

NANO = kinds()["nano"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that has everything; tests take from it. Returns where things are kept."""
    packages, library = tmp_path / "cp36m", tmp_path / "libcudart.so"
    monkeypatch.setattr(jetson_software, "find_python", lambda kind: tmp_path / "python3.6")
    monkeypatch.setattr(jetson_software, "make_packages", lambda *_arguments: packages)
    monkeypatch.setattr(jetson_software, "has_compiler", lambda: True)
    monkeypatch.setattr(jetson_software, "compiled_libcudart", lambda kept: library)
    monkeypatch.setattr(jetson_software, "which", lambda name: f"/usr/bin/{name}")
    return tmp_path


def found(machine: Path) -> JetsonSoftware:
    return find_software(NANO, machine, lambda line: None)


def test_where_nothing_is_missing_nothing_is_said(machine: Path) -> None:
    software = found(machine)
    assert (software.has_tensorrt, software.has_sudo, software.lacks) == (True, True, ())


def test_without_its_python_there_is_no_tensorrt(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson_software, "find_python", lambda kind: None)
    software = found(machine)
    assert not software.has_tensorrt
    assert software.lacks == (
        "there is no Python 3.6 on this machine (pyenv install 3.6); it has python3",
        "so it comes without TensorRT",
    )


def test_without_the_package_index_it_comes_all_the_same(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_arguments: object) -> Path:
        raise WheelsMissing("the package index is out of reach", "connect this computer")

    monkeypatch.setattr(jetson_software, "make_packages", offline)
    assert found(machine).lacks == (
        "numpy and onnxruntime for its Python cannot be had: the package index is out of reach "
        "(connect this computer)",
        "so it comes without TensorRT",
    )


def test_without_a_compiler_there_is_onnxruntime_and_no_tensorrt(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetson_software, "has_compiler", lambda: False)
    software = found(machine)
    assert software.packages is not None
    assert software.lacks == (
        "there is no C compiler for what stands in for CUDA (apt-get install -y gcc libc6-dev)",
        "so it comes without TensorRT",
    )


def test_without_sudo_its_performance_mode_stays(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson_software, "which", lambda name: None)
    software = found(machine)
    assert software.has_tensorrt
    assert software.lacks == (
        "no sudo here, so its performance mode cannot be changed (apt-get install -y sudo)",
    )


def test_packages_are_unpacked_once_and_everybody_may_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def wheels(_target: object, pins: tuple[object, ...], home: Path, _tell: object) -> tuple[Wheel, ...]:
        asked.extend(pin.exact for pin in pins)  # type: ignore[attr-defined]
        home.mkdir()
        with zipfile.ZipFile(home / "numpy.whl", "w") as archive:
            archive.writestr("numpy/__init__.py", "version = 1\n")
        return (Wheel(home / "numpy.whl", "0" * 64, 1),)

    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(jetson_software, "fetched", wheels)
    monkeypatch.setattr(jetson_software, "call", lambda *_command: "")
    for _ in range(2):
        folder = jetson_software.make_packages(Path("python3.6"), "3.6", tmp_path, lambda line: None)
    assert asked == ["numpy==1.19.5", "onnxruntime==1.10.0"]
    assert (folder / "numpy/__init__.py").read_text() == "version = 1\n"
    modes = [path.stat().st_mode & 0o777 for path in (folder, folder / "numpy", folder / "numpy/__init__.py")]
    assert modes == [0o755, 0o755, 0o644]
    assert [path.name for path in tmp_path.glob("*.partial")] == []
