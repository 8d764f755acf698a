"""Python and packages: what is known to fail where, and the package index's traps."""

from __future__ import annotations

import pytest

from tests.farm.doctor.patients import broken, finding, jetson, pi_4, topics, works

MISSING = broken("onnxruntime", "not installed")


def test_a_managed_python_is_told_with_its_system_only_while_nothing_works() -> None:
    examined = pi_4(in_venv=False, python_executable="/usr/bin/python3")
    found = finding(examined, "python", MISSING)
    assert found.found == "3.11.2 (/usr/bin/python3) is managed by Raspberry Pi OS 12 (bookworm)"
    assert "PEP 668" in found.why
    assert found.commands == ("bench device setup board-1",)
    assert finding(examined, "python").state == "good"


def test_a_32_bit_system_on_a_64_bit_kernel_is_named_and_blocks() -> None:
    found = finding(pi_4(python_bits=32), "python", MISSING)
    assert (found.blocks, found.commands) == (True, ())
    assert found.found.endswith("is a 32-bit program")


@pytest.mark.parametrize(
    ("jetpack", "numpy", "state"),
    [(4, "1.24.4", "advice"), (5, "1.24.0", "advice"), (5, "1.23.5", "good"), (6, "1.26.4", "good")],
)
def test_numpy_1_24_breaks_tensorrt_up_to_8_5(jetpack: int, numpy: str, state: str) -> None:
    examined = jetson(jetpack, packages={"numpy": numpy})
    found = finding(examined, "numpy")
    assert found.state == state
    if state == "advice":
        assert "np.bool" in found.why
        assert found.commands == ("/usr/bin/python3 -m pip install --user 'numpy<1.24'",)


def test_numpy_1_19_5_dies_on_jetpack_4_unless_openblas_is_told_the_core() -> None:
    examined = jetson(4, packages={"numpy": "1.19.5"})
    found = finding(examined, "numpy")
    assert found.state == "problem"
    assert found.commands == (
        "/usr/bin/python3 -m pip install --user 'numpy==1.19.4'",
        "echo OPENBLAS_CORETYPE=ARMV8 | sudo tee -a /etc/environment  # or this instead",
    )
    assert finding(examined._replace(openblas_coretype="ARMV8"), "numpy").state == "good"


def test_an_environment_without_pip_is_ours_and_made_anew() -> None:
    examined = jetson(5, packages={"numpy": "1.24.4"}, in_venv=True, has_pip=False)
    assert finding(examined, "numpy").commands == ("bench device setup board-1",)


def test_numpy_2_beside_tflite_runtime_matters_only_where_tflite_fails() -> None:
    examined = pi_4(packages={"numpy": "2.2.6", "tflite-runtime": "2.14.0"})
    assert finding(examined, "numpy", works("tflite")).state == "good"
    found = finding(examined, "numpy", works("onnxruntime"), broken("tflite", "_ARRAY_API not found"))
    assert found.found == "2.2.6 beside tflite-runtime 2.14.0"


def test_tensorrt_from_pypi_hides_jetpacks_own() -> None:
    site = "/home/bench/.local/lib/python3.10/site-packages"
    examined = jetson(6, packages={"tensorrt": "11.4.0"}, package_folders={"tensorrt": site})
    found = finding(examined, "tensorrt package")
    assert found.found == f"11.4.0 in {site} is from PyPI"
    assert found.commands == ("/usr/bin/python3 -m pip uninstall -y tensorrt",)
    assert "tensorrt package" not in topics(jetson(6))


def test_pycoral_of_pypi_is_somebody_elses() -> None:
    found = finding(pi_4(packages={"pycoral": "0.2.0"}), "pycoral")
    assert found.state == "problem"
    assert "unrelated" in found.why


def test_two_onnxruntimes_in_one_folder_are_a_problem_and_the_server_build_on_a_jetson_too() -> None:
    both = pi_4(packages={"onnxruntime": "1.20.1", "onnxruntime-gpu": "1.20.1"})
    assert "Both write the same folder" in finding(both, "onnxruntime-gpu").why
    server = jetson(7, packages={"onnxruntime-gpu": "1.31.1"})
    assert "SBSA" in finding(server, "onnxruntime-gpu", MISSING).why
    assert "onnxruntime-gpu" not in topics(server)
