import numpy as np
import pytest

from reports.accuracy import MetricError, label_hint, score
from reports.intervals import wilson


def one_hot(classes: list[int], width: int = 10) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[classes]


def test_top1_counts_the_best_class_and_carries_n_and_wilsons_interval() -> None:
    found = score("top1", {"logits": one_hot([0, 1, 2, 3])}, np.array([0, 1, 2, 9]))
    assert (found.metric, found.value, found.n, found.ci95) == ("top1", 0.75, 4, wilson(3, 4))


def test_top5_takes_the_wanted_class_anywhere_among_the_five_best() -> None:
    scores = np.tile(np.arange(10.0), (2, 1))
    assert score("top5", {"y": scores}, np.array([5, 4])).value == 0.5


def test_equal_scores_rank_by_class_number_so_a_constant_output_is_not_right_by_luck() -> None:
    constant = {"y": np.zeros((10, 10), dtype=np.float32)}
    assert score("top1", constant, np.arange(10)).value == 0.1
    assert score("top5", constant, np.arange(10)).value == 0.5


def test_an_output_that_is_not_a_number_is_wrong() -> None:
    scores = np.full((2, 3), np.nan)
    scores[1] = (0, 1, 0)
    assert score("top1", {"y": scores}, np.array([0, 1])).value == 0.5


@pytest.mark.parametrize("shape", [(4, 10), (4, 1, 10), (4, 10, 1, 1)])
def test_axes_of_length_one_do_not_matter(shape: tuple[int, ...]) -> None:
    scores = one_hot([1, 2, 3, 4]).reshape(shape)
    assert score("top1", {"y": scores}, np.array([1, 2, 3, 4])).value == 1.0


def test_integer_scores_of_a_quantised_model_count() -> None:
    scores = (one_hot([1, 2]) * 255).astype(np.uint8)
    assert score("top1", {"y": scores}, np.array([1, 2])).value == 1.0


def test_labels_may_be_one_hot_floats_or_a_column() -> None:
    outputs = {"y": one_hot([1, 2])}
    for labels in (one_hot([1, 2]), np.array([1.0, 2.0]), np.array([[1], [2]])):
        assert score("top1", outputs, labels).value == 1.0


def test_logits_beside_probabilities_are_one_output() -> None:
    scores = one_hot([1, 2])
    assert score("top1", {"logits": scores, "probabilities": scores / 2}, np.array([1, 2])).value == 1.0


def test_outputs_that_disagree_are_refused_with_a_remedy() -> None:
    with pytest.raises(MetricError, match="2 outputs look like class scores and disagree") as caught:
        score("top1", {"a": one_hot([1]), "b": one_hot([2])}, np.array([1]))
    assert "package.module:function" in caught.value.remedy


def test_an_output_of_another_shape_beside_the_scores_is_no_ambiguity() -> None:
    outputs = {"features": np.ones((2, 7, 7, 32)), "logits": one_hot([1, 2])}
    assert score("top1", outputs, np.array([1, 2])).value == 1.0


@pytest.mark.parametrize(
    ("outputs", "labels", "words"),
    [
        (
            {"y": np.ones((3, 10))},
            np.array([1, 2]),
            r"no output holds scores of 2 examples.*y float64\[3, 10\]",
        ),
        ({"y": one_hot([1])}, np.array([10]), "labels range from 10 to 10, but the model has 10 classes"),
        ({"y": one_hot([1])}, np.array([-1]), "labels range from -1"),
        ({"y": one_hot([1])}, np.array([0.5]), "not class numbers"),
        ({"y": one_hot([1])}, np.array(["cat"]), "not class numbers"),
        ({"y": one_hot([1])}, np.array([[0.2, 0.8]]), "neither class numbers nor one-hot"),
        ({"y": np.ones((0, 10))}, np.array([], dtype=int), "no labels"),
        ({}, np.array([1]), "no outputs"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    outputs: dict[str, np.ndarray], labels: np.ndarray, words: str
) -> None:
    with pytest.raises(MetricError, match=words):
        score("top1", outputs, labels)


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(MetricError, match="top1, top5, mean_iou"):
        score("map", {}, np.array([1]))


@pytest.mark.parametrize(("shift", "cause"), [(1, "background class 0"), (-1, "labels count from 1")])
def test_labels_off_by_one_are_recognised(shift: int, cause: str) -> None:
    labels = np.arange(2, 9)
    hint = label_hint({"y": one_hot(list(labels + shift), 12)}, labels)
    assert hint is not None
    assert cause in hint
    assert "from 0.0 % to 100.0 %" in hint


def test_a_good_or_a_merely_bad_accuracy_gets_no_hint() -> None:
    labels = np.arange(8)
    assert label_hint({"y": one_hot([0, 1, 2, 3, 4, 5, 6, 7])}, labels) is None
    assert label_hint({"y": one_hot([9] * 8)}, labels) is None
    assert label_hint({"y": np.ones((8, 3, 3))}, labels) is None


def maps(*images: list[list[int]]) -> np.ndarray:
    return np.array(images)


def test_mean_iou_averages_over_the_classes_that_occur() -> None:
    labels = maps([[0, 0], [1, 1]])
    predicted = maps([[0, 1], [1, 1]])
    found = score("mean_iou", {"y": predicted}, labels)
    assert found.value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert (found.n, found.ci95) == (1, None)


@pytest.mark.parametrize("axis", [1, 3])
def test_mean_iou_reads_either_layout(axis: int) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (3, 4, 6))
    scores = np.moveaxis(np.eye(5)[labels], 3, axis)
    found = score("mean_iou", {"y": scores}, labels)
    assert (found.value, found.ci95) == (1.0, (1.0, 1.0))


def test_void_pixels_are_not_scored() -> None:
    labels = maps([[0, 255], [1, -1]])
    assert score("mean_iou", {"y": maps([[0, 1], [1, 0]])}, labels).value == 1.0


def test_the_interval_of_mean_iou_resamples_images_and_is_reproducible() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (30, 8, 8))
    predicted = np.where(rng.random(labels.shape) < rng.uniform(0, 0.4, (30, 1, 1)), 0, labels)
    first, second = (score("mean_iou", {"y": predicted}, labels) for _ in range(2))
    assert first == second
    assert first.ci95 is not None
    assert first.ci95[0] < first.value < first.ci95[1]


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"y": np.ones((2, 5, 9, 9))}, "no output fits"),
        ({"y": np.ones((2, 4, 4, 4))}, "2 readings fit"),
        ({"y": np.full((2, 4, 4), 10**6)}, "no class maps"),
    ],
)
def test_outputs_that_are_no_class_maps_are_refused(outputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(MetricError, match=words):
        score("mean_iou", outputs, np.zeros((2, 4, 4), dtype=int))


def test_labels_that_are_no_class_maps_are_refused() -> None:
    with pytest.raises(MetricError, match="not class maps"):
        score("mean_iou", {"y": np.zeros((2, 4, 4), dtype=int)}, np.zeros(2, dtype=int))
