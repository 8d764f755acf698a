"""Which packages a board gets: the ceilings of its Python, C library, processor and JetPack."""

from __future__ import annotations

import pytest

from harness.farm.board_packages import (
    BoardPlatform,
    NoPackage,
    packages_for,
    packages_from,
    pip_pin,
    platform_of,
    possible_runtimes,
    version_pair,
)
from tests.farm.doctor.patients import A72, A76, jetson, pi_4

BOTH = ("onnxruntime", "tflite")


def platform(python: str, glibc: str, features: str | None = A76, **values: object) -> BoardPlatform:
    numbers = [tuple(int(part) for part in text.split(".")) for text in (python, glibc)]
    told = None if features is None else frozenset(features.split())
    return BoardPlatform("aarch64", numbers[0], numbers[1], told, **values)  # type: ignore[arg-type]


def pins(board: BoardPlatform, *runtimes: str) -> list[str]:
    return [pin.exact for pin in packages_for(board, runtimes or BOTH)]


@pytest.mark.parametrize(
    ("board", "expected"),
    [
        # bookworm and trixie on a Pi 5, which is an Armv8.2
        (platform("3.11", "2.36"), ["numpy==2.2.6", "onnxruntime==1.31.1", "ai-edge-litert==2.3.0"]),
        (platform("3.13", "2.41"), ["numpy==2.2.6", "onnxruntime==1.31.1", "ai-edge-litert==2.3.0"]),
        # the same on a Pi 4, 3 or Zero 2 W
        (platform("3.11", "2.36", A72), ["numpy==2.2.6", "onnxruntime==1.20.1", "ai-edge-litert==2.3.0"]),
        # bullseye
        (platform("3.9", "2.31", A72), ["numpy==1.26.4", "onnxruntime==1.19.2", "ai-edge-litert==2.1.0"]),
        # JetPack 5, 6, 7
        (
            platform("3.8", "2.31", jetpack=5),
            ["numpy==1.23.5", "onnxruntime==1.19.2", "tflite-runtime==2.13.0"],
        ),
        (
            platform("3.10", "2.35", jetpack=6),
            ["numpy==1.26.4", "onnxruntime==1.23.2", "ai-edge-litert==2.3.0"],
        ),
        (
            platform("3.12", "2.39", jetpack=7),
            ["numpy==2.2.6", "onnxruntime==1.31.1", "ai-edge-litert==2.3.0"],
        ),
    ],
)
def test_each_system_gets_the_newest_that_runs_there(board: BoardPlatform, expected: list[str]) -> None:
    assert pins(board) == expected


def test_jetpack_4_gets_the_numpy_that_does_not_die_and_no_tflite() -> None:
    nano = platform("3.6", "2.27", A72, jetpack=4)
    assert pins(nano, "onnxruntime") == ["numpy==1.19.4", "onnxruntime==1.10.0"]
    assert possible_runtimes(nano) == ("onnxruntime",)
    with pytest.raises(
        NoPackage, match=r"there is no tflite package for Python 3\.6, glibc 2\.27 and Armv8\.0"
    ):
        packages_for(nano, ["tflite"])
    assert pip_pin(nano).exact == "pip==21.3.1"


def test_tensorrt_alone_needs_numpy_below_its_ceiling_and_nothing_else() -> None:
    assert pins(platform("3.8", "2.31", jetpack=5), "tensorrt") == ["numpy==1.23.5"]


def test_a_processor_that_tells_no_features_gets_what_runs_on_the_oldest() -> None:
    assert pins(platform("3.11", "2.36", None), "onnxruntime")[1] == "onnxruntime==1.20.1"


def test_an_old_c_library_gets_packages_made_for_it() -> None:
    assert pins(platform("3.9", "2.17", A72), "tflite") == ["numpy==1.26.4", "tflite-runtime==2.13.0"]
    assert pins(platform("3.11", "2.27"), "onnxruntime")[1] == "onnxruntime==1.23.2"


def test_what_the_board_says_decides_and_a_32_bit_python_is_told_from_its_kernel() -> None:
    assert platform_of(pi_4(), None) == platform("3.11", "2.36", A72)
    assert platform_of(jetson(5), 5).glibc == (2, 31)
    narrow = platform_of(pi_4(python_bits=32), None)
    assert narrow.machine == "armv7l"
    with pytest.raises(NoPackage, match="no runtime has packages for a armv7l system"):
        packages_for(narrow, BOTH)


def test_another_c_library_is_refused_with_its_reason() -> None:
    with pytest.raises(NoPackage, match="C library is not glibc"):
        packages_for(platform_of(pi_4(glibc=None), None), BOTH)


def test_tags_begin_at_the_boards_glibc_and_end_at_the_oldest_there_is() -> None:
    tags = platform("3.8", "2.31").tags()
    assert (tags[0], tags[-2:]) == (
        "manylinux_2_31_aarch64",
        ("manylinux2014_aarch64", "linux_aarch64"),
    )
    assert len(tags) == 31 - 17 + 1 + 2


@pytest.mark.parametrize(("python", "abi"), [("3.6", "cp36m"), ("3.7", "cp37m"), ("3.8", "cp38")])
def test_the_abi_had_a_letter_until_3_7(python: str, abi: str) -> None:
    assert platform(python, "2.31").abi == abi


def test_own_wheels_may_be_any_version_but_those_that_are_known_to_fail() -> None:
    nano = platform("3.6", "2.27", A72, jetpack=4)
    loose = [pin.loose for pin in packages_from(nano, BOTH, {"onnxruntime-gpu", "tflite-runtime", "numpy"})]
    assert loose == ["numpy<1.19.5", "onnxruntime-gpu", "tflite-runtime"]
    pi = platform("3.11", "2.36", A72)
    assert [pin.loose for pin in packages_from(pi, ["onnxruntime"], {"onnxruntime"})] == [
        "numpy",
        "onnxruntime<1.21",
    ]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("2.31", (2, 31)),
        ("3.11.2", (3, 11)),
        ("2", None),
        ("2.x", None),
        ("2.99999", None),
        ("1" * 5000 + ".2", None),
    ],
)
def test_a_version_is_two_numbers_of_a_possible_size(text: str, pair: tuple[int, int] | None) -> None:
    assert version_pair(text) == pair
