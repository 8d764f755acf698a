"""Runtimes that do not work, and the shortest way to have them work, by generation of the system."""

from __future__ import annotations

import pytest

from harness.farm.doctor.findings import Finding
from tests.farm.doctor.patients import A76, broken, finding, jetson, pi_4, topics, works

MISSING = broken("onnxruntime", "onnxruntime cannot be imported: No module named 'onnxruntime'")
NO_TENSORRT = broken("tensorrt", "TensorRT cannot be imported")
SIGILL = broken("onnxruntime", "died of SIGILL: its package was built for a newer processor")


def test_a_runtime_that_works_is_good_with_package_and_version() -> None:
    assert finding(pi_4(), "onnxruntime") == Finding("onnxruntime", "good", "works (onnxruntime 1.20.1)")


def test_where_no_runtime_works_that_comes_first_and_one_command_mends_it() -> None:
    examined = pi_4(throttle_flags=0x50005)
    assert next(iter(topics(examined, MISSING))) == "onnxruntime"
    found = finding(examined, "onnxruntime", MISSING)
    assert (found.state, found.blocks) == ("problem", True)
    assert found.commands == ("bench device setup board-1",)
    assert found.why == (
        "A virtual environment of the agent's own with numpy==2.2.6, onnxruntime==1.20.1 touches nothing of "
        "the system."
    )


def test_a_second_runtime_that_is_missing_is_advice_only() -> None:
    found = finding(
        pi_4(facts={"cpu_features": A76}), "tflite", works("onnxruntime"), broken("tflite", "no package")
    )
    assert (found.state, found.blocks, found.found) == ("advice", False, "no package")
    assert "ai-edge-litert==2.3.0" in found.why


def test_sigill_on_a_cortex_a72_names_the_version_that_runs_there() -> None:
    assert finding(pi_4(), "onnxruntime", SIGILL).why == (
        "This processor is an Armv8.0, newer packages are built for more; numpy==2.2.6, onnxruntime==1.20.1 "
        "are known to run on it."
    )


def test_tflite_on_python_3_6_says_that_only_own_wheels_help() -> None:
    found = finding(jetson(4), "tflite", works("onnxruntime"), broken("tflite", "not installed"))
    assert found.commands == ()
    assert found.why.startswith("There is no tflite package for Python 3.6, glibc 2.27 and Armv8.0")
    assert "--wheels DIR" in found.why


@pytest.mark.parametrize(("jetpack", "parsers"), [(4, "8"), (5, "8"), (6, "10"), (7, "10")])
def test_missing_bindings_come_from_apt_with_the_parser_of_that_jetpack_and_never_from_pypi(
    jetpack: int, parsers: str
) -> None:
    examined = jetson(jetpack, packages={}, system_packages={}, system_package_folders={})
    found = finding(examined, "tensorrt", NO_TENSORRT)
    assert (found.state, found.blocks) == ("problem", True)
    assert found.found == "TensorRT cannot be imported; its Python bindings are not installed"
    assert found.commands == (
        "sudo apt-get install -y python3-libnvinfer python3-libnvinfer-dev libnvinfer-bin "
        f"libnvonnxparsers{parsers}",
    )
    assert "the package of that name on PyPI is for PCs" in found.why


def test_a_plain_environment_that_hides_the_bindings_is_made_anew() -> None:
    examined = jetson(5, packages={"numpy": "1.23.5"}, in_venv=True, python_executable="/home/a/v/bin/python")
    found = finding(examined, "tensorrt", NO_TENSORRT)
    assert found.found == (
        "TensorRT 8.2.1.8 lies in /usr/lib/python3.8/dist-packages, which /home/a/v/bin/python does not see"
    )
    assert "--system-site-packages" in found.why
    assert found.commands == ("bench device setup board-1",)


def test_nobody_misses_tensorrt_on_a_raspberry_pi() -> None:
    assert "tensorrt" not in topics(pi_4(), works("onnxruntime"), NO_TENSORRT)


def test_trtexec_is_found_off_the_path_or_installed() -> None:
    assert finding(jetson(6), "trtexec").found == "/usr/src/tensorrt/bin/trtexec"
    assert finding(jetson(6, commands={}), "trtexec").commands == ("sudo apt-get install -y libnvinfer-bin",)
