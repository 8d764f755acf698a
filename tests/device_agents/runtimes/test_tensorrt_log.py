"""What is read out of TensorRT's log. Lines without a note are from public logs of the version they name."""

from __future__ import annotations

import pytest

from device_agents.runtimes.tensorrt.failures import ParserProblem, not_built, not_parsed
from device_agents.runtimes.tensorrt.log_book import LogBook

NO_IMPLEMENTATION = (
    "10: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error (Could not find any "
    "implementation for node Conv_0.)"
)
TOO_LARGE = "Tactic Device request: 538MB Available: 166MB. Device memory is insufficient to use tactic."


def book(*, errors: list[str] = [], warnings: list[str] = [], infos: list[str] = []) -> LogBook:  # noqa: B006
    made = LogBook()
    for line in infos:
        made.on_info(line)
    for line in warnings:
        made.on_warning(line)
    for line in errors:
        made.on_error(line)
    return made


@pytest.mark.parametrize(
    "line",
    [
        "Skipping tactic 0 due to insufficient memory on requested size of 1290442752 detected for tactic 4.",
        "Skipping tactic 3 due to insuficient memory on requested size of 538 detected for tactic 2.",  # 8.2
        # TensorRT 10
        "UNSUPPORTED_STATE: Skipping tactic 0 due to insufficient memory on requested size of 5368709120",
        "Skipping tactic 0x0000000000000000 due to Myelin error: autotuning: CUDA error 2 allocating 0-byte "
        "buffer: out of memory",
    ],
)
def test_a_tactic_left_out_for_lack_of_memory_is_counted_in_every_spelling(line: str) -> None:
    assert book(warnings=[line, line]).skipped_tactics == 2


def test_a_tactic_left_out_for_another_reason_is_not_counted() -> None:
    line = "Skipping tactic 0 due to exception Assertion numCtas > 0 failed."
    assert book(warnings=[line]).skipped_tactics == 0


def test_the_two_lines_about_one_tactic_count_once() -> None:
    line = (
        "Skipping tactic 0 due to insufficient memory on requested size of 564133888 detected for tactic 4."
    )
    assert book(warnings=[TOO_LARGE, line]).skipped_tactics == 1


def test_lines_about_tactics_are_counted_and_not_kept() -> None:
    assert book(warnings=[TOO_LARGE] * 3 + ["TensorRT was linked against cuDNN 8.6.0"]).warnings == [
        "TensorRT was linked against cuDNN 8.6.0"
    ]


def test_a_missing_implementation_after_tactics_that_did_not_fit_is_a_lack_of_memory() -> None:
    failure = not_built("8.2.1.8", 256 << 20, book(errors=[NO_IMPLEMENTATION], warnings=[TOO_LARGE]))
    assert (failure.reason, str(failure)) == (
        "out_of_memory",
        "TensorRT 8.2.1.8 ran out of memory with a workspace of 256 MiB: "
        + NO_IMPLEMENTATION
        + "; 1 tactics did not fit",
    )


def test_a_missing_implementation_alone_is_a_failed_build() -> None:
    failure = not_built("8.2.1.8", 256 << 20, book(errors=[NO_IMPLEMENTATION]))
    assert failure.reason == "build_failed"


@pytest.mark.parametrize(
    "line",
    [
        "2: [virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory (no further details)",
        "1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)",
        "std::bad_alloc",
        "10: Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[a...b]} "
        "due to insufficient workspace. See verbose log for requested sizes.)",
    ],
)
def test_errors_that_speak_of_memory_are_a_lack_of_it(line: str) -> None:
    assert not_built("10.3.0", 1 << 30, book(errors=[line])).reason == "out_of_memory"


def test_a_missing_driver_is_no_reason_where_there_is_another() -> None:
    lines = ["catchCudaError: no CUDA-capable device is detected", "Network must have at least one output"]
    assert str(not_built("11.4.1", 1 << 20, book(errors=lines))) == (
        "TensorRT 11.4.1 builds no engine: Network must have at least one output"
    )


def test_a_build_that_fails_without_a_word_says_so() -> None:
    assert str(not_built("8.5.2", 1 << 20, LogBook())).endswith("builds no engine: it does not say why")


def test_the_operator_that_an_old_parser_names_only_in_its_log_is_the_reason() -> None:
    log = book(
        infos=[
            "ModelImporter.cpp:139: No importer registered for op: GridSample. Attempting to import as plugin"
        ],
        errors=["INVALID_ARGUMENT: getPluginCreator could not find plugin GridSample version 1"],
    )
    problem = ParserProblem("UNSUPPORTED_NODE", 7, "", "", 'Assertion failed: creator && "Plugin not found"')
    failure = not_parsed("8.2.1.8", "/job/artifact/model.onnx", [problem], log)
    assert (failure.reason, str(failure)) == (
        "unsupported_operator",
        "TensorRT 8.2.1.8: its parser does not take model.onnx: it does not know GridSample; "
        'node 7: Assertion failed: creator && "Plugin not found"',
    )


def test_an_operator_that_a_plugin_took_over_is_known() -> None:
    log = book(
        infos=[
            "No importer registered for op: EfficientNMS_TRT. Attempting to import as plugin.",
            "Successfully created plugin: EfficientNMS_TRT",
        ]
    )
    assert log.unknown_operators == []


def test_a_new_parser_names_node_and_operator() -> None:
    problem = ParserProblem(
        "UNSUPPORTED_NODE_DATATYPE", 3, "b_DQ", "DequantizeLinear", "input has type Int32"
    )
    failure = not_parsed("11.4.1", "model.onnx", [problem], LogBook())
    assert (failure.reason, str(failure).partition("model.onnx: ")[2]) == (
        "unsupported_operator",
        "node 3 'b_DQ' (DequantizeLinear): input has type Int32",
    )


def test_a_file_that_is_no_model_is_an_invalid_one() -> None:
    problem = ParserProblem("MODEL_DESERIALIZE_FAILED", -1, "", "", "Failed to parse\n the ONNX model")
    failure = not_parsed("10.3.0", "model.onnx", [problem], LogBook())
    assert (failure.reason, str(failure).partition("model.onnx: ")[2]) == (
        "invalid_model",
        "Failed to parse the ONNX model",
    )


def test_gpu_memory_of_the_builder_is_read_from_its_own_lines() -> None:
    log = book(
        infos=[
            "[MemUsageChange] Init CUDA: CPU +203, GPU +0, now: CPU 220, GPU 1664 (MiB)",
            "[MemUsageChange] Init cuBLAS/cuBLASLt: CPU +158, GPU +154, now: CPU 404, GPU 1918 (MiB)",
            "[MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 113 MiB, GPU 1112 MiB",
        ]
    )
    assert log.memory() == {"builder_gpu_mib": "1112", "gpu_growth_mib": "254"}


def test_a_build_of_a_hundred_thousand_lines_leaves_forty_of_each_kind() -> None:
    log = book(warnings=[f"warning {i}" for i in range(100)], errors=[f"error {i}" for i in range(100)])
    assert (len(log.warnings), len(log.errors), log.errors[0]) == (40, 40, "error 0")


def test_up_to_8_6_the_log_names_the_operator_of_a_node() -> None:
    log = LogBook()
    log.on_error('ModelImporter.cpp:773: While parsing node number 11 [ReduceMean -> "scores"]:')
    problem = ParserProblem("UNSUPPORTED_NODE", 11, "", "", "Plugin not found, are the plugin name correct?")
    failed = not_parsed("8.2.1.8", "/jobs/1/model.onnx", [problem], log)
    assert failed.reason == "unsupported_operator"
    assert str(failed) == (
        "TensorRT 8.2.1.8: its parser does not take model.onnx: "
        "node 11 (ReduceMean): Plugin not found, are the plugin name correct?"
    )
