"""`bench inspect` on models that need no toolchain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from convert.proofs.compatibility import RuntimeCheck
from harness.commands.cli import exit_code
from harness.conversion import runtime_outlook
from tests.convert.models import DIGITS, convolution, language_model, with_external_data

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEBENCH_CACHE_DIR", str(cache))
    monkeypatch.setenv("EDGEBENCH_TOOLCHAINS", str(tmp_path / "toolchains"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = exit_code(["inspect", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def runtimes(out: str) -> dict[str, dict[str, Any]]:
    (source,) = json.loads(out)["sources"]
    return {answer["runtime"]: answer for answer in source["runtimes"]}


def test_everything_a_model_holds_is_shown(inspect: Any) -> None:
    status, out, _ = inspect(DIGITS / "digits.onnx")
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "digits.onnx"
    for line in (
        "kind onnx",
        "precision fp32",
        "file digits.onnx 1.77 MiB (1,855,333 bytes)",
        "opset 13",
        "parameters 463,210",
        "inputs image (N, 8, 8, 1) float32",
        "outputs scores (N, 10) float32",
        "operators Conv 5, Relu 5, Gemm 1, ReduceMean 1, Transpose 1",
        "onnxruntime loads fp32, fp16, int8, int8-dynamic",
    ):
        assert line in lines


def test_graph_and_external_data_are_told_apart_and_together(inspect: Any, place: Path) -> None:
    with_external_data(place / "net.onnx")
    _, out, _ = inspect("net.onnx")
    graph = (place / "net.onnx").stat().st_size
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert f"file net.onnx {graph} bytes" in lines
    assert "weights.bin 864 bytes" in lines
    assert f"together 1.00 KiB ({graph + 864:,} bytes)" in lines


def test_a_graph_without_its_data_file_is_named_with_it(inspect: Any, place: Path) -> None:
    with_external_data(place / "net.onnx")
    (place / "weights.bin").unlink()
    status, _, err = inspect("net.onnx")
    assert status == 3
    size = (place / "net.onnx").stat().st_size
    assert f"net.onnx ({size} bytes) holds the graph alone" in err
    assert "it takes 864 bytes of weights from 'weights.bin', which is missing" in err
    assert "remedy: Put the complete weights.bin beside net.onnx" in err


def test_json_has_shapes_types_and_every_operator(inspect: Any, place: Path) -> None:
    language_model(place / "net.onnx")
    status, out, _ = inspect("net.onnx", "--json")
    assert status == 0
    (source,) = json.loads(out)["sources"]
    assert source["inputs"][0] == {
        "name": "input_ids", "shape": ["batch", "sequence"], "dtype": "int64", "quantization": None,
    }  # fmt: skip
    assert source["operators"] == {
        "Add": 1, "ArgMax": 1, "Cast": 1, "Gather": 1, "MatMul": 1, "Mul": 1, "Unsqueeze": 1,
    }  # fmt: skip
    assert source["bytes"] == (place / "net.onnx").stat().st_size


def test_a_model_with_two_sources_shows_both(inspect: Any) -> None:
    _, out, _ = inspect("digits", "--json")
    assert [source["kind"] for source in json.loads(out)["sources"]] == ["onnx", "tflite"]


def test_each_runtime_says_how_it_gets_the_model(inspect: Any) -> None:
    _, out, _ = inspect(DIGITS / "digits.tflite", "--json")
    answers = runtimes(out)
    assert (answers["tflite"]["verdict"], answers["tflite"]["detail"]) == ("loads", None)
    assert answers["onnxruntime"]["verdict"] == "by conversion"
    assert answers["onnxruntime"]["routes"] == ["tf2onnx"]
    assert answers["tensorrt"]["precisions"] == ["fp32", "fp16", "int8"]


def test_what_is_quantised_already_cannot_be_made_into_anything_else(inspect: Any, place: Path) -> None:
    convert = ["convert", str(DIGITS / "digits.tflite"), "--precision", "int8-dynamic", "--no-compatibility"]
    assert exit_code([*convert, "-o", "."]) == 0
    _, out, _ = inspect("tflite/digits-int8-dynamic.tflite", "--json")
    # After what the conversion itself printed.
    answers = runtimes(out[out.index("{\n") :])
    assert (answers["tflite"]["verdict"], answers["tflite"]["precisions"]) == ("loads", ["int8-dynamic"])
    assert answers["onnxruntime"]["verdict"] == "not"
    assert "is int8-dynamic already" in answers["onnxruntime"]["detail"]


def test_without_its_toolchain_tensorrt_is_not_asked_and_the_way_is_told(inspect: Any, place: Path) -> None:
    convolution(place / "net.onnx")
    _, out, _ = inspect("net.onnx")
    assert "tensorrt: its parser was not asked; bench convert --prepare tensorrt-parser" in out


@pytest.mark.parametrize(
    ("status", "verdict", "precisions"),
    [("agrees", "loads", ["fp32", "fp16", "int8"]), ("refused", "by conversion", ["fp32", "fp16", "int8"])],
)
def test_the_parsers_own_answer_is_shown(
    inspect: Any,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: Any,
    verdict: str,
    precisions: list[str],
) -> None:
    answer = RuntimeCheck("tensorrt-rtx", "1.7", status, "its words")
    monkeypatch.setattr(runtime_outlook, "ask_tensorrt", lambda _info, _workshop: answer)
    convolution(place / "net.onnx")
    _, out, _ = inspect("net.onnx", "--json")
    found = runtimes(out)["tensorrt"]
    assert (found["verdict"], found["precisions"]) == (verdict, precisions)
    assert found["detail"].endswith("its words")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a model", "is not a usable ONNX model"), (b"", "is not a usable ONNX model")],
)
def test_a_file_that_is_no_model_is_told_in_one_message(
    inspect: Any, place: Path, content: bytes, message: str
) -> None:
    (place / "net.onnx").write_bytes(content)
    status, out, err = inspect("net.onnx", "--json")
    assert status == 3
    assert message in err
    assert json.loads(out)["failure"]["reason"] == "invalid_model"


def test_names_from_a_file_are_harmless_on_a_terminal(inspect: Any, place: Path) -> None:
    from tests.convert.models import FLOAT, identity

    identity(place / "net.onnx", ("x\x1b[31m[bold]", [1, 4], FLOAT))
    status, out, _ = inspect("net.onnx")
    assert status == 0
    assert "\x1b" not in out
    assert "x[31m[bold] (1, 4) float32" in " ".join(out.split())
