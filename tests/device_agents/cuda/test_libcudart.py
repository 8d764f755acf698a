"""Finding libcudart, and whether the real one has what is called."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from device_agents.cuda.base import CudaMissing, version_text
from device_agents.cuda.libcudart import SIGNATURES, Libcudart, open_libcudart
from tests.standins.placing import KEPT, place_libcudart

#: The runtime of JetPack 6's CUDA and of JetPack 7's, a few megabytes each.
REAL = ["nvidia-cuda-runtime-cu12==12.9.79", "nvidia-cuda-runtime==13.5.37"]


@pytest.mark.parametrize(
    ("number", "text"), [(10020, "10.2"), (11040, "11.4"), (12060, "12.6"), (13000, "13.0")]
)
def test_versions_are_read_from_their_number(number: int, text: str) -> None:
    assert version_text(number) == text


def test_a_board_without_cuda_is_told_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(tmp_path))
    with pytest.raises(
        CudaMissing, match=r"no libcudart\.so in /usr/local/cuda/lib64, /usr/local/cuda\*/lib64, "
    ):
        open_libcudart()


def test_a_library_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "usr" / "local" / "cuda-10.2" / "lib64"
    folder.mkdir(parents=True)
    (folder / "libcudart.so.10.2").write_bytes(b"not a library")
    monkeypatch.setenv("EDGEBENCH_BOARD_ROOT", str(tmp_path))
    with pytest.raises(
        CudaMissing, match=r"cuda-10\.2/lib64/libcudart\.so\.10\.2: .*(too short|invalid ELF)"
    ):
        open_libcudart()


@pytest.mark.processes
def test_the_toolkit_in_use_comes_before_others(board: Path) -> None:
    place_libcudart(board, "11.4")
    (board / "usr" / "local" / "cuda").symlink_to("cuda-11.4")
    assert open_libcudart().package == "libcudart.so.11.4"


@pytest.mark.processes
def test_a_broken_library_does_not_hide_a_good_one(board: Path) -> None:
    first = board / "usr" / "local" / "cuda-10.0" / "lib64"
    first.mkdir(parents=True)
    (first / "libcudart.so").write_bytes(b"")
    assert open_libcudart().package == "libcudart.so.10.2"


@pytest.mark.processes
@pytest.mark.parametrize("name", ["Orin", "x" * 300], ids=["short", "too long"])
def test_the_name_of_the_device_ends_where_cudas_field_does(
    board: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("STANDIN_GPU_NAME", name)
    assert open_libcudart().device_name() == name[:255]


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest) -> Path:
    """NVIDIA's own wheel, unpacked; kept between runs."""
    place = KEPT / request.param.replace("==", "-")
    if not place.is_dir():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-d",
        ]
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [*command, folder, request.param], capture_output=True, text=True, check=False
            )
            wheels = list(Path(folder).glob("*.whl"))
            if done.returncode or not wheels:
                pytest.skip(f"{request.param} cannot be had here: {done.stderr.strip().splitlines()[-1:]}")
            with zipfile.ZipFile(wheels[0]) as archive:
                archive.extractall(place)
    return place


def _library(wheel: Path) -> str:
    return str(next(wheel.glob("nvidia/**/libcudart.so.1*")))


@pytest.mark.processes
def test_the_real_library_exports_every_call(real: Path) -> None:
    library = ctypes.CDLL(_library(real))
    assert [name for name in SIGNATURES if not hasattr(library, name)] == []


@pytest.mark.processes
def test_the_real_header_has_every_call_with_as_many_arguments(real: Path) -> None:
    header = next(real.glob("nvidia/**/cuda_runtime_api.h")).read_text(encoding="utf-8")
    found = {}
    for name in SIGNATURES:
        arguments = re.search(rf"CUDARTAPI {name}\(([^;]*)\);", header)[1].strip()
        found[name] = 0 if arguments == "void" else arguments.count(",") + 1
    assert found == {name: len(arguments) for name, arguments in SIGNATURES.items()}


@pytest.mark.processes
def test_the_real_library_without_a_driver_is_told_in_its_own_words(real: Path) -> None:
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has an NVIDIA GPU")
    path = _library(real)
    with pytest.raises(CudaMissing) as missing:
        Libcudart(path)
    assert str(missing.value) == (
        f"{Path(path).name}: CUDA driver version is insufficient for CUDA runtime version "
        "(cudaErrorInsufficientDriver); the board's driver is missing or older than this CUDA"
    )
