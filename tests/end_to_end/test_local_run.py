"""`bench run` on this machine, real runtimes, nothing faked."""

from __future__ import annotations

import re

import pytest

from convert.processes.toolchain import find_toolchain
from tests.convert.conftest import toolchains_home
from tests.end_to_end.workplace import Workplace, record_of

pytestmark = pytest.mark.e2e

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic")


def test_without_arguments_everything_the_main_install_can_do_is_measured(workplace: Workplace) -> None:
    done = workplace.bench("run", "--measurement", "quick", "--out", "out")
    assert done.status == 0, done.err
    results = workplace.results()
    cases = [(r["case"]["runtime"], r["case"]["precision"]) for r in results["records"]]
    assert cases == [("null", "fp32")] + [(r, p) for r in ("onnxruntime", "tflite") for p in PRECISIONS]
    assert {record["status"] for record in results["records"]} == {"ok"}
    for record in results["records"][1:]:
        assert record["accuracy"]["n"] == 450
        assert record["accuracy"]["value"] >= 0.99, record["case"]
        assert "wrong_output" not in record["reasons"]


def test_the_report_is_one_file_that_reaches_for_nothing(workplace: Workplace) -> None:
    workplace.bench(
        "run", "--runtime", "onnxruntime", "--precision", "fp32", "--measurement", "quick", "--out", "out"
    )
    page = (workplace.folder / "out" / "report.html").read_text()
    assert "digits" in page
    outside = re.findall(
        r"<(?:script|link|img|iframe)[^>]+(?:src|href)\s*=\s*[\"'](?!data:|#)([^\"']+)", page
    )
    assert outside == []


def test_every_figure_can_be_recomputed_from_the_raw_samples(workplace: Workplace) -> None:
    workplace.bench("run", "--runtime", "tflite", "--precision", "fp32,int8", "--measurement", "quick")
    done = workplace.bench("verify", "latest")
    assert done.status == 0, done.out
    assert "0 of 2 records differ" in done.out


def test_batch_sizes_and_threads_are_cases_of_their_own(workplace: Workplace) -> None:
    done = workplace.bench(
        "run", "--runtime", "onnxruntime,tflite", "--precision", "fp32", "--batch", "1,4", "--threads", "1,2",
        "--measurement", "quick", "--out", "out",
    )  # fmt: skip
    assert done.status == 0, done.err
    records = workplace.results()["records"]
    assert len(records) == 8
    # 450 is no multiple of 4: the last batch is filled up, and what that adds is not counted.
    assert {record["accuracy"]["n"] for record in records} == {450}
    by_batch = {
        batch: {r["accuracy"]["value"] for r in records if r["case"]["batch_size"] == batch}
        for batch in (1, 4)
    }
    assert by_batch[1] == by_batch[4]


def test_a_second_run_converts_nothing_and_sends_nothing(workplace: Workplace, shared_cache) -> None:
    command = (
        "run",
        "--runtime",
        "onnxruntime,tflite",
        "--precision",
        "int8",
        "--measurement",
        "quick",
        "--out",
        "out",
    )
    workplace.bench(*command)
    before = {path: path.stat().st_mtime_ns for path in (shared_cache / "host").rglob("entry.json")}
    blobs = {path.name for path in (shared_cache / "blobs").iterdir()}
    workplace.bench(*command)
    assert {path: path.stat().st_mtime_ns for path in (shared_cache / "host").rglob("entry.json")} == before
    assert {path.name for path in (shared_cache / "blobs").iterdir()} == blobs
    assert record_of(workplace.results(), "tflite", "int8")["status"] == "ok"


def test_a_model_with_bytes_at_its_ends_is_fed_bytes_and_as_accurate(workplace: Workplace) -> None:
    for io in ("float", "uint8"):
        done = workplace.bench(
            "run", "--runtime", "tflite", "--precision", "int8", "--io", io,
            "--measurement", "quick", "--out", io,
        )  # fmt: skip
        assert done.status == 0, done.err
    floats, integers = (workplace.results(io)["records"][0] for io in ("float", "uint8"))
    assert any(step["detail"] == "uint8 in and out" for step in integers["artifact"]["steps"])
    assert floats["artifact"]["sha256"] != integers["artifact"]["sha256"]
    assert integers["accuracy"]["value"] == pytest.approx(floats["accuracy"]["value"], abs=1.5 / 450)
    assert integers["fidelity"]["cosine"] > 0.99


NETWORK = """
import torch
def make():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 10, 4)
    return torch.nn.Sequential(*layers), (torch.zeros(1, 3, 8, 12),)
"""


def test_a_pytorch_network_is_measured_on_both_runtimes_and_judged_by_its_own_outputs(
    workplace: Workplace,
) -> None:
    home = toolchains_home()
    if find_toolchain("torch", home) is None:
        pytest.skip("not made by tests/toolchains.sh: torch")
    workplace.environment["EDGEBENCH_TOOLCHAINS"] = str(home)
    (workplace.folder / "net.py").write_text(NETWORK)
    done = workplace.bench(
        "run", "--model", "net:make", "--runtime", "onnxruntime,tflite", "--precision", "fp32,int8-dynamic",
        "--batch", "1,2", "--measurement", "quick", "--out", "out",
    )  # fmt: skip
    assert done.status == 0, done.err
    records = workplace.results()["records"]
    assert [(r["case"]["model"], r["case"]["batch_size"], r["status"]) for r in records] == [
        ("make", batch, "ok") for _ in range(4) for batch in (1, 2)
    ]
    for record in records:
        least = 0.9999 if record["case"]["precision"] == "fp32" else 0.99
        assert record["fidelity"]["cosine"] > least, record["case"]
        assert "wrong_output" not in record["reasons"]
    assert {r["artifact"]["converter"].split(" ")[0] for r in records} == {"torch.onnx", "litert-torch"}
