"""Keras files and SavedModels as they are inspected and run in the tensorflow toolchain."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.errors import ConvertError, InvalidModel
from convert.sources.inspection import inspect_source
from convert.sources.source import Source, find_source
from convert.tools.keras_file import check_keras_file
from convert.tools.tensorflow_network import plain_names
from convert.workshop import Workshop
from tests.convert.tools.tool_runs import Arrays, tensorflow_answers


def refusal(workshop: Workshop, path: Path) -> ConvertError:
    with pytest.raises(ConvertError) as caught:
        inspect_source(find_source(str(path)), workshop)
    return caught.value


def archive(path: Path, **entries: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_names_become_plain_and_stay_different() -> None:
    assert plain_names(["image", "in put:1", "in put 1", "7th", "?", "é"], "input") == [
        "image",
        "in_put_1",
        "in_put_1_1",
        "input_7th",
        "input",
        "input_1",
    ]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "assets/../../evil", "..\\evil", "C:\\evil"])
def test_an_archive_whose_entry_leads_out_of_it_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "model.keras", **{"config.json": "{}", name: "x"})
    with pytest.raises(InvalidModel, match="leads out of its folder") as caught:
        check_keras_file(path, trust_code=True)
    assert caught.value.reason == "unsafe_archive"


def test_an_archive_that_is_no_model_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"without config\.json, it holds readme") as caught:
        check_keras_file(archive(tmp_path / "model.keras", readme="x"), trust_code=False)
    assert caught.value.reason == "invalid_model"


def test_a_file_of_any_other_kind_is_named_as_none_of_keras(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"<html>404</html>")
    with pytest.raises(InvalidModel, match=r"model\.h5 \(16 bytes\).*neither a \.keras archive nor an HDF5"):
        check_keras_file(tmp_path / "model.h5", trust_code=False)


@pytest.mark.parametrize(
    "function",
    [
        '{"class_name": "__lambda__", "config": {"code": "4wEA"}}',
        '["4wEA", null, null], "function_type": "lambda"',
    ],
    ids=["Keras 3", "tf.keras"],
)
def test_code_is_found_in_a_description_before_any_of_it_is_loaded(tmp_path: Path, function: str) -> None:
    layer = f'{{"class_name": "Lambda", "config": {{"function": {function}}}}}'
    config = f'{{"config": {{"layers": [{{"config": {{"layer": {layer}}}}}]}}}}'
    with pytest.raises(InvalidModel, match="Python code in a Lambda layer") as caught:
        check_keras_file(archive(tmp_path / "model.keras", **{"config.json": config}), trust_code=False)
    assert caught.value.reason == "code_untrusted"


@pytest.mark.processes
class TestInTheToolchain:
    def test_a_keras_file_shows_its_interface_layers_and_parameters(
        self, workshop: Workshop, keras_folder: Path
    ) -> None:
        info = inspect_source(find_source(str(keras_folder / "small.keras")), workshop)
        assert [(t.name, t.shape, t.dtype) for t in info.inputs] == [("image", (None, 48, 80, 3), "float32")]
        assert [(t.name, t.shape) for t in info.outputs] == [
            ("mask", (None, 48, 80, 4)),
            ("logits", (None, 64)),
        ]
        assert info.operators == {
            "Conv2D": 2, "Dense": 2, "BatchNormalization": 1, "ReLU": 1, "DepthwiseConv2D": 1,
            "Activation": 1, "UpSampling2D": 1, "GlobalAveragePooling2D": 1,
        }  # fmt: skip
        # 3*3*3*16 + 4*16 + 3*3*16 + 16 + 16*4 + 4 + 16*64 + 64 + 64*64 + 64
        assert (info.parameters, info.precision) == (5972, "fp32")

    def test_a_saved_model_shows_its_signature_and_operators(
        self, workshop: Workshop, keras_folder: Path
    ) -> None:
        info = inspect_source(find_source(str(keras_folder / "small")), workshop)
        assert [(t.name, t.shape) for t in info.inputs] == [("image", (None, 48, 80, 3))]
        assert [(t.name, t.shape) for t in info.outputs] == [
            ("output_0", (None, 48, 80, 4)),
            ("output_1", (None, 64)),
        ]
        assert (info.operators["Conv2D"], info.operators["DepthwiseConv2dNative"]) == (2, 1)
        assert info.parameters == 5972

    def test_odd_names_are_cleaned_and_their_own_kept_as_aliases(
        self, workshop: Workshop, keras_folder: Path
    ) -> None:
        info = inspect_source(find_source(str(keras_folder / "odd_names.keras")), workshop)
        assert [(t.name, t.aliases) for t in info.inputs] == [("in_put_1", ("in put:1",))]
        assert [t.name for t in info.outputs] == ["a_b", "raw"]

    def test_several_outputs_of_one_layer_are_numbered(self, workshop: Workshop, keras_folder: Path) -> None:
        info = inspect_source(find_source(str(keras_folder / "states.keras")), workshop)
        assert [t.name for t in info.outputs] == ["lstm", "lstm_1", "lstm_2"]

    def test_row_numbers_know_the_table_they_select_from(
        self, workshop: Workshop, keras_folder: Path
    ) -> None:
        info = inspect_source(find_source(str(keras_folder / "embedding.keras")), workshop)
        assert (info.inputs[0].dtype, info.bounds) == ("int32", {"ids": 20})

    def test_the_same_network_answers_the_same_from_every_kind_of_file(
        self,
        workshop: Workshop,
        keras_folder: Path,
        photos: Arrays,
        keras_answers: Arrays,
        tmp_path: Path,
    ) -> None:
        assert {name: array.shape for name, array in keras_answers.items()} == {
            "mask": (3, 1, 48, 80, 4),
            "logits": (3, 1, 64),
        }
        legacy = tensorflow_answers(workshop, keras_folder / "small.h5", photos, tmp_path)
        np.testing.assert_array_equal(legacy["mask"], keras_answers["mask"])
        saved = tensorflow_answers(workshop, keras_folder / "small", photos, tmp_path)
        np.testing.assert_allclose(saved["output_1"], keras_answers["logits"], atol=1e-6)

    def test_an_output_whose_size_depends_on_values_is_refused(
        self, workshop: Workshop, keras_folder: Path, tmp_path: Path
    ) -> None:
        rows = np.array([[[1, 0, 0, 0], [-1, 0, 0, 0]], [[1, 0, 0, 0], [1, 0, 0, 0]]], np.float32)
        with pytest.raises(InvalidModel, match=r"\(1, 4\), \(2, 4\)") as caught:
            tensorflow_answers(workshop, keras_folder / "picks", {"x": rows}, tmp_path)
        assert caught.value.reason == "variable_output"

    @pytest.mark.parametrize(
        ("name", "reason", "said"),
        [
            ("small.weights.h5", "weights_only", "weights without the model"),
            ("lambda.keras", "code_untrusted", "Python code in a Lambda layer"),
            ("lambda.h5", "code_untrusted", "Python code in a Lambda layer"),
            ("custom.keras", "custom_op", "'Scale'"),
            ("custom.h5", "custom_op", "'Scale'"),
            ("unbuilt.keras", "not_built", "no input shape"),
            ("v3.h5", "invalid_model", "Only input tensors may be passed as positional arguments"),
            ("elsewhere.h5", "unsafe_external_data", "/model_weights from another file, '/etc/hostname'"),
            ("python", "custom_op", "calls a Python function (EagerPyFunc"),
            ("writes", "code_untrusted", "reads or writes files when it runs (WriteFile)"),
            ("any_rank", "shape_needed", "'x' of any_rank has no known number of dimensions"),
            ("two_signatures", "several_signatures", "one, other and no 'serving_default'"),
            ("no_signature", "no_signature", "nothing to call"),
        ],
    )
    def test_what_cannot_be_used_is_named_with_a_remedy(
        self, workshop: Workshop, keras_folder: Path, name: str, reason: str, said: str
    ) -> None:
        error = refusal(workshop, keras_folder / name)
        assert error.reason == reason
        assert said in error.message
        assert error.remedy

    def test_a_file_that_was_cut_is_named_as_damaged(
        self, workshop: Workshop, keras_folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "cut.h5").write_bytes((keras_folder / "small.h5").read_bytes()[:9000])
        error = refusal(workshop, tmp_path / "cut.h5")
        assert error.reason == "invalid_model"
        assert "truncated file" in error.message

    def test_a_lambda_layer_runs_once_it_is_trusted(self, workshop: Workshop, keras_folder: Path) -> None:
        source = Source("keras", keras_folder / "lambda.keras", trust_pickle=True)
        assert inspect_source(source, workshop).operators == {"Lambda": 1}

    def test_a_shape_given_by_the_user_stands_in_for_an_unknown_rank(
        self, workshop: Workshop, keras_folder: Path
    ) -> None:
        source = find_source(str(keras_folder / "any_rank"))
        info: Any = inspect_source(source, workshop, {"x": (1, 5)})
        assert (info.inputs[0].shape, info.outputs[0].shape) == ((1, 5), (1, 5))
