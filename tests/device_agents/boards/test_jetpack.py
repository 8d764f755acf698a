"""Release, JetPack, CUDA and TensorRT of a Jetson by its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.boards import jetpack
from device_agents.boards.linux_files import LinuxFiles

RELEASE = (
    "# R{} (release), REVISION: {}, GCID: 1, BOARD: t186ref, EABI: aarch64, DATE: Wed Feb  2 2022\n# KERNEL"
)


def files(folder: Path, **contents: str) -> LinuxFiles:
    """A board with these files; `__` in a name is a folder's end."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return LinuxFiles(str(folder))


def package(name: str, version: str, status: str = "install ok installed") -> str:
    return (
        f"Package: {name}\nStatus: {status}\nArchitecture: arm64\nVersion: {version}\nDescription: x\n y\n\n"
    )


def with_packages(folder: Path, text: str) -> LinuxFiles:
    path = folder / "var/lib/dpkg/status"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return LinuxFiles(str(folder))


@pytest.mark.parametrize(
    ("major", "revision", "jetpack_version"),
    [
        ("32", "4.4", "4.4.1"),
        ("32", "6.1", "4.6"),
        ("32", "7.1", "4.6.1"),
        ("32", "7.6", "4.6.6"),
        ("35", "1.0", "5.0.2"),
        ("35", "4.1", "5.1.2"),
        ("35", "6.4", "5.1.6"),
        ("36", "3.0", "6.0"),
        ("36", "4.0", "6.1"),
        ("36", "4.3", "6.2"),
        ("36", "4.7", "6.2.1"),
        ("36", "5.0", "6.2.2"),
        ("38", "2.1", "7.0"),
        ("38", "4.0", "7.1"),
        ("39", "2.0", "7.2"),
    ],
)
def test_the_release_file_tells_l4t_and_with_it_jetpack(
    tmp_path: Path, major: str, revision: str, jetpack_version: str
) -> None:
    release = jetpack.l4t_release(files(tmp_path, etc__nv_tegra_release=RELEASE.format(major, revision)))
    assert release == f"{major}.{revision}"
    assert jetpack.jetpack(release) == jetpack_version


@pytest.mark.parametrize(
    ("release", "known"), [("36.9.9", "6.x"), ("39.3.1", "7.x"), ("40.1.0", None), ("x", None), (None, None)]
)
def test_of_a_release_nobody_knew_only_the_generation_is_said(release: str | None, known: str | None) -> None:
    assert jetpack.jetpack(release) == known


@pytest.mark.parametrize("text", ["", "# R36 (rel", "R (release), REVISION: ", "ü\x00"])
def test_a_release_file_of_another_form_says_nothing(tmp_path: Path, text: str) -> None:
    assert jetpack.l4t_release(files(tmp_path, etc__nv_tegra_release=text)) is None


def test_without_the_release_file_the_core_package_tells(tmp_path: Path) -> None:
    told = with_packages(tmp_path, package("nvidia-l4t-core", "36.4.3-20250107174145"))
    assert jetpack.l4t_release(told) == "36.4.3"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"cuda": {"name": "CUDA SDK", "version": "11.4.19"}}', "11.4.19"),
        ('{"cuda": {}}', None),
        ('{"cuda": 3}', None),
        ("[]", None),
        ("{", None),
    ],
)
def test_cuda_since_11_tells_its_version_in_json(tmp_path: Path, text: str, version: str | None) -> None:
    told = files(tmp_path, **{"usr__local__cuda__version.json": text})
    assert jetpack.cuda_version(told) == version


def test_cuda_10_tells_it_in_a_sentence(tmp_path: Path) -> None:
    told = files(tmp_path, **{"usr__local__cuda__version.txt": "CUDA Version 10.2.300\n"})
    assert jetpack.cuda_version(told) == "10.2.300"


def test_tensorrt_is_the_package_that_is_installed(tmp_path: Path) -> None:
    packages = (
        package("libnvinfer7", "7.1.3-1+cuda10.2", "deinstall ok config-files")
        + package("libnvinfer-bin", "1.0")
        + package("libnvinfer8", "8.2.1-1+cuda10.2")
    )
    assert jetpack.tensorrt_version(with_packages(tmp_path, packages)) == "8.2.1-1+cuda10.2"


def test_the_last_package_needs_no_line_after_it(tmp_path: Path) -> None:
    packages = "Package: libnvinfer10\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5"
    assert jetpack.tensorrt_version(with_packages(tmp_path, packages)) == "10.3.0.30-1+cuda12.5"


def test_without_packages_tensorrt_is_told_by_its_librarys_name(tmp_path: Path) -> None:
    library = tmp_path / "usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0"
    library.parent.mkdir(parents=True)
    library.touch()
    (library.parent / "libnvinfer.so.10").symlink_to(library.name)
    assert jetpack.tensorrt_version(LinuxFiles(str(tmp_path))) == "10.3.0"


def test_a_chip_nobody_knew_has_no_gpu_made_up(tmp_path: Path) -> None:
    assert jetpack.details(LinuxFiles(str(tmp_path)), ["nvidia,tegra999"]) == {}


@pytest.mark.parametrize(
    ("soc", "gpu"),
    [
        ("tegra210", "GM20B (Maxwell, sm_53)"),
        ("tegra186", "GP10B (Pascal, sm_62)"),
        ("tegra194", "GV11B (Volta, sm_72)"),
        ("tegra234", "GA10B (Ampere, sm_87)"),
        ("tegra264", "GB10B (Blackwell, sm_110)"),
    ],
)
def test_the_device_tree_names_chip_and_gpu(tmp_path: Path, soc: str, gpu: str) -> None:
    told = jetpack.details(LinuxFiles(str(tmp_path)), ["nvidia,p0000-0000", f"nvidia,{soc}"])
    assert told == {"soc": soc, "gpu": gpu}
