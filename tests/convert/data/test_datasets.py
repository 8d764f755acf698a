from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.data.datasets import Examples, Preprocessing, load_examples
from convert.errors import DataError
from convert.sources.inspection import ModelInfo
from tests.convert.models import DIGITS, Shape, info

IMAGES = info(("image", ["N", 2, 2, 1], "float32"))
IMAGE_SHAPES = {"image": (1, 2, 2, 1)}


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def load(
    path: Path, model: ModelInfo = IMAGES, shapes: dict[str, tuple[int, ...]] = IMAGE_SHAPES
) -> Examples:
    return load_examples(path, model, shapes, None)


def refused(path: Path, model: ModelInfo = IMAGES, **arguments: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load(path, model, **arguments)
    return caught.value


def test_the_demo_data_fit_both_demo_models(digits_onnx: ModelInfo, digits_tflite: ModelInfo) -> None:
    for model in (digits_onnx, digits_tflite):
        examples = load(DIGITS / "evaluation.npz", model, {"image": (1, 8, 8, 1)})
        assert (examples.examples, examples.stacked, examples.source) == (450, True, "evaluation.npz")
        assert examples.labels is not None
        assert np.bincount(examples.labels).tolist() == [45, 46, 44, 46, 45, 46, 45, 45, 43, 45]
        assert (examples.inputs["image"].min(), examples.inputs["image"].max()) == (0.0, 1.0)


def test_a_sole_array_serves_a_sole_input_whatever_its_name(tmp_path: Path) -> None:
    examples = load(saved(tmp_path, x_test=np.ones((5, 2, 2, 1)), y=np.arange(5)))
    assert examples.inputs["image"].shape == (5, 2, 2, 1)
    assert examples.inputs["image"].dtype == np.float32
    assert examples.labels is not None
    assert examples.labels.tolist() == [0, 1, 2, 3, 4]


def test_axes_of_size_one_are_adapted(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    stacked = load(saved(tmp_path, image=values))
    assert stacked.stacked
    assert np.array_equal(stacked.inputs["image"], values[..., None].astype(np.float32))
    assert load(saved(tmp_path, image=values[:, None])).sha256 == stacked.sha256


def test_inputs_without_a_common_batch_axis_are_complete_and_states_start_at_zero(tmp_path: Path) -> None:
    model = info(("x", ["batch", 4], "float32"), ("state", [2, "batch", 3], "float32"))
    path = saved(tmp_path, x=np.ones((6, 4), np.float32))
    examples = load(path, model, {"x": (1, 4), "state": (2, 1, 3)})
    assert not examples.stacked
    assert examples.inputs["x"].shape == (6, 1, 4)
    assert examples.inputs["state"].shape == (6, 2, 1, 3)
    assert not examples.inputs["state"].any()


def test_floats_are_quantised_for_a_quantised_input_and_refused_by_a_plain_one(tmp_path: Path) -> None:
    model = info(("image", [1, 3], "uint8"))
    path = saved(tmp_path, image=np.array([[0.0, 0.5, 9.0]], np.float32))
    error = refused(path, model, shapes={"image": (1, 3)})
    assert error.message == "uint8 input 'image' fed with floats (float32 in data.npz)"
    assert "Save the data as uint8" in str(error.remedy)

    quantised = replace(model, inputs=(replace(model.inputs[0], quantization=(1 / 255, 0)),))
    found = load(path, quantised, {"image": (1, 3)}).inputs["image"]
    assert (found.dtype, found.tolist()) == (np.uint8, [[0, 128, 255]])


@pytest.mark.parametrize(
    ("arrays", "reason", "words"),
    [
        ({"image": np.ones((3, 2, 3))}, "wrong_shape", r"examples of shape \(2, 3\).* takes \(2, 2, 1\)"),
        ({"image": np.ones((3, 2, 2)), "labels": np.ones(4)}, "wrong_shape", "'image' 3, 'labels' 4"),
        ({"image": np.float32(1)}, "wrong_shape", "single value"),
        ({"image": np.ones((0, 2, 2))}, "no_examples", "holds no example"),
        ({"a": np.ones((1, 2, 2)), "b": np.ones(1)}, "missing_inputs", "arrays 'a', 'b'.* needs 'image'"),
        ({"labels": np.ones(3)}, "missing_inputs", "needs 'image'"),
        ({"image": np.full((1, 2, 2), np.nan)}, "not_finite", "4 values that are NaN.* example 0"),
        ({"image": np.full((1, 2, 2), 1e60)}, "not_finite", "infinite as float32"),
        ({"image": np.full((1, 2, 2), "one")}, "wrong_dtype", "not numbers"),
        ({"image": np.full((1, 2, 2), None)}, "unreadable", "cannot be read as an .npz"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_words(
    arrays: dict[str, Any], reason: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load(saved(tmp_path, **arrays))
    assert caught.value.reason == reason


def test_integers_out_of_range_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, image=np.array([[0, 300]]))
    error = refused(path, info(("image", ["N", 2], "uint8")), shapes={"image": (1, 2)})
    assert error.message == "'image' in data.npz has values from 0 to 300, more than uint8 can hold"


def test_a_file_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.npz").reason == "unreadable"
    assert refused(tmp_path / "absent.csv").reason == "not_found"
    broken = tmp_path / "broken.npz"
    broken.write_bytes((DIGITS / "evaluation.npz").read_bytes()[:5000])
    assert refused(broken).reason == "unreadable"


def picture(path: Path, size: tuple[int, int], colour: tuple[int, int, int] | int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(path)
    return path


def folder_examples(folder: Path, shape: Shape, preprocessing: Preprocessing | None) -> Examples:
    model = info(("image", shape, "float32"))
    return load_examples(folder, model, {"image": (1, *shape[1:])}, preprocessing)  # type: ignore[dict-item]


def test_values_are_scaled_normalised_and_laid_out_as_the_input_wants(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (4, 2), (255, 102, 0))
    preprocessing = Preprocessing(mean=(0.5, 0.4, 0.0), std=(0.5, 1.0, 1.0))
    nhwc = folder_examples(tmp_path, ["N", 2, 4, 3], preprocessing).inputs["image"]
    assert nhwc[0, 1, 3].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    nchw = folder_examples(tmp_path, ["N", 3, 2, 4], preprocessing).inputs["image"]
    assert np.array_equal(nchw, nhwc.transpose(0, 3, 1, 2))
    bgr = folder_examples(tmp_path, ["N", 2, 4, 3], Preprocessing(colour_order="bgr", scale=1)).inputs[
        "image"
    ]
    assert bgr[0, 0, 0].tolist() == [0, 102, 255]


def test_the_shorter_side_is_resized_and_the_centre_cut_out(tmp_path: Path) -> None:
    stripes = np.zeros((8, 16), np.uint8)
    stripes[:, 4:12] = 200
    Image.fromarray(stripes).save(tmp_path / "a.png")
    preprocessing = Preprocessing(resize=4, crop=4, scale=1, colour_order="gray", interpolation="box")
    found = folder_examples(tmp_path, ["N", 4, 4, 1], preprocessing).inputs["image"]
    assert found.shape == (1, 4, 4, 1)
    assert np.all(found == 200)


def test_labels_come_from_class_folders(tmp_path: Path) -> None:
    picture(tmp_path / "dog" / "1.png", (2, 2), 10)
    picture(tmp_path / "cat" / "2.png", (2, 2), 20)
    found = folder_examples(tmp_path, ["N", 2, 2, 1], Preprocessing(colour_order="gray", scale=1))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]
    assert found.inputs["image"][:, 0, 0, 0].tolist() == [20, 10]


def test_class_folders_that_are_numbers_are_these_numbers(tmp_path: Path) -> None:
    picture(tmp_path / "207" / "1.png", (2, 2), 10)
    picture(tmp_path / "21" / "2.png", (2, 2), 20)
    found = folder_examples(tmp_path, ["N", 2, 2, 1], Preprocessing(colour_order="gray"))
    assert found.labels is not None
    assert found.labels.tolist() == [207, 21]


@pytest.mark.parametrize("header", ["", "file,label\n"])
def test_labels_come_from_a_table_with_or_without_header(header: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (2, 2), 10)
    picture(tmp_path / "sub" / "b.png", (2, 2), 20)
    (tmp_path / "labels.csv").write_text(f"{header}sub/b.png,7\na.png,3\n")
    found = folder_examples(tmp_path, ["N", 2, 2, 1], Preprocessing(colour_order="gray"))
    assert found.labels is not None
    assert found.labels.tolist() == [7, 3]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (2, 2), 10)
    assert folder_examples(tmp_path, ["N", 2, 2, 1], Preprocessing(colour_order="gray")).labels is None


def test_images_without_preprocessing_are_refused_with_the_remedy(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (2, 2), 10)
    with pytest.raises(DataError, match=r"Add a \[preprocessing\] table to model.toml") as caught:
        folder_examples(tmp_path, ["N", 2, 2, 1], None)
    assert caught.value.reason == "preprocessing_needed"


@pytest.mark.parametrize(
    ("reason", "words", "files"),
    [
        ("no_examples", "holds no image", {}),
        ("unreadable_image", "a.png cannot be read", {"a.png": b"no image"}),
        ("not_found", "line 2 names 'b.png'", {"labels.csv": b"file,label\nb.png,1"}),
        ("unreadable", "line 1 is 'a.png'", {"labels.csv": b"a.png\n"}),
        ("no_examples", "names no image", {"labels.csv": b""}),
    ],
)
def test_a_broken_folder_is_refused_in_words(
    reason: str, words: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        folder_examples(tmp_path, ["N", 2, 2, 1], Preprocessing(colour_order="gray"))
    assert caught.value.reason == reason


def test_images_of_the_wrong_size_and_crops_too_large_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (3, 2), 10)
    gray = Preprocessing(colour_order="gray")
    with pytest.raises(DataError, match=r"a.png becomes \(2, 3, 1\) \(NHWC\), but input 'image' is"):
        folder_examples(tmp_path, ["N", 2, 2, 1], gray)
    with pytest.raises(DataError, match="2x3 where 4x4 is to be cut"):
        folder_examples(tmp_path, ["N", 4, 4, 1], replace(gray, crop=4))


def test_images_beside_class_folders_are_ambiguous(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (2, 2), 10)
    picture(tmp_path / "cat" / "b.png", (2, 2), 10)
    with pytest.raises(DataError) as caught:
        folder_examples(tmp_path, ["N", 2, 2, 1], Preprocessing(colour_order="gray"))
    assert caught.value.reason == "ambiguous_folder"


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour_order": "grb"},
        {"layout": "CHW"},
        {"interpolation": "sinc"},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (0.5, 0.5)},
        {"resize": 0},
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        Preprocessing(**wrong)
    assert caught.value.reason == "invalid_preprocessing"
    assert next(iter(wrong)) in caught.value.message


def test_a_folder_too_large_for_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (2, 2), 10)
    with pytest.raises(DataError, match="GiB as float32") as caught:
        folder_examples(tmp_path, ["N", 2**15, 2**15 + 1, 1], Preprocessing(colour_order="gray"))
    assert caught.value.reason == "dataset_too_large"
