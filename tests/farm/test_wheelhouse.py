"""Wheels for a board's platform, by a real pip from folders of small wheels; no index is asked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.farm.board_packages import BoardPlatform, Pin
from harness.farm.wheelhouse import WheelsMissing, chosen_from, digest, download_command, fetched, names_in

pytestmark = pytest.mark.processes

NANO = BoardPlatform("aarch64", (3, 6), (2, 27), frozenset(), 4)


def make_wheel(folder: Path, name: str, version: str, tags: str) -> Path:
    """The smallest thing pip takes for a wheel."""
    path = folder / f"{name}-{version}-{tags}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with wheels for several boards, and an index that nobody answers for."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    made = tmp_path / "mine"
    made.mkdir()
    make_wheel(made, "numpy", "1.19.4", "cp36-cp36m-manylinux2014_aarch64")
    make_wheel(made, "numpy", "1.19.5", "cp36-cp36m-manylinux2014_aarch64")
    make_wheel(made, "onnxruntime_gpu", "1.10.0", "cp36-cp36m-linux_aarch64")
    make_wheel(made, "tflite_runtime", "2.14.0", "cp39-cp39-manylinux_2_34_aarch64")
    return made


def test_the_newest_allowed_wheels_that_fit_the_board_are_chosen(folder: Path) -> None:
    with chosen_from(folder, NANO, [Pin("numpy", "1.19.4", "<1.19.5"), Pin("onnxruntime-gpu", "")]) as wheels:
        assert [wheel.name for wheel in wheels] == [
            "numpy-1.19.4-cp36-cp36m-manylinux2014_aarch64.whl",
            "onnxruntime_gpu-1.10.0-cp36-cp36m-linux_aarch64.whl",
        ]
        numpy = folder / wheels[0].name
        assert (wheels[0].bytes, wheels[0].path.read_bytes()) == (numpy.stat().st_size, numpy.read_bytes())
        first = digest(wheels)
    with chosen_from(folder, NANO, [Pin("numpy", "1.19.5")]) as others:
        assert digest(others) != first


def test_what_a_folder_lacks_is_named_with_the_command_that_fills_it(folder: Path) -> None:
    pins = [Pin("numpy", "1.19.4"), Pin("tflite-runtime", "2.13.0")]
    with pytest.raises(WheelsMissing) as caught, chosen_from(folder, NANO, pins):
        pass
    assert caught.value.message == f"{folder}: there is no tflite-runtime for this board"
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith(
        "fill it on a computer with a network: python3 -m pip download --no-deps --only-binary=:all: "
        "--python-version 3.6 --implementation cp --abi cp36m --platform manylinux_2_27_aarch64 "
    )
    assert caught.value.remedy.endswith(f"--dest {folder} numpy==1.19.4 tflite-runtime==2.13.0")


def test_an_index_out_of_reach_says_so_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "cache"
    with pytest.raises(WheelsMissing, match="the package index is out of reach"):
        fetched(NANO, [Pin("numpy", "1.19.4")], home, lambda _line: None)
    assert list(home.iterdir()) == []


def test_what_was_fetched_is_not_fetched_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    first = fetched(NANO, [Pin("numpy", "1.19.4")], tmp_path / "cache", told.append)
    assert told == ["fetching numpy==1.19.4 for aarch64, Python 3.6, glibc 2.27"]
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert fetched(NANO, [Pin("numpy", "1.19.4")], tmp_path / "cache", told.append) == first
    assert len(told) == 1


def test_names_of_a_folder_are_normalised_and_a_folder_without_wheels_is_a_mistake(
    folder: Path, tmp_path: Path
) -> None:
    assert names_in(folder) == {"numpy", "onnxruntime-gpu", "tflite-runtime"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"there are no \.whl files in it"):
        names_in(tmp_path / "empty")
    with pytest.raises(UsageError, match="no such folder"):
        names_in(tmp_path / "nowhere")


def test_the_command_for_people_leaves_out_what_came_without_a_version() -> None:
    command = download_command(NANO, [Pin("numpy", "1.19.4"), Pin("onnxruntime-gpu", "")])
    assert command.endswith(
        "--abi cp36m --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 "
        "--platform manylinux2014_aarch64 --dest DIR numpy==1.19.4"
    )
