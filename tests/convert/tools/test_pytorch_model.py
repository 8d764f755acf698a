"""What loading, running and looking into PyTorch models does, and what it says where that is impossible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.errors import ConversionFailed, ConvertError, DataError, InvalidModel
from convert.processes.toolchain import find_toolchain
from convert.sources.source import Source, source_to_json
from convert.workshop import Workshop
from tests.convert.tools.pytorch_jobs import NETWORKS, Arrays, Torch, factory, file, largest_difference, noise

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("toolchains")]

NOT_SQUARE = "troubles:not_square"
IMAGE = {"image": [1, 3, 48, 80]}


@pytest.fixture(scope="module")
def torch(workshop: Workshop, toolchains: Path, tmp_path_factory: pytest.TempPathFactory) -> Torch:
    return Torch(workshop, tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def saved(toolchains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file that torch saves."""
    folder = tmp_path_factory.mktemp("saved")
    python = find_toolchain("torch", toolchains)
    subprocess.run(
        [str(python), "-W", "ignore", str(NETWORKS / "saved.py"), str(folder)],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def not_square(torch: Torch) -> dict[str, Any]:
    return torch.inspect(factory(NOT_SQUARE))


@pytest.fixture(scope="module")
def images(not_square: dict[str, Any]) -> Arrays:
    return noise(not_square, examples=2)


@pytest.fixture(scope="module")
def answers(torch: Torch, not_square: dict[str, Any], images: Arrays) -> Arrays:
    return torch.reference(factory(NOT_SQUARE), not_square, images)


def shapes(tensors: list[dict[str, Any]]) -> dict[str, tuple[list[int], str]]:
    return {tensor["name"]: (tensor["shape"], tensor["dtype"]) for tensor in tensors}


def refusal(error: type[ConvertError], torch: Torch, source: Source, **more: Any) -> ConvertError:
    with pytest.raises(error) as caught:
        torch.inspect(source, **more)
    return caught.value


def test_a_factory_tells_all_about_its_model(not_square: dict[str, Any]) -> None:
    assert not_square == {
        "kind": "pytorch",
        "external_data": {},
        "inputs": [
            {
                "name": "image",
                "aliases": [],
                "shape": [1, 3, 48, 80],
                "dtype": "float32",
                "quantization": None,
            }
        ],
        "outputs": [
            {"name": "output", "aliases": [], "shape": [1, 10], "dtype": "float32", "quantization": None}
        ],
        "opset": None,
        "operators": {"Conv2d": 1, "Linear": 1},
        "parameters": 3 * 8 * 9 + 8 + 8 * 24 * 40 * 10 + 10,
        "bounds": {},
        "precision": "fp32",
    }


def test_weights_that_nobody_loads_are_the_same_in_every_process(
    torch: Torch, not_square: dict[str, Any], images: Arrays, answers: Arrays
) -> None:
    again = torch.reference(factory(NOT_SQUARE), not_square, images)
    assert answers["output"].shape == (2, 1, 10)
    np.testing.assert_array_equal(again["output"], answers["output"])
    assert not np.allclose(answers["output"][0], answers["output"][1])


def test_outputs_are_named_by_keys_and_places(torch: Torch) -> None:
    info = torch.inspect(factory("troubles:named_outputs"))
    assert shapes(info["outputs"]) == {
        "features": ([1, 8, 8, 8], "float32"),
        "pooled.mean": ([1, 8], "float32"),
        "pooled.sums.0": ([1, 8], "float32"),
        "pooled.sums.1": ([1, 8], "float32"),
    }


def test_an_optional_input_is_one_if_it_has_a_shape(torch: Torch) -> None:
    pair = {"left": [1, 4], "right": [1, 4]}
    without = torch.inspect(factory("troubles:two_inputs"), pair)
    assert list(shapes(without["inputs"])) == ["left", "right"]
    assert list(shapes(without["outputs"])) == ["total", "difference"]
    with_bias = torch.inspect(factory("troubles:two_inputs"), {**pair, "bias": [4]})
    assert shapes(with_bias["inputs"])["bias"] == ([4], "float32")


def test_types_come_from_the_example_inputs_and_shapes_from_the_user(torch: Torch) -> None:
    info = torch.inspect(factory("troubles:integer_input"), {"rows": [2, 5]})
    assert shapes(info["inputs"]) == {"rows": ([2, 5], "int64")}
    assert shapes(info["outputs"]) == {"output": ([2, 5, 4], "float32")}


def test_a_model_without_shapes_names_the_inputs_that_need_one(torch: Torch) -> None:
    error = refusal(DataError, torch, factory("troubles:two_inputs"), shapes={"left": [1, 4]})
    assert error.reason == "shape_needed"
    assert error.message == "troubles:two_inputs does not tell the shapes of 'right'"
    assert "--shape right=1,3,224,224" in str(error.remedy)


def test_a_shape_for_no_input_names_those_there_are(torch: Torch) -> None:
    error = refusal(DataError, torch, factory(NOT_SQUARE), shapes={"x": [1, 3, 48, 80]})
    assert error.reason == "unknown_input"
    assert error.message == "a shape was given for 'x', but forward() of troubles:not_square takes 'image'"


def test_a_shape_the_model_cannot_take_is_named_with_what_torch_says(torch: Torch) -> None:
    error = refusal(ConversionFailed, torch, factory(NOT_SQUARE), shapes={"image": [1, 3, 48, 48]})
    assert error.reason == "execution_failed"
    assert "'image' (1, 3, 48, 48)" in error.message
    assert "mat1 and mat2 shapes cannot be multiplied (1x4608 and 7680x10)" in error.message


def test_an_output_that_is_no_tensor_is_refused_by_name(torch: Torch) -> None:
    error = refusal(InvalidModel, torch, factory("troubles:not_a_tensor"))
    assert error.reason == "non_tensor_output"
    assert error.message == "output 'output_1' is 2 (int), not a tensor"


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("trouble:not_square", "factory_not_found", "no module 'trouble' .* did you mean 'troubles'"),
        ("troubles:not_squar", "factory_not_found", "no function 'not_squar'; did you mean 'not_square'"),
        (
            "troubles:fails",
            "factory_failed",
            r"ZeroDivisionError: there is a mistake here \(troubles.py:\d+\)",
        ),
        ("troubles:no_module", "factory_no_module", r"returned 7 \(int\), not a torch.nn.Module"),
    ],
)
def test_a_factory_that_makes_no_module_is_told_what_is_wrong_with_it(
    name: str, reason: str, words: str, torch: Torch
) -> None:
    with pytest.raises(InvalidModel, match=words) as caught:
        torch.inspect(factory(name))
    assert caught.value.reason == reason


def test_a_package_the_toolchain_lacks_asks_for_the_users_environment(torch: Torch, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torchvision_of_mine\n", encoding="utf-8")
    error = refusal(InvalidModel, torch, factory("mine:network", search=tmp_path))
    assert error.reason == "factory_import"
    assert "imports 'torchvision_of_mine'" in error.message
    assert "--python /path/to/your/environment/bin/python" in str(error.remedy)


def test_an_environment_without_torch_is_named(torch: Torch) -> None:
    request = {"source": source_to_json(factory(NOT_SQUARE)), "shapes": {}}
    with pytest.raises(InvalidModel, match="has no package 'torch'") as caught:
        torch.workshop.run("pytorch inspection", request, python=Path(sys.executable), error=InvalidModel)
    assert caught.value.reason == "tool_missing"


@pytest.mark.parametrize("name", ["weights.pth", "legacy.pth", "checkpoint.pth"])
def test_weights_are_loaded_into_the_factorys_network(
    name: str, saved: Path, torch: Torch, not_square: dict[str, Any], images: Arrays, answers: Arrays
) -> None:
    # The factory's own weights are drawn from another seed here, so the answer shows where they come from.
    source = factory("troubles:not_square_untrained", saved / name)
    np.testing.assert_array_equal(torch.reference(source, not_square, images)["output"], answers["output"])


def test_weights_of_another_network_are_compared_with_this_one(saved: Path, torch: Torch) -> None:
    error = refusal(InvalidModel, torch, factory("troubles:wider", saved / "weights.pth"))
    assert error.reason == "weights_mismatch"
    assert error.message == (
        "the weights in weights.pth do not fit the network of troubles:wider: 1 missing (layer.scale); "
        "2 unexpected (layer.linear.weight, layer.linear.bias); 2 of another shape (stem.convolution.weight "
        "(8, 3, 3, 3) instead of (12, 3, 3, 3), stem.convolution.bias (8,) instead of (12,))"
    )


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("weights.pth", "factory_needed", r"holds 4 weights \(stem.convolution.weight, .* not the network"),
        ("whole.pt", "pickle_untrusted", r"pickle of Python objects \(troubles.After\)"),
        ("hostile.pt", "pickle_untrusted", r"pickle of Python objects \(posix.system\)"),
        ("list.pt", "invalid_model", "holds a list, neither a module nor weights"),
        ("damaged.pth", "invalid_model", r"damaged.pth \(2000 bytes\) is not a usable PyTorch file"),
        ("text.pth", "invalid_model", r"text.pth \(11 bytes\) is not a usable PyTorch file"),
    ],
)
def test_a_file_that_is_no_model_by_itself_is_told_what_it_is(
    name: str, reason: str, words: str, saved: Path, torch: Torch
) -> None:
    with pytest.raises(InvalidModel, match=words) as caught:
        torch.inspect(file(saved / name))
    assert caught.value.reason == reason
    assert not (saved / "hostile-was-here").exists()


def test_a_trusted_pickle_is_loaded_where_its_code_is(
    saved: Path, torch: Torch, not_square: dict[str, Any], images: Arrays, answers: Arrays
) -> None:
    source = Source("pytorch", saved / "whole.pt", trust_pickle=True, search=NETWORKS)
    np.testing.assert_array_equal(torch.reference(source, not_square, images)["output"], answers["output"])
    elsewhere = refusal(InvalidModel, torch, file(saved / "whole.pt", trust_pickle=True))
    assert elsewhere.reason == "factory_import"
    assert "needs the package 'troubles'" in elsewhere.message


def test_torchscript_needs_a_shape_and_no_code(
    saved: Path, torch: Torch, images: Arrays, answers: Arrays
) -> None:
    source = file(saved / "scripted.pt", "torchscript")
    assert refusal(DataError, torch, source).reason == "shape_needed"
    info = torch.inspect(source, IMAGE)
    assert info["operators"] == {"conv2d": 1, "relu": 1, "flatten": 1, "linear": 1}
    assert shapes(info["inputs"]) == {"image": ([1, 3, 48, 80], "float32")}
    assert largest_difference(torch.reference(source, info, images), answers) < 1e-6


@pytest.mark.parametrize(
    ("name", "reason"), [("damaged_script.pt", "invalid_model"), ("writing.pt", "pickle_untrusted")]
)
def test_torchscript_that_is_damaged_or_writes_files_is_not_loaded(
    name: str, reason: str, saved: Path, torch: Torch
) -> None:
    assert refusal(InvalidModel, torch, file(saved / name, "torchscript"), shapes=IMAGE).reason == reason


def test_an_exported_program_is_code_and_needs_trust(
    saved: Path, torch: Torch, images: Arrays, answers: Arrays
) -> None:
    error = refusal(InvalidModel, torch, file(saved / "program.pt2", "pt2"))
    assert error.reason == "pickle_untrusted"
    assert "--trust-pickle" in str(error.remedy)
    source = file(saved / "program.pt2", "pt2", trust_pickle=True)
    info = torch.inspect(source)
    assert shapes(info["inputs"]) == {"image": ([1, 3, 48, 80], "float32")}
    assert info["operators"] == {
        "aten.conv2d": 1,
        "aten.relu": 1,
        "aten.flatten.using_ints": 1,
        "aten.linear": 1,
    }
    assert largest_difference(torch.reference(source, info, images), answers) < 1e-6


def test_inputs_by_keyword_reach_an_exported_program(saved: Path, torch: Torch) -> None:
    source = file(saved / "named.pt2", "pt2", trust_pickle=True)
    info = torch.inspect(source)
    assert list(shapes(info["inputs"])) == ["left", "right"]
    left, right = np.full((1, 1, 4), 5, np.float32), np.full((1, 1, 4), 3, np.float32)
    outputs = torch.reference(source, info, {"right": right, "left": left})
    assert {name: float(array.max()) for name, array in outputs.items()} == {"total": 8, "difference": 2}


def test_a_trace_holds_what_every_layer_answered_in_order(
    torch: Torch, not_square: dict[str, Any], images: Arrays, answers: Arrays
) -> None:
    arrays, tensors = torch.trace(factory(NOT_SQUARE), not_square, images)
    assert tensors == [
        {"name": "stem.convolution", "operator": "Conv2d"},
        {"name": "layer.linear", "operator": "Linear"},
    ]
    assert arrays["stem.convolution"].shape == (1, 8, 24, 40)
    np.testing.assert_array_equal(arrays["layer.linear"], answers["output"][0])


def test_a_trace_keeps_what_a_later_layer_overwrites(torch: Torch) -> None:
    source = factory("troubles:in_place")
    info = torch.inspect(source)
    arrays, _ = torch.trace(source, info, {"input": np.array([[[-1, 2]]], np.float32)})
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "0": [[-1, 2]],
        "1": [[0, 2]],
    }


def test_a_trace_of_an_exported_program_holds_its_operators(
    saved: Path, torch: Torch, not_square: dict[str, Any], images: Arrays, answers: Arrays
) -> None:
    source = file(saved / "program.pt2", "pt2", trust_pickle=True)
    arrays, tensors = torch.trace(source, not_square, images)
    assert [tensor["operator"] for tensor in tensors] == [
        "aten.conv2d",
        "aten.relu",
        "aten.flatten.using_ints",
        "aten.linear",
    ]
    np.testing.assert_allclose(arrays["linear"], answers["output"][0], atol=1e-6)
