"""ONNX sources to what TensorRT builds an engine from on the board: fp32, fp16 and QDQ graphs.

TensorRT up to 10 makes fp16 from the fp32 graph by a flag; from 11 on precisions come from the graph alone.

The int8 form differs from onnxruntime's, which TensorRT's parser refuses ("input has type Int32 but must
have type FP8, FP4, Int4, Int8, or UInt8" for the quantised biases):
- activations s8 and symmetric, for zero points other than 0 are refused;
- biases stay float;
- weights stay float behind a QuantizeLinear of their own. Weights that are int8 in the file would make it a
  quarter of the size (MobileNetV2 3.8 MB instead of 14.2) with the same numbers and an engine as small. But
  TensorRT 8 of JetPack 4 and 5 wants the pair (microsoft/onnxruntime#11535: "invalid weights type of Int8";
  huggingface/optimum#812 has the rule), and TensorRT-RTX 1.7 needs it for constants that are no weights
  ("Quantized constant is only allowed before DQ", of a network with attention).
"""

from __future__ import annotations

from convert.converters.onnx_graphs import to_half, used_domains
from convert.converters.onnx_int8 import Int8Form, to_static_int8
from convert.converters.onnx_opset import prepared_graph
from convert.converters.to_onnxruntime import AS_IT_IS, FLOAT16, SIMPLIFIED
from convert.errors import ConversionFailed
from convert.job import Job, Way

TENSORRT_INT8 = Int8Form(
    "QDQ for TensorRT, s8 symmetric activations, weights s8 per channel",
    "QInt8",
    "QInt8",
    {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
        # TensorRT fuses a pair with the one layer behind it.
        "DedicatedQDQPair": True,
    },
)


def _half(job: Job) -> None:
    to_half(job, prepared_graph(job, simplify=True))
    _refuse_foreign_operators(job)


def _half_unsimplified(job: Job) -> None:
    to_half(job, prepared_graph(job, simplify=False))
    _refuse_foreign_operators(job)


def _static(job: Job) -> None:
    to_static_int8(job, prepared_graph(job, simplify=True), TENSORRT_INT8)
    _refuse_foreign_operators(job)


def _static_unsimplified(job: Job) -> None:
    to_static_int8(job, prepared_graph(job, simplify=False), TENSORRT_INT8)
    _refuse_foreign_operators(job)


def _simplify(job: Job) -> None:
    SIMPLIFIED.make(job)
    _refuse_foreign_operators(job)


def _copy(job: Job) -> None:
    AS_IT_IS.make(job)
    _refuse_foreign_operators(job)


def _refuse_foreign_operators(job: Job) -> None:
    """TensorRT has standard operators only; onnxruntime, which verifies here, has its own besides."""
    import onnx

    model = onnx.load(job.output, load_external_data=False)
    foreign = sorted(used_domains(model) - {""})
    if foreign:
        raise ConversionFailed(
            f"{job.source.path.name} has operators of {', '.join(foreign)}, which TensorRT does not have",
            reason="custom_op",
            remedy="Give the graph as it was exported, before onnxruntime optimised or quantised it",
        )


_QDQ = (
    "onnxruntime.quantization {onnxruntime} (QDQ for TensorRT: s8 symmetric activations, s8 weights per "
    "channel, float32 biases and outputs, ranges nearest to fp32)"
)

#: For each precision the ways to it, best first.
ONNX_TO_TENSORRT: dict[str, tuple[Way, ...]] = {
    "fp32": (
        Way(_simplify, SIMPLIFIED.description),
        Way(_copy, AS_IT_IS.description),
    ),
    "fp16": (
        Way(_half, f"onnxslim {{onnxslim}}, {FLOAT16}"),
        Way(_half_unsimplified, FLOAT16),
    ),
    "int8": (
        Way(_static, f"onnxslim {{onnxslim}}, {_QDQ}", needs_calibration=True),
        Way(_static_unsimplified, _QDQ, needs_calibration=True),
    ),
}
