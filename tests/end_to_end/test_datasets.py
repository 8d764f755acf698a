"""Accuracy from the user's own data: arrays or images, built-in metrics or a function of their own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.end_to_end.boards import refused
from tests.end_to_end.workplace import Workplace

pytestmark = pytest.mark.e2e

DIGITS = Path(__file__).parents[2] / "profiles" / "models" / "digits"
RUN = ("run", "--runtime", "onnxruntime", "--precision", "fp32", "--measurement", "quick", "--out", "out")
IMAGES = 60


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Held-out digits, (n, 8, 8) of 17 grey levels in 0..1, and their labels."""
    with np.load(DIGITS / "evaluation.npz") as archive:
        images = archive["image"].reshape(-1, 8, 8)[:IMAGES]
        return images, archive["labels"][:IMAGES].astype(np.int64)


def accuracy(workplace: Workplace) -> dict[str, Any]:
    """The accuracy of a run's one case."""
    (record,) = workplace.results()["records"]
    found: dict[str, Any] = record["accuracy"]
    return found


def write_images(
    folder: Path, images: NDArray[np.float32], labels: NDArray[np.int64], *, classes: bool
) -> Path:
    """The digits as PNG files, in class folders or beside a labels.csv. 1.0 is 240: 16 levels of 15."""
    folder.mkdir()
    rows = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / str(label) if classes else folder
        place.mkdir(exist_ok=True)
        Image.fromarray((image * 240).round().astype(np.uint8)).save(place / f"{number:03}.png")
        rows.append((f"{number:03}.png", int(label)))
    if not classes:
        with (folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "label"), *rows])
    return folder


def write_model(folder: Path, dataset: Path, preprocessing: str) -> Path:
    """A model.toml of the digits with a dataset and how its images become inputs."""
    path = folder / "model.toml"
    path.write_text(
        f'name = "pictures"\ndataset = "{dataset}"\n[sources]\nonnx = "{DIGITS / "digits.onnx"}"\n'
        f'[preprocessing]\ncolour_order = "gray"\n{preprocessing}\n'
    )
    return path


def test_labelled_arrays_give_top1_and_its_interval(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    images, labels = digits
    # Every tenth label is wrong, so the figure is known.
    wrong = np.where(np.arange(IMAGES) % 10 == 0, (labels + 1) % 10, labels)
    np.savez(workplace.folder / "d.npz", image=images.reshape(-1, 8, 8, 1), labels=wrong)
    done = workplace.bench(*RUN, "--model", DIGITS / "digits.onnx", "--dataset", "d.npz")
    assert done.status == 0, done.err
    found = accuracy(workplace)
    assert (found["metric"], found["n"], found["value"]) == ("top1", IMAGES, 54 / 60)
    assert found["ci95"][0] < 0.9 < found["ci95"][1]


@pytest.mark.parametrize("classes", [True, False], ids=["class folders", "labels.csv"])
def test_a_folder_of_images_gives_what_the_arrays_give(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]], classes: bool
) -> None:
    photos = write_images(workplace.folder / "photos", *digits, classes=classes)
    model = write_model(workplace.folder, photos, f"scale = {1 / 240}")
    done = workplace.bench(*RUN, "--model", model)
    assert done.status == 0, done.err
    assert accuracy(workplace)["value"] == 1.0
    assert accuracy(workplace)["n"] == IMAGES


def test_wrong_preprocessing_shows_in_the_accuracy(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    photos = write_images(workplace.folder / "photos", *digits, classes=True)
    # Black on white instead of white on black.
    model = write_model(workplace.folder, photos, f"scale = {-1 / 240}\nmean = [-1.0]")
    done = workplace.bench(*RUN, "--model", model)
    assert done.status == 0, done.err
    assert accuracy(workplace)["value"] < 0.5
    assert f"top1 {accuracy(workplace)['value'] * 100:.1f} %" in done.err


def test_images_without_a_word_on_preprocessing_are_refused(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    photos = write_images(workplace.folder / "photos", *digits, classes=True)
    message = refused(workplace, *RUN, "--model", DIGITS / "digits.onnx", "--dataset", photos)
    assert "nothing says how digits.onnx wants them" in message
    assert "[preprocessing]" in message


def test_images_of_another_size_are_refused(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    photos = write_images(workplace.folder / "photos", *digits, classes=True)
    model = write_model(workplace.folder, photos, "resize = [16, 16]")
    message = refused(workplace, *RUN, "--model", model)
    assert ".png becomes (16, 16, 1)" in message
    assert "[preprocessing]" in message


def test_a_folder_with_something_that_is_no_image_names_the_file(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    photos = write_images(workplace.folder / "photos", *digits, classes=True)
    (photos / "3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    model = write_model(workplace.folder, photos, f"scale = {1 / 240}")
    assert "broken.png" in refused(workplace, *RUN, "--model", model)


def test_a_metric_of_the_users_own_is_called_with_outputs_and_labels(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    images, labels = digits
    np.savez(workplace.folder / "d.npz", image=images.reshape(-1, 8, 8, 1), labels=labels)
    (workplace.folder / "my_metrics.py").write_text(
        "def share_of_even(outputs, labels):\n"
        "    (scores,) = outputs.values()\n"
        "    assert scores.shape[0] == len(labels) == 60\n"
        "    return (scores.reshape(60, -1).argmax(axis=1) % 2 == 0).mean()\n"
    )
    done = workplace.bench(*RUN, "--model", DIGITS / "digits.onnx", "--dataset", "d.npz",
                           "--metric", "my_metrics:share_of_even")  # fmt: skip
    assert done.status == 0, done.err
    found = accuracy(workplace)
    assert found["metric"] == "my_metrics:share_of_even"
    assert found["value"] == float((labels % 2 == 0).mean())


def test_a_metric_that_raises_fails_its_case_and_is_quoted(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    images, labels = digits
    np.savez(workplace.folder / "d.npz", image=images.reshape(-1, 8, 8, 1), labels=labels)
    (workplace.folder / "my_metrics.py").write_text("def f(outputs, labels):\n    return outputs['nope']\n")
    done = workplace.bench(
        *RUN, "--model", DIGITS / "digits.onnx", "--dataset", "d.npz", "--metric", "my_metrics:f"
    )
    assert done.status == 3, done.err
    failure = workplace.results()["records"][0]["failure"]
    assert (failure["class"], failure["reason"]) == ("model", "metric_failed")
    assert "metric 'my_metrics:f' failed: KeyError: 'nope'" in failure["message"]


def test_another_number_of_labels_than_examples_is_refused(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    images, labels = digits
    np.savez(workplace.folder / "d.npz", image=images.reshape(-1, 8, 8, 1), labels=labels[:-1])
    message = refused(workplace, *RUN, "--model", DIGITS / "digits.onnx", "--dataset", "d.npz")
    assert "differ in their number of examples: 'image' 60, 'labels' 59" in message


def test_labels_that_are_no_class_of_the_model_fail_with_the_range(
    workplace: Workplace, digits: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    images, labels = digits
    np.savez(workplace.folder / "d.npz", image=images.reshape(-1, 8, 8, 1), labels=labels + 1)
    done = workplace.bench(*RUN, "--model", DIGITS / "digits.onnx", "--dataset", "d.npz")
    assert done.status == 3, done.err
    failure = workplace.results()["records"][0]["failure"]
    assert "labels range from 1 to 10, but the model has 10 classes" in failure["message"]
    assert "from 0" in failure["remedy"]
