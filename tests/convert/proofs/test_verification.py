from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.errors import ConvertError
from convert.proofs.verification import OutputAgreement, compare_outputs, find_doubt, find_fault

EXPECTED = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], np.float32)


def agreement(reference: object, candidate: object) -> OutputAgreement:
    (only,) = compare_outputs({"y": np.asarray(reference)}, {"y": np.asarray(candidate)})
    return only


def test_equal_outputs_agree_exactly() -> None:
    found = agreement(EXPECTED, EXPECTED)
    assert found == OutputAgreement("y", pytest.approx(1.0), 0.0, None, 1.0)
    assert find_fault((found,), "fp32") is None


def test_the_figures_are_those_of_the_definitions() -> None:
    found = agreement([[3.0, 4.0]], [[4.0, 3.0]])
    assert found.cosine == pytest.approx(24 / 25)
    assert found.max_abs_error == 1.0
    assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 2))
    assert found.argmax_agreement == 0.0


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (np.zeros_like(EXPECTED), "is all zeros where the reference is not"),
        (np.repeat(EXPECTED[:1], 2, axis=0), "is the same for every input"),
        (np.repeat(EXPECTED.mean(1, keepdims=True), 3, axis=1), "is the same for every input"),
        (np.array([[2.0] * 3, [1.0] * 3], np.float32), "has the same value everywhere"),
        (np.where(EXPECTED == 2, np.nan, EXPECTED), "has 2 elements that are NaN or infinite"),
        (np.where(EXPECTED == 1, np.inf, EXPECTED), "has 2 elements that are NaN or infinite"),
    ],
)
def test_garbage_is_a_fault_at_every_precision(candidate: np.ndarray, words: str) -> None:
    for precision in ("fp32", "fp16", "int8", "int8-dynamic"):
        fault = find_fault((agreement(EXPECTED, candidate),), precision)
        assert fault is not None
        assert "output 'y'" in fault
        assert words in fault


def test_a_fault_names_the_output_the_bound_and_the_figures() -> None:
    found = (OutputAgreement("scores", 0.9, 0.5, 7.2, 0.25),)
    assert find_fault(found, "int8") is None
    assert find_doubt(found, "int8") == (
        "output 'scores' agrees only loosely with fp32 "
        "(cosine 0.90000, 7.2 dB, largest error 0.5, same largest element in 25.0% of rows)"
    )
    assert find_fault(found, "fp16") == (
        "output 'scores' disagrees with the fp32 reference: fp16 has to reach a cosine of 0.999 "
        "(cosine 0.90000, 7.2 dB, largest error 0.5, same largest element in 25.0% of rows)"
    )


def test_unrelated_positive_outputs_are_a_fault_even_for_int8() -> None:
    random = np.random.RandomState(0)
    softmax = [np.exp(random.standard_normal((8, 100))) for _ in range(2)]
    assert find_fault((agreement(*softmax),), "int8") is not None


def test_a_wrong_scale_is_a_fault_though_its_direction_is_right() -> None:
    assert agreement(EXPECTED, EXPECTED / 15).cosine == pytest.approx(1.0)
    assert "has to reach 27 dB" in str(find_fault((agreement(EXPECTED, EXPECTED / 15),), "fp16"))
    assert "has to reach 0 dB" in str(find_fault((agreement(EXPECTED, EXPECTED * 15),), "int8"))


def test_a_reference_of_zeros_has_no_cosine_but_has_to_stay_zero() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert agreement(zeros, zeros).cosine is None
    assert find_fault((agreement(zeros, zeros),), "fp32") is None
    assert find_fault((agreement(zeros, zeros + 1),), "fp32") is not None
    assert find_fault((agreement(zeros, zeros + 0.1),), "int8") is None


def test_what_is_not_finite_in_the_reference_is_not_compared() -> None:
    reference = np.array([[np.nan, 2.0, -np.inf]], np.float32)
    assert agreement(reference, np.array([[5.0, 2.0, 7.0]], np.float32)).cosine == pytest.approx(1.0)


def test_integers_are_right_or_wrong() -> None:
    found = agreement([[1, 2, 3, 4]], [[1, 2, 3, 9]])
    assert found == OutputAgreement("y", None, 5.0, None, None, 0.75)
    assert find_fault((found,), "int8") is None
    assert "75.0% of elements equal" in str(find_fault((found,), "fp32"))


def test_quantised_integers_are_compared_as_the_numbers_they_stand_for() -> None:
    reference, candidate = (np.array([[-128, 10, values]], np.int8) for values in (99, 100))
    (found,) = compare_outputs({"y": reference}, {"y": candidate}, None, {"y": (0.5, -128)})
    assert (found.max_abs_error, found.equal_share) == (0.5, None)
    assert found.cosine == pytest.approx(1.0, abs=1e-4)


def test_outputs_are_matched_by_name_then_alias_then_shape_and_never_by_position() -> None:
    reference = {"a": np.zeros((1, 2)), "b": np.ones((1, 3)), "c": np.full((1, 4), 2.0)}
    candidate = {"x": np.full((1, 4), 2.0), "other_b": np.ones((1, 3)), "a": np.zeros((1, 2))}
    found = compare_outputs(reference, candidate, {"b": ("other_b",)})
    assert [(output.name, output.max_abs_error) for output in found] == [("a", 0), ("b", 0), ("c", 0)]


@pytest.mark.parametrize(
    "candidate",
    [
        {"u": np.zeros((1, 2)), "v": np.zeros((1, 2))},
        {"a": np.zeros((1, 2))},
        {"a": np.zeros((1, 2)), "b": np.zeros((2, 1))},
        {},
    ],
)
def test_outputs_without_a_certain_partner_differ(candidate: dict[str, np.ndarray]) -> None:
    with pytest.raises(ConvertError, match=r"the reference has 'a' \(1, 2\), 'b' \(1, 2\)") as caught:
        compare_outputs({"a": np.zeros((1, 2)), "b": np.zeros((1, 2))}, candidate)
    assert caught.value.reason == "outputs_differ"


numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=6, max_size=6).map(
    lambda values: np.array(values, np.float32).reshape(2, 3)
)


@settings(max_examples=200, deadline=None)
@given(numbers, numbers)
def test_any_two_outputs_give_figures_in_their_ranges(left: np.ndarray, right: np.ndarray) -> None:
    found = agreement(left, right)
    assert found.cosine is None or -1.0 <= found.cosine <= 1.0
    assert found.max_abs_error >= 0.0
    assert found.argmax_agreement is None or 0.0 <= found.argmax_agreement <= 1.0
    assert found.sqnr_db is None or math.isfinite(found.sqnr_db)
    for precision in ("fp32", "fp16", "int8", "int8-dynamic"):
        find_fault((found,), precision)
        assert find_fault((agreement(left, left),), precision) is None


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (0, 1, 3, 4, 2)])
def test_of_a_map_the_classes_of_places_are_compared_wherever_they_lie(order: tuple[int, ...]) -> None:
    random = np.random.RandomState(0)
    scores = random.standard_normal((2, 1, 3, 8, 10)).astype(np.float32)
    other = scores.copy()
    # One place of the 160 gets another class; along height or width nothing of this would be 1 in 160.
    place = (0, 0, slice(None), 2, 3)
    other[place] = np.roll(scores[place], 1)
    (agreement,) = compare_outputs({"map": scores.transpose(order)}, {"map": other.transpose(order)})
    assert agreement.argmax_agreement == pytest.approx(159 / 160)
