"""The smallest ONNX model that proves something: what every runtime of ONNX is proven with."""

import base64

#: y = relu(x), float[1,4], opset 11, IR 6: every onnxruntime since 1.0 runs it, every TensorRT since 7 parses
#: it. Made with onnx.helper.
RELU_ONNX = base64.b64decode(
    "CAYSADo7CgwKAXgSAXkiBFJlbHUSAXBaEwoBeBIOCgwIARIICgIIAQoCCARiEwoBeRIOCgwIARIICgIIAQoCCARCBAoAEAs="
)

RELU_INPUT = [[-1, 2, -3, 4]]
RELU_OUTPUT = [[0, 2, 0, 4]]
