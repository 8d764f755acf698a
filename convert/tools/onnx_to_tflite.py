"""ONNX to fp32 TFLite by onnx2tf, which says little about what went wrong and ends with status 0 anyway.

So its log is read, its file is looked into, and the names of inputs and outputs are put right. It runs in
this process, which is a child already: its memory counts, and it reaches no network.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convert.errors import ConversionFailed
from convert.steps import StepLog
from convert.tools.exchange import ToolRequest, made, read_request
from convert.tools.onnx_names import nodes, rename_values, set_input_shapes
from convert.tools.tflite_batch import refuse_dynamic_batch
from convert.tools.tflite_signature import rename_signature, signature_names

#: What onnx2tf lets through unchanged on its way to a TFLite tensor.
_PLAIN_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
#: A protobuf holds at most 2 GiB.
_MOST_INLINE_BYTES = 1_900_000_000
_MODEL = "model"
_CUSTOM = 32

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LOWERED = re.compile(r"Custom ops lowered:.*?onnx_ops=\[([^\]]*)\] onnx_nodes=\[([^\]]*)\]")
_NOT_IMPLEMENTED = re.compile(r"ERROR: (\w+) OP is not yet implemented")
_FAILED_NODE = re.compile(r"ERROR: onnx_op_name: (.+)")
_NO_BUILTIN = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
#: Ends the traceback that onnx2tf prints when onnxsim could not run; its file is broken then.
_NOT_SIMPLIFIED = re.compile(r"([^\n]*)\s*\n[^\n]*Failed to optimize the onnx file")
_MEANT_FOR_PEOPLE = re.compile(r"^(\w+(\.\w+)*(Error|Exception)|ERROR)\b.*")
_ADVICE = ("Read this and deal", "Alternatively, if", "If the input OP", "Also, for models", "The trace log")


def by_flatbuffer(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: the .tflite that onnx2tf writes by itself, without TensorFlow."""
    return _convert(read_request(request), "flatbuffer_direct")


def by_tensorflow(request: dict[str, Any]) -> dict[str, Any]:
    """The worker's task: the .tflite that TensorFlow's converter makes of onnx2tf's Keras model."""
    return _convert(read_request(request), "tf_converter")


def _convert(request: ToolRequest, backend: str) -> dict[str, Any]:
    refuse_dynamic_batch(request)
    log = StepLog()
    os.chdir(request.work)
    with log.step("onnx2tf", f"ONNX to TFLite, {backend}"):
        model, inputs, outputs = _plain_copy(request)
        arguments = ["-i", f"{_MODEL}.onnx", "-o", "made", "-tb", backend]
        failure, words = _run(arguments, request.work / "onnx2tf.log")
        check_log(words, model)
        file = request.work / "made" / f"{_MODEL}_float32.tflite"
        if failure is not None or not file.is_file():
            raise ConversionFailed(
                f"onnx2tf made no file of it: {failure or _last_words(words)}", reason="conversion_failed"
            )
        content = file.read_bytes()
        _refuse_foreign_operators(content)
        request.output.write_bytes(_named(content, inputs, outputs))
    return made(log)


def _plain_copy(request: ToolRequest) -> tuple[Any, dict[str, str], dict[str, str]]:
    """work/model.onnx: all weights in it, shapes concrete, interface in names that onnx2tf keeps.

    Returned with the model's graph: the wanted name of each input and output by its name in the copy.
    """
    import onnx

    assert request.source.path is not None
    model = onnx.load(request.source.path)
    set_input_shapes(model, {entry.name: entry.shape for entry in request.inputs})
    inputs = _plain(model.graph, [entry.name for entry in request.inputs], "input")
    outputs = _plain(model.graph, list(request.outputs), "output")
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _MOST_INLINE_BYTES:
        onnx.save(model, f"{_MODEL}.onnx", save_as_external_data=True, location=f"{_MODEL}.onnx.data")
    else:
        onnx.save(model, f"{_MODEL}.onnx")
    return model, inputs, outputs


def _plain(graph: Any, names: list[str], role: str) -> dict[str, str]:
    """Gives each of `names` that is not plain a plain one; wanted name by the name it has now."""
    taken = {name for node in nodes(graph) for name in (*node.input, *node.output)}
    renamed: dict[str, str] = {}
    for i, name in enumerate(names):
        if _PLAIN_NAME.match(name):
            renamed[name] = name
            continue
        plain = f"{role}_{i}"
        while plain in taken:
            plain += "_"
        renamed[plain] = name
    rename_values(graph, {wanted: plain for plain, wanted in renamed.items() if plain != wanted})
    return renamed


def _run(arguments: list[str], log: Path) -> tuple[str | None, str]:
    """Why onnx2tf stopped short, if it did, and all it and its helpers have printed."""
    failure = None
    with _printing_into(log):
        sys.argv = ["onnx2tf", *arguments]
        try:
            runpy.run_module("onnx2tf", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            failure = None if ended.code in (0, None) else f"it ended with status {ended.code}"
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever any of its hundred operators raises
            failure = f"{type(error).__name__}: {error}"
    words = _COLOURS.sub("", log.read_text(encoding="utf-8", errors="replace"))
    return failure if failure is None or ":" in failure else _last_words(words), words


@contextmanager
def _printing_into(file: Path) -> Iterator[None]:
    """Everything written to stdout and stderr, by this process and those it starts, goes to `file`."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with file.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, target in zip(kept, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)


def check_log(words: str, model: Any) -> None:
    """Raises ConversionFailed for what the log admits, whatever the exit status."""
    unsimplified = _NOT_SIMPLIFIED.search(words)
    if unsimplified:
        raise ConversionFailed(
            "onnx2tf could not simplify the model first, and then writes broken files: "
            f"{unsimplified[1].strip() or 'onnxsim failed'}",
            reason="conversion_failed",
            remedy="Check that the model is valid (bench inspect) and that its toolchain is complete",
        )
    lowered = _LOWERED.search(words)
    if lowered:
        raise _unsupported(f"operator {lowered[1]} (node {lowered[2]})", "TFLite has no operator for it")
    missing = _NOT_IMPLEMENTED.search(words)
    if missing:
        found = ", ".join(node.name for node in nodes(model.graph) if node.op_type == missing[1])
        raise _unsupported(f"operator {missing[1]} (node {found})", "onnx2tf does not know it")
    failed = _FAILED_NODE.search(words)
    if failed:
        name = failed[1].strip()
        kinds = [node.op_type for node in nodes(model.graph) if node.name == name]
        operator = f"operator {kinds[0]} (node {name})" if kinds else f"node {name}"
        raise _unsupported(operator, _last_words(words))
    absent = _NO_BUILTIN.search(words)
    if absent:
        raise _unsupported(f"operator {absent[1]}", "TFLite has no operator for it")


def _unsupported(what: str, why: str) -> ConversionFailed:
    return ConversionFailed(
        f"onnx2tf cannot convert {what}: {why}",
        reason="unsupported_operator",
        remedy="Export the model with other operators in its place, or cut it off before them",
    )


def _last_words(words: str) -> str:
    """The last line of the log that says what happened."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    telling = [
        line.removeprefix("ERROR:").strip()
        for line in lines
        if _MEANT_FOR_PEOPLE.match(line) and not any(advice in line for advice in _ADVICE)
    ]
    kept = [line for line in telling if not line.startswith(("input_onnx_file_path", "onnx_op_name"))]
    return (kept or lines or ["it printed nothing"])[-1]


def _refuse_foreign_operators(content: bytes) -> None:
    """Raises ConversionFailed for a file with operators that only TensorFlow or nobody has."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    names = [code.CustomCode().decode("utf-8", "replace") for code in codes if code.BuiltinCode() == _CUSTOM]
    if names:
        raise _unsupported(f"operator {', '.join(sorted(names))}", "TFLite has no built-in operator for it")


def _named(content: bytes, inputs: dict[str, str], outputs: dict[str, str]) -> bytes:
    """The file with the wanted names in its signature; `inputs`, `outputs`: wanted name by present name."""
    found_inputs, found_outputs = signature_names(content)
    for found, wanted in ((found_inputs, inputs), (found_outputs, outputs)):
        if sorted(found) != sorted(wanted):
            raise ConversionFailed(
                f"onnx2tf changed the interface from {', '.join(wanted)} to {', '.join(found)}",
                reason="interface_changed",
            )
    if all(name == wanted for names in (inputs, outputs) for name, wanted in names.items()):
        return content
    return rename_signature(
        content, [inputs[name] for name in found_inputs], [outputs[name] for name in found_outputs]
    )
