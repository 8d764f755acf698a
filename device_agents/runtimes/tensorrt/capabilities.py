"""What this TensorRT on this GPU can do, by what its classes have and never by its version.

The host decides by it which artifact a case gets: see `as_details`.
"""

from typing import Any, Dict, NamedTuple, Tuple

#: GPUs that compute in fp16 no faster than in fp32, from the CUDA programming guide's throughput table.
_SLOW_FP16 = frozenset({(6, 1), (5, 0), (5, 2)})


class Capabilities(NamedTuple):
    """`fp16` and `int8` are fast, slow or no; `explicit_batch` is required, accepted or gone."""

    explicit_batch: str
    #: Whether precisions are asked for by flags of the builder; otherwise only the graph decides.
    takes_flags: bool
    strongly_typed: bool
    fp16: str
    int8: str
    calibrator: bool
    inspector: bool
    dla_cores: int
    max_opset: str

    def as_details(self) -> Dict[str, str]:
        """As the proof tells the host."""
        return {
            "explicit_batch": self.explicit_batch,
            "precision_by": "flag" if self.takes_flags else "graph",
            "strongly_typed": _yes(self.strongly_typed),
            "fp16": self.fp16,
            "int8": self.int8,
            "calibrator": _yes(self.calibrator),
            "inspector": _yes(self.inspector),
            "dla_cores": str(self.dla_cores),
            "max_opset": self.max_opset,
        }


def capabilities(trt: Any, builder: Any, compute_capability: Tuple[int, int]) -> Capabilities:
    """Looked up in the module, its builder and the GPU."""
    flags, creation = trt.BuilderFlag, trt.NetworkDefinitionCreationFlag
    return Capabilities(
        explicit_batch=_explicit_batch(creation, builder),
        takes_flags=hasattr(flags, "FP16") and hasattr(flags, "INT8"),
        strongly_typed=hasattr(creation, "STRONGLY_TYPED"),
        fp16=_fp16(builder, compute_capability),
        int8=_int8(builder, compute_capability),
        calibrator=hasattr(trt, "IInt8EntropyCalibrator2"),
        inspector=hasattr(trt.ICudaEngine, "create_engine_inspector"),
        dla_cores=int(getattr(builder, "num_DLA_cores", 0)),
        max_opset=_max_opset(trt, builder),
    )


def _explicit_batch(creation: Any, builder: Any) -> str:
    if not hasattr(creation, "EXPLICIT_BATCH"):
        return "gone"
    # The limit of implicit batches went with them in TensorRT 10; the flag stayed until 11.
    return "required" if hasattr(builder, "max_batch_size") else "accepted"


def _fp16(builder: Any, compute_capability: Tuple[int, int]) -> str:
    if hasattr(builder, "platform_has_fast_fp16"):
        return "fast" if builder.platform_has_fast_fp16 else "slow"
    return "slow" if compute_capability in _SLOW_FP16 or compute_capability < (5, 3) else "fast"


def _int8(builder: Any, compute_capability: Tuple[int, int]) -> str:
    """int8 dot products came with 6.1, and 6.2 (Jetson TX2) has none; TensorRT runs fp32 there instead."""
    if hasattr(builder, "platform_has_fast_int8"):
        return "fast" if builder.platform_has_fast_int8 else "no"
    return "no" if compute_capability < (6, 1) or compute_capability == (6, 2) else "fast"


def _max_opset(trt: Any, builder: Any) -> str:
    """The newest ONNX opset of its parser (onnx-tensorrt, docs/operators.md of each release).

    8.0 to 8.2 read 13, 8.4 to 8.6 17, 10 and later at least 20; each is told by what came or went with it.
    """
    if not hasattr(trt, "MemoryPoolType"):
        return "13"
    return "17" if hasattr(builder, "max_batch_size") else "20"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
