"""Ranges of full-integer TFLite: from every sample's extremes, and the nearest to fp32 kept."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from convert.converters import tflite_int8
from convert.converters.tflite_int8 import QuantizedModel, quantize_nearest
from tests.convert.models import DIGITS

pytestmark = [
    pytest.mark.processes,
    # The quantizer itself asks for what LiteRT warns about.
    pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`:UserWarning"),
]

CONTENT = bytearray((DIGITS / "digits.tflite").read_bytes())


def samples(count: int, scale: float = 1.0) -> list[dict[str, Any]]:
    images = np.load(DIGITS / "calibration.npz")["image"].reshape(-1, 1, 8, 8, 1).astype(np.float32)
    return [{"image": image * scale} for image in images[:count]]


def signature() -> str:
    (key,) = Interpreter(model_content=bytes(CONTENT)).get_signature_list()
    return str(key)


def answers(content: bytes, given: list[dict[str, Any]]) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner(signature())
    return np.stack([np.array(runner(**sample)["scores"]) for sample in given])


def decibels(content: bytes, given: list[dict[str, Any]]) -> float:
    expected = answers(bytes(CONTENT), given).astype(np.float64)
    noise = expected - answers(content, given)
    return float(10 * np.log10(np.square(expected).sum() / np.square(noise).sum()))


def figures(made: QuantizedModel) -> dict[str, float]:
    """DB by rule, as the choice tells them."""
    chosen, first, others = re.fullmatch(r"(.+), ([\d.-]+) dB \((.+)\)", made.choice).groups()  # type: ignore[union-attr]
    found = {chosen: float(first)}
    for other in others.split(", "):
        words, figure = other.rsplit(" ", 1)
        found[words] = float(figure)
    return found


def test_the_model_that_is_kept_is_the_nearest_and_its_figure_is_true() -> None:
    given = samples(40)
    made = quantize_nearest(CONTENT, signature(), given)
    told = figures(made)
    assert set(told) == {"min-max", "mean min-max", "median min-max"}
    chosen = made.choice.split(", ")[0]
    assert told[chosen] == max(told.values())
    assert decibels(made.content, given) == pytest.approx(told[chosen], abs=0.06)


def test_ranges_from_the_middle_of_all_samples_forgive_an_odd_one() -> None:
    odd = [*samples(39), *samples(1, scale=40.0)]
    usual = samples(39)
    # Ends of the graph stay as wide as the odd sample in both; the inner layers make the difference.
    assert (
        decibels(quantize_by("median min-max", odd), usual) > decibels(quantize_by("min-max", odd), usual) + 1
    )


def quantize_by(words: str, given: list[dict[str, Any]]) -> bytes:
    rules = tflite_int8.RANGE_RULES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflite_int8, "RANGE_RULES", {words: rules[words]})
        return quantize_nearest(CONTENT, signature(), given).content


def test_the_order_of_the_samples_does_not_matter() -> None:
    given = samples(20)
    forward = quantize_nearest(CONTENT, signature(), given)
    backward = quantize_nearest(CONTENT, signature(), given[::-1])
    assert forward.content == backward.content


def test_the_ends_of_the_graph_do_not_clip() -> None:
    given = samples(20)
    content = quantize_nearest(CONTENT, signature(), given).content
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    details = {d["name"]: d for d in interpreter.get_tensor_details()}
    (output,) = interpreter.get_output_details()
    largest = float(answers(bytes(CONTENT), given).max())
    # The last integers before the output reach a quarter farther than any sample did.
    integer = [
        d
        for d in details.values()
        if d["dtype"] == np.int8 and d["shape"].tolist() == output["shape"].tolist()
    ]
    reach = max((127 - d["quantization"][1]) * d["quantization"][0] for d in integer)
    assert reach == pytest.approx(1.25 * largest, rel=0.02)
