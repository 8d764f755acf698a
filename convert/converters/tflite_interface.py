"""Integers at the ends of a quantised TFLite file: int8 or uint8 in place of float32.

A full integer file with float32 at its ends begins with a QUANTIZE of each input and ends with a DEQUANTIZE
to each output. For int8 those go, and the tensors between them become the ends; uint8 has the same scale,
a zero point shifted by 128, and a QUANTIZE from or to int8 in their place.
Runs in the worker process only: it imports ai_edge_litert.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from convert.errors import ConversionFailed
from convert.tools.tflite_signature import packed_model, unpacked_model

Integer = Literal["int8", "uint8"]

_TYPES = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8}
#: uint8 counts from 0 where int8 counts from -128.
_ZERO_POINT_SHIFT = {"int8": 0, "uint8": 128}
_ABSENT = -1


def with_integer_interface(content: bytes, io: Integer) -> bytes:
    """The file with `io` at every end that was float32, under the same names.

    Raises ConversionFailed `io_not_reached` where an end is not quantised, so that no scale is known for it.
    """
    model: Any = unpacked_model(content)
    graph = _Graph(model)
    for index in graph.float_inputs():
        graph.retype_input(index, io)
    for index in graph.float_outputs():
        graph.retype_output(index, io)
    graph.drop_unused_tensors()
    # The quantizer keeps data behind the flatbuffer, whose places would not survive the edit: they move in.
    made = packed_model(model, content)
    _check(made, io)
    return made


class _Graph:
    """The main graph of a model, edited in place."""

    def __init__(self, model: Any) -> None:
        self.model = model
        if len(model.subgraphs) != 1:
            raise _not_reached(f"the file has {len(model.subgraphs)} graphs, only one can be edited")
        self.graph = model.subgraphs[0]
        self.operators: list[Any] = list(self.graph.operators)
        self.tensors: list[Any] = self.graph.tensors

    def float_inputs(self) -> list[int]:
        """Tensor numbers of the inputs that are float32."""
        return [index for index in map(int, self.graph.inputs) if self._is_float(index)]

    def float_outputs(self) -> list[int]:
        """Tensor numbers of the outputs that are float32."""
        return [index for index in map(int, self.graph.outputs) if self._is_float(index)]

    def retype_input(self, index: int, io: Integer) -> None:
        """Makes an input an integer: all that takes it is a QUANTIZE to one scale."""
        takers = list(self._takers(index))
        others = [self._kind(operator) for operator in takers if self._kind(operator) != "QUANTIZE"]
        if not takers or others or index in self.graph.outputs:
            raise _not_reached(
                f"input {self._name(index)!r} goes into {', '.join(others) or 'no operator'} as float32"
            )
        quantised = [int(operator.outputs[0]) for operator in takers]
        if len({self._scale(number) for number in quantised}) != 1:
            raise _not_reached(f"input {self._name(index)!r} is quantised with different scales")
        self._retype(index, quantised[0], io)
        for operator, number in zip(takers, quantised, strict=True):
            # Equal types and scales: the operator would only copy.
            if io == "int8" and number not in self.graph.outputs:
                self.operators.remove(operator)
                self._replace(number, index)

    def retype_output(self, index: int, io: Integer) -> None:
        """Makes an output an integer: it comes from a DEQUANTIZE and goes nowhere else."""
        operator = next((o for o in self.operators if index in o.outputs), None)
        kind = self._kind(operator) if operator is not None else "no operator"
        if operator is None or kind != "DEQUANTIZE":
            raise _not_reached(f"output {self._name(index)!r} comes from {kind} as float32")
        if any(True for _ in self._takers(index)):
            raise _not_reached(f"output {self._name(index)!r} is used as float32 within the model too")
        quantised = int(operator.inputs[0])
        self._retype(index, quantised, io)
        ends = {*map(int, self.graph.inputs), *map(int, self.graph.outputs)}
        made_here = any(quantised in other.outputs for other in self.operators)
        if io == "int8" and quantised not in ends and made_here:
            self.operators.remove(operator)
            self._replace(quantised, index)
        else:
            operator.opcodeIndex = self._quantize_code()
            operator.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
            operator.builtinOptions = schema.QuantizeOptionsT()

    def drop_unused_tensors(self) -> None:
        """Takes out the tensors that nothing refers to any more, and numbers the others anew."""
        self.graph.operators = self.operators
        lists = [self.graph.inputs, self.graph.outputs]
        for operator in self.operators:
            lists += [operator.inputs, operator.outputs, operator.intermediates]
        used = sorted({int(i) for numbers in lists if numbers is not None for i in numbers} - {_ABSENT})
        new = {old: position for position, old in enumerate(used)} | {_ABSENT: _ABSENT}
        self.graph.tensors = [self.tensors[old] for old in used]
        self.graph.inputs = [new[int(i)] for i in self.graph.inputs]
        self.graph.outputs = [new[int(i)] for i in self.graph.outputs]
        for operator in self.operators:
            for side in ("inputs", "outputs", "intermediates"):
                numbers = getattr(operator, side)
                if numbers is not None:
                    setattr(operator, side, [new[int(i)] for i in numbers])
        for signature in self.model.signatureDefs or []:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = new[int(entry.tensorIndex)]

    def _retype(self, index: int, like: int, io: Integer) -> None:
        """Gives a tensor the integer type, with the scale of an int8 tensor of the same values."""
        tensor, model = self.tensors[index], self.tensors[like]
        if model.type != schema.TensorType.INT8 or model.quantization is None:
            raise _not_reached(f"{self._name(index)!r} is not quantised to int8 within the model")
        scale, zero_point = self._scale(like)
        quantization: Any = schema.QuantizationParametersT()
        quantization.scale = [scale]
        quantization.zeroPoint = [zero_point + _ZERO_POINT_SHIFT[io]]
        tensor.type, tensor.quantization = _TYPES[io], quantization

    def _replace(self, old: int, new: int) -> None:
        for operator in self.operators:
            operator.inputs = [new if int(i) == old else int(i) for i in operator.inputs]
            operator.outputs = [new if int(i) == old else int(i) for i in operator.outputs]

    def _takers(self, index: int) -> Iterator[Any]:
        return (operator for operator in self.operators if index in operator.inputs)

    def _kind(self, operator: Any) -> str:
        number = _code(self.model.operatorCodes[operator.opcodeIndex])
        names = vars(schema.BuiltinOperator)
        return next((name for name, value in names.items() if value == number), f"operator {number}")

    def _quantize_code(self) -> int:
        codes = self.model.operatorCodes
        for position, code in enumerate(codes):
            if _code(code) == schema.BuiltinOperator.QUANTIZE:
                return position
        added: Any = schema.OperatorCodeT()
        added.builtinCode = added.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
        added.version = 1
        codes.append(added)
        return len(codes) - 1

    def _scale(self, index: int) -> tuple[float, int]:
        quantization = self.tensors[index].quantization
        if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
            raise _not_reached(f"tensor {self._name(index)!r} has no single scale")
        return float(quantization.scale[0]), int(quantization.zeroPoint[0])

    def _is_float(self, index: int) -> bool:
        return bool(self.tensors[index].type == schema.TensorType.FLOAT32)

    def _name(self, index: int) -> str:
        name = self.tensors[index].name
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _code(code: Any) -> int:
    # Files older than schema 3a keep the code in the deprecated one-byte field.
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _check(content: bytes, io: Integer) -> None:
    """Raises ConversionFailed unless the runtime itself finds `io` at the ends, with scales."""
    interpreter: Any = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for detail in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        dtype, (scale, _) = np.dtype(detail["dtype"]).name, detail["quantization"]
        wrong = dtype in ("float32", "int8", "uint8") and dtype != io
        if wrong or (dtype == io and not scale):
            raise _not_reached(f"{detail['name']!r} is {dtype} with the scale {scale}")


def _not_reached(why: str) -> ConversionFailed:
    return ConversionFailed(
        f"the ends of the model cannot be made integers: {why}",
        reason="io_not_reached",
        remedy="Convert it with --io float",
    )
