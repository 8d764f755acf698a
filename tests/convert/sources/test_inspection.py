from __future__ import annotations

import stat
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

from convert.errors import InvalidModel
from convert.sources.inspection import ModelInfo, TensorInfo, inspect
from tests.convert import models

pytestmark = pytest.mark.processes


def refused(path: Path, cache: Path) -> InvalidModel:
    with pytest.raises(InvalidModel) as caught:
        inspect(path, cache)
    return caught.value


def test_the_demo_has_the_same_interface_in_both_files(
    digits_onnx: ModelInfo, digits_tflite: ModelInfo
) -> None:
    assert digits_onnx.inputs == (TensorInfo("image", (), ("N", 8, 8, 1), "float32"),)
    assert digits_onnx.outputs == (TensorInfo("scores", (), ("N", 10), "float32"),)
    assert digits_tflite.inputs == (TensorInfo("image", (), (1, 8, 8, 1), "float32"),)
    assert digits_tflite.outputs == (TensorInfo("scores", (), (1, 10), "float32"),)
    assert digits_onnx.parameters == digits_tflite.parameters == 463_210
    assert (digits_onnx.opset, digits_tflite.opset) == (13, None)
    assert digits_onnx.operators["Conv"] == 5


def test_an_onnx_file_is_described_by_what_it_takes(tmp_path: Path, shared_cache: Path) -> None:
    info = inspect(models.language_model(tmp_path / "model.onnx"), shared_cache)

    assert info.inputs == (
        TensorInfo("input_ids", (), ("batch", "sequence"), "int64"),
        TensorInfo("attention_mask", (), ("batch", "sequence"), "int64"),
        TensorInfo("state", (), (2, "batch", 4), "float32"),
        TensorInfo("gain", (), (), "float32"),
    )
    assert info.bounds == {"input_ids": 1000}
    assert info.parameters == 1000 * 16 + 16 * 8
    assert info.precision == "fp32"


def test_initializers_are_no_inputs(tmp_path: Path, shared_cache: Path) -> None:
    table = models.weights("w", 4, 4)
    path = models.save(
        tmp_path / "old_style.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [models.value("x", [None, 4]), models.value("w", [4, 4])],
        [models.value("y", [None, 4])],
        [table],
    )
    assert [tensor.name for tensor in inspect(path, shared_cache).inputs] == ["x"]
    assert inspect(path, shared_cache).inputs[0].shape == (None, 4)


def test_external_data_belong_to_the_model_and_its_digest(tmp_path: Path, shared_cache: Path) -> None:
    info = inspect(models.with_external_data(tmp_path / "model.onnx"), shared_cache)

    assert [(file.name, file.bytes) for file in info.files][1:] == [("weights.bin", 8 * 3 * 3 * 3 * 4)]
    data = tmp_path / "weights.bin"
    data.write_bytes(bytes(data.stat().st_size))
    assert inspect(info.path, shared_cache).sha256 != info.sha256


def test_missing_and_short_external_data_are_named(tmp_path: Path, shared_cache: Path) -> None:
    path = models.with_external_data(tmp_path / "model.onnx")
    inspect(path, shared_cache)
    data = tmp_path / "weights.bin"

    data.write_bytes(data.read_bytes()[:-1])
    error = refused(path, shared_cache)
    assert error.reason == "external_data_missing"
    graph = f"model.onnx ({path.stat().st_size} bytes) holds the graph alone"
    assert error.message == f"{graph}: it takes 864 bytes of weights from 'weights.bin', which has 863 bytes"

    data.unlink()
    error = refused(path, shared_cache)
    assert error.message == f"{graph}: it takes 864 bytes of weights from 'weights.bin', which is missing"


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "link/weights.bin"])
def test_external_data_outside_of_the_folder_are_refused(
    location: str, tmp_path: Path, shared_cache: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    path = models.with_external_data(folder / "model.onnx")
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(model.SerializeToString())

    error = refused(path, shared_cache)
    assert error.reason == "unsafe_external_data"
    assert location in error.message


def test_an_output_that_is_no_tensor_is_named(shared_cache: Path) -> None:
    iris = Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx"
    error = refused(iris, shared_cache)
    assert error.reason == "non_tensor_output"
    assert error.message == "output 'probabilities' is a seq(map(int64,tensor(float))), not a tensor"


@pytest.mark.parametrize(("domain", "operator"), [("com.example", "Foo"), ("", "NoSuchOperator")])
def test_an_unknown_operator_is_named_with_its_domain(
    domain: str, operator: str, tmp_path: Path, shared_cache: Path
) -> None:
    path = models.save(
        tmp_path / "custom.onnx",
        [helper.make_node(operator, ["x"], ["y"], domain=domain)],
        [models.value("x", [1])],
        [models.value("y", [1])],
        domains=(domain,) if domain else (),
    )
    error = refused(path, shared_cache)
    assert error.reason == "custom_op"
    assert repr(operator) in error.message
    assert (domain or "ai.onnx") in error.message


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("name", ["digits.onnx", "digits.tflite"])
def test_a_truncated_file_is_invalid_and_crashes_nothing(
    name: str, share: float, tmp_path: Path, shared_cache: Path
) -> None:
    content = (models.DIGITS / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])

    error = refused(path, shared_cache)
    assert error.reason in ("invalid_model", "crashed")
    assert name in error.message or error.reason == "crashed"


def test_a_damaged_flatbuffer_is_invalid_and_crashes_nothing(tmp_path: Path, shared_cache: Path) -> None:
    content = bytearray((models.DIGITS / "digits.tflite").read_bytes())
    content[-4000:] = np.random.RandomState(0).bytes(4000)
    content[0:4] = b"\xff\xff\xff\x7f"
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    assert refused(path, shared_cache).reason in ("invalid_model", "crashed")


def test_a_custom_tflite_operator_is_named(tmp_path: Path, shared_cache: Path) -> None:
    content = (models.DIGITS / "digits.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    code = next(code for code in model.operatorCodes if code.builtinCode == schema.BuiltinOperator.MEAN)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = "Landmarks2TransformMatrix"
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "custom.tflite"
    path.write_bytes(bytes(builder.Output()))

    error = refused(path, shared_cache)
    assert error.reason == "custom_op"
    assert "'Landmarks2TransformMatrix'" in error.message


def test_a_file_of_another_kind_is_refused(tmp_path: Path, shared_cache: Path) -> None:
    assert refused(tmp_path / "absent.onnx", shared_cache).reason == "not_found"
    assert refused(tmp_path, shared_cache).message.endswith("is a folder")
    picture = tmp_path / "picture.png"
    picture.touch()
    assert refused(picture, shared_cache).reason == "unknown_format"


def test_a_half_precision_file_is_known_as_one(tmp_path: Path, shared_cache: Path) -> None:
    info = inspect(models.convolution(tmp_path / "half.onnx", dtype="float16"), shared_cache)
    assert info.precision == "fp16"
    assert info.inputs[0].dtype == "float16"


def test_an_inspection_is_kept_for_the_owner_alone(tmp_path: Path) -> None:
    path = models.convolution(tmp_path / "model.onnx")
    first = inspect(path, tmp_path / "cache")
    moved = path.rename(tmp_path / "renamed.onnx")
    again = inspect(moved, tmp_path / "cache")

    assert (again.path, again.sha256, again.inputs) == (moved, first.sha256, first.inputs)
    entries = list((tmp_path / "cache" / "inspections").iterdir())
    assert len(entries) == 1
    assert stat.S_IMODE(entries[0].stat().st_mode) == 0o700
    assert stat.S_IMODE((entries[0] / "entry.json").stat().st_mode) == 0o600


def test_rows_of_a_table_bound_an_input_through_casts_and_reshapes(
    tmp_path: Path, shared_cache: Path
) -> None:
    path = models.save(
        tmp_path / "ids.onnx",
        [
            helper.make_node("Reshape", ["ids", "flat"], ["flat_ids"]),
            helper.make_node("Cast", ["flat_ids"], ["wide"], to=models.INT64),
            helper.make_node("Gather", ["large", "wide"], ["a"]),
            helper.make_node("Gather", ["small", "wide"], ["b"], axis=1),
        ],
        [models.value("ids", [1, 4], models.INT64)],
        [models.value("a", [4, 2]), models.value("b", [2, 4])],
        [
            models.weights("large", 50, 2),
            models.weights("small", 2, 7),
            numpy_helper.from_array(np.array([4]), "flat"),
        ],
    )
    assert inspect(path, shared_cache).bounds == {"ids": 7}
