"""Reading what the stand-in has to know of an .onnx file; boards have no `onnx` package.

Field numbers are those of onnx.proto (ONNX, Apache-2.0); the wire format is that of protocol buffers.
"""

import struct
from collections import namedtuple

#: `dtype` is ONNX's number of the element type, `shape` has -1 where a size is open, None if not told.
Value = namedtuple("Value", "name dtype shape")
Node = namedtuple("Node", "name op inputs outputs to")
Initializer = namedtuple("Initializer", "name dtype count")
Model = namedtuple("Model", "ir_version opset nodes initializers inputs outputs")


class NotOnnx(Exception):
    """The bytes are no ONNX model."""


def read(data):
    """The model in `data`."""
    try:
        return _model(bytes(data))
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise NotOnnx(str(error)) from error


def _model(data):
    ir_version, opset, graph = 0, 1, []
    for field, value in _fields(data):
        if field == 1:
            ir_version = _integer(value)
        elif field == 7:
            graph = list(_fields(_message(value)))
        elif field == 8:
            parts = dict(_fields(_message(value)))
            if not parts.get(1):
                opset = _integer(parts.get(2, 1))
    initializers = {found.name: found for found in (_initializer(v) for f, v in graph if f == 5)}
    inputs = [found for found in (_value(v) for f, v in graph if f == 11) if found.name not in initializers]
    nodes = [_node(v) for f, v in graph if f == 1]
    return Model(ir_version, opset, nodes, initializers, inputs, [_value(v) for f, v in graph if f == 12])


def _node(data):
    fields = list(_fields(_message(data)))
    outputs = [_text(v) for f, v in fields if f == 2]
    name = next((_text(v) for f, v in fields if f == 3 and v), "node_of_" + (outputs or [""])[0])
    to = None
    for part in (dict(_fields(_message(v))) for f, v in fields if f == 5):
        if part.get(1) == b"to":
            to = part.get(3)
    return Node(
        name,
        next((_text(v) for f, v in fields if f == 4), ""),
        [_text(v) for f, v in fields if f == 1],
        outputs,
        to,
    )


def _initializer(data):
    name, dtype, count = "", 0, 1
    for field, value in _fields(_message(data)):
        if field == 1:
            for size in [value] if isinstance(value, int) else _packed(value):
                count *= size
        elif field == 2:
            dtype = _integer(value)
        elif field == 8:
            name = _text(value)
    return Initializer(name, dtype, count)


def _value(data):
    fields = dict(_fields(_message(data)))
    tensor = dict(_fields(_message(dict(_fields(_message(fields.get(2, b"")))).get(1, b""))))
    shape = None
    if 2 in tensor:
        sizes = [dict(_fields(_message(v))) for f, v in _fields(_message(tensor[2])) if f == 1]
        shape = [size.get(1, -1) for size in sizes]
    return Value(_text(fields.get(1, b"")), _integer(tensor.get(1, 0)), shape)


def _fields(data):
    """(number, value) of each field: an int, or the bytes of what has a length."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, kind = key >> 3, key & 7
        if field == 0:
            raise ValueError("field number 0")
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            value = data[at : at + length]
            if len(value) < length:
                raise ValueError("cut short")
            at += length
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            (value,) = struct.unpack_from("<q" if kind == 1 else "<i", data, at)
            at += size
        else:
            raise ValueError(f"wire type {kind}")
        yield field, value


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value if value < 1 << 63 else value - (1 << 64), at
        if shift > 63:
            raise ValueError("a number longer than 64 bits")


def _packed(data):
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _message(value):
    if not isinstance(value, bytes):
        raise ValueError("a number where a message belongs")  # noqa: TRY004 - of the file
    return value


def _integer(value):
    if not isinstance(value, int):
        raise ValueError("a message where a number belongs")  # noqa: TRY004 - of the file
    return value


def _text(value):
    return _message(value).decode("utf-8")
