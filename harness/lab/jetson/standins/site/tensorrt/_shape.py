"""Which names each generation of TensorRT's Python API has.

Four generations are read from captures of the real binding wheels. For 8.0, 8.2 and 8.5 no wheel can be had;
they are 8.6.1 less what came later. tests/captures/tensorrt-api/README.md says how that is known.
"""

import json
from pathlib import Path

#: Version that a board reports -> the capture its shape begins with.
CAPTURES = {
    "8.0.1.6": "8.6.1",
    "8.2.1.8": "8.6.1",
    "8.5.2.2": "8.6.1",
    "8.6.1.6": "8.6.1",
    "10.3.0.30": "10.3.0",
    "10.13.0.35": "10.13.0",
    "11.4.1.1": "11.4.0",
}

#: New in 8.6, so absent from 8.5.
NEW_IN_8_6 = {
    "Builder": ["get_plugin_registry"],
    "IBuilderConfig": [
        "builder_optimization_level",
        "hardware_compatibility_level",
        "max_aux_streams",
        "plugins_to_serialize",
    ],
    "ICudaEngine": ["hardware_compatibility_level", "num_aux_streams"],
    "IExecutionContext": ["set_aux_streams"],
    "Runtime": [
        "engine_host_code_allowed",
        "get_plugin_registry",
        "load_runtime",
        "temporary_directory",
        "tempfile_control_flags",
    ],
    "OnnxParser": ["flags", "set_flag", "get_flag", "clear_flag", "get_used_vc_plugin_libraries"],
    "BuilderFlag": ["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", "FP8"],
    "MemoryPoolType": ["TACTIC_DRAM"],
    "DataType": ["FP8"],
    "": ["HardwareCompatibilityLevel", "OnnxParserFlag", "TempfileControlFlag", "fp8"],
}

_TENSORS_OF_AN_ENGINE = [
    "num_io_tensors",
    "get_tensor_name",
    "get_tensor_mode",
    "is_shape_inference_io",
    "get_tensor_shape",
    "get_tensor_dtype",
    "get_tensor_location",
    "get_tensor_bytes_per_component",
    "get_tensor_components_per_element",
    "get_tensor_format",
    "get_tensor_format_desc",
    "get_tensor_vectorized_dim",
    "get_tensor_profile_shape",
]
_TENSORS_OF_A_CONTEXT = [
    "get_tensor_strides",
    "set_input_shape",
    "get_tensor_shape",
    "set_tensor_address",
    "get_tensor_address",
    "set_input_consumed_event",
    "get_input_consumed_event",
    "set_output_allocator",
    "get_output_allocator",
    "get_max_output_size",
    "temporary_allocator",
    "infer_shapes",
    "execute_async_v3",
]

#: New in 8.3, 8.4 or 8.5, so absent from 8.2.
NEW_IN_8_5 = {
    "Builder": ["max_threads"],
    "IBuilderConfig": [
        "set_memory_pool_limit",
        "get_memory_pool_limit",
        "set_preview_feature",
        "get_preview_feature",
    ],
    "ICudaEngine": _TENSORS_OF_AN_ENGINE,
    "IExecutionContext": [*_TENSORS_OF_A_CONTEXT, "persistent_cache_limit", "nvtx_verbosity"],
    "Runtime": ["max_threads"],
    "BuilderFlag": ["DIRECT_IO", "REJECT_EMPTY_ALGORITHMS", "ENABLE_TACTIC_HEURISTIC"],
    "TacticSource": ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"],
    "DataType": ["UINT8"],
    "": ["MemoryPoolType", "TensorIOMode", "PreviewFeature", "IOutputAllocator", "uint8"],
}

#: New in 8.2, so absent from 8.0.
NEW_IN_8_2 = {
    "ICudaEngine": ["create_engine_inspector", "profiling_verbosity"],
    "IExecutionContext": ["enqueue_emits_profile", "report_to_profiler"],
    "BuilderFlag": ["OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"],
    "ProfilingVerbosity": ["LAYER_NAMES_ONLY", "DETAILED"],
    "": ["EngineInspector", "LayerInformationFormat"],
}

NOT_YET = {
    "8.0.1.6": [NEW_IN_8_6, NEW_IN_8_5, NEW_IN_8_2],
    "8.2.1.8": [NEW_IN_8_6, NEW_IN_8_5],
    "8.5.2.2": [NEW_IN_8_6],
}


class Shape:
    """Names of one generation: `classes`, attribute by attribute, `enums`, `functions`."""

    def __init__(self, version):
        if version not in CAPTURES:
            raise ImportError(
                f"STANDIN_TENSORRT is {version!r}; there is a stand-in for {', '.join(CAPTURES)}"
            )
        captured = read_capture(CAPTURES[version])
        self.version = version
        self.classes = captured["classes"]
        self.enums = captured["enums"]
        self.functions = captured["functions"]
        self.values = [name for name in captured["values"] if name != "value"]
        for later in NOT_YET.get(version, []):
            self._take_away(later)

    @property
    def numbers(self):
        """The version as numbers, for comparing."""
        return tuple(int(part) for part in self.version.split("."))

    def attributes(self, name):
        """What a class of this generation offers; empty where it has no such class."""
        return self.classes.get(name, {})

    def _take_away(self, later):
        for owner, gone in later.items():
            if not owner:
                self.values = [name for name in self.values if name not in gone]
            for name in gone:
                if owner:
                    table = self.classes if owner in self.classes else self.enums
                    table[owner].pop(name, None)
                else:
                    self.classes.pop(name, None)
                    self.enums.pop(name, None)


def read_capture(version):
    """A capture, from beside this package where it was copied to a board, else from the checkout's own."""
    here = Path(__file__).resolve().parent
    checkouts = [above / "tests" / "captures" / "tensorrt-api" for above in here.parents]
    for folder in [here / "_captures", *checkouts]:
        path = folder / (version + ".json")
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    raise ImportError(f"no capture of TensorRT {version}'s API beside {here} or under tests/captures")
