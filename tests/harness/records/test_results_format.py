"""results.json: what scripts of others read (docs, "Files others read"). Keys may be added; these stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.conversion import Artifact
from convert.interface import TensorMap
from convert.workshop import Workshop
from device_agents.protocol import BlobRef, Dataset, TensorSpec
from harness.campaign import Campaign, CampaignSettings
from harness.errors import LinkLost, UsageError
from harness.outputs import check_folder, write_outputs
from harness.plan import Selection, cases
from harness.preparation import Preparation, Workload
from harness.records.case_records import failure_record
from harness.records.recording import Recording
from harness.store import Store
from profiles.measurement import MeasurementProfile
from reports.record import Case, results_from_json, to_json
from tests.convert.models import info
from tests.device_agents.board import Board
from tests.harness.events import ResultFiles, beginning, loaded, stage, well
from tests.harness.played_boards import RUN, Notes

#: Design, section 8, letter by letter.
DOCUMENTED = """
{"format_version": 1,
 "run": {"id": "...", "started_at": "2026-11-21T22:00:00Z", "harness_version": "...",
         "command": ["bench", "run"]},
 "records": [{
   "case": {"device": "local", "model": "digits", "runtime": "onnxruntime", "precision": "int8",
            "batch_size": 1, "num_threads": 1},
   "status": "ok",
   "failure": null,
   "verdict": "valid", "reasons": [],
   "latency_ms": {"count": 1000, "mean": 0, "stdev": 0, "min": 0, "p50": 0, "p90": 0, "p95": 0, "p99": 0,
                  "max": 0, "p50_ci95": [0, 0]},
   "compute_ms": {"count": 1000, "mean": 0, "stdev": 0, "min": 0, "p50": 0, "p90": 0, "p95": 0, "p99": 0,
                  "max": 0, "p50_ci95": [0, 0]},
   "load_ms": 0, "build_s": null, "first_inference_ms": 0, "throughput_per_s": 0,
   "memory": {"peak_rss_bytes": 0, "peak_pss_bytes": 0, "model_bytes": 0, "gpu_bytes": null},
   "accuracy": {"metric": "top1", "value": 0.99, "n": 450, "ci95": [0.98, 1.0]},
   "fidelity": {"cosine": 0.999, "max_abs_error": 0.01, "argmax_agreement": 1.0, "n": 8},
   "energy": null, "artifact": {"sha256": "...", "bytes": 0, "converter": "..."},
   "facts": {"board": "...", "cpu_model": "...", "os": "...", "python": "...", "runtime_version": "...",
             "governor": "..."}}]}
"""
DOCUMENTED_FAILURE = {"class": "infrastructure", "reason": "out_of_memory", "message": "..."}
#: What the present version adds to a record; a new key belongs here and into the documentation.
ADDED = {
    "attempts",
    "cross_check",
    "doubts",
    "engine",
    "finished_at",
    "import_ms",
    "job_id",
    "options",
    "performance_mode",
    "remarks",
    "repetitions",
    "started_at",
    "telemetry",
}


def missing_keys(documented: Any, found: Any, where: str = "") -> list[str]:
    """Places of the documentation that are not in `found`, or of another type there."""
    if isinstance(documented, dict):
        if not isinstance(found, dict):
            return [where]
        places = [
            missing_keys(value, found[key], f"{where}.{key}") if key in found else [f"{where}.{key}"]
            for key, value in documented.items()
        ]
        return [place for below in places for place in below]
    if isinstance(documented, list) and documented:
        if not isinstance(found, list) or not found:
            return [where]
        return missing_keys(documented[0], found[0], f"{where}[0]")
    if isinstance(documented, (int, float)) and not isinstance(found, (int, float)):
        return [where]
    return []


@pytest.fixture
def full(tmp_path: Path, store: Store) -> dict[str, Any]:
    """results.json of a case that has everything the documentation shows, made by hand from events."""
    scores = np.eye(3, dtype="float32")
    made = info()
    artifact = Artifact(
        files=(), info=made, sha256="a" * 64, bytes=9, target="onnxruntime", precision="int8",
        converter="onnxruntime", steps=(), agreement=(), calibration=None, warnings=(), from_cache=True,
        inputs=(), outputs=(TensorMap("y", "y"),),
    )  # fmt: skip
    workload = Workload(
        artifact=artifact,
        output_maps=artifact.outputs,
        outputs=(TensorSpec(["y"], [-1, 3], "float32"),),
        check=Dataset(BlobRef("c" * 64, 1, "check.npz"), 3, stacked=False),
        reference={"y": scores},
        labels=np.arange(3),
        metric="top1",
    )
    files = ResultFiles(tmp_path)
    ms = 1_000_000
    told = [
        *beginning(),
        stage(0, "runtime_imported", 0.1, 50),
        stage(0, "model_loaded", 0.1, 60),
        stage(0, "first_inference", 0.1, 70),
        loaded(),
        files.samples(0, [], [ms] * 1000, [ms] * 1000),
        files.outputs(0, "check", scores),
        files.outputs(0, "evaluation", scores),
        *well(),
    ]
    recording = Recording(Case("local", "digits", "onnxruntime", "int8"), workload)
    for event in told:
        recording.take(event)
    record, samples = recording.measured(tmp_path)
    return stored(store, tmp_path, record, samples)


def stored(store: Store, folder: Path, record: Any, samples: Any) -> dict[str, Any]:
    """results.json after a way through the database and the file."""
    store.save(RUN.id, record, samples)
    _, files = write_outputs(store, RUN.id, folder / "out")
    written = sorted(path.name for path in (folder / "out").iterdir())
    assert written == ["report.html", "results.csv", "results.json"]
    content: dict[str, Any] = json.loads(files.json.read_text("utf-8"))
    return content


def test_every_documented_key_is_there(full: dict[str, Any]) -> None:
    assert missing_keys(json.loads(DOCUMENTED), full) == []


def test_no_other_keys_than_documented_and_listed_ones_are_there(full: dict[str, Any]) -> None:
    documented = json.loads(DOCUMENTED)
    (record,) = full["records"]
    assert set(full) == set(documented)
    assert set(full["run"]) == set(documented["run"]) | {"finished_at", "interrupted"}
    assert set(record) == set(documented["records"][0]) | ADDED
    assert set(record["case"]) == set(documented["records"][0]["case"])


def test_absent_is_null_and_never_zero(full: dict[str, Any]) -> None:
    (record,) = full["records"]
    absent = (record["build_s"], record["energy"], record["memory"]["gpu_bytes"], record["facts"]["governor"])
    assert absent == (None,) * 4


def test_a_failure_has_its_documented_keys(tmp_path: Path, store: Store) -> None:
    record = failure_record(Case("pi", "digits", "tflite", "fp32"), LinkLost("the board is gone"))
    (written,) = stored(store, tmp_path, record, {})["records"]
    assert set(written["failure"]) == {*DOCUMENTED_FAILURE, "remedy"}
    assert (written["status"], written["latency_ms"], written["verdict"]) == ("failed", None, None)


def test_what_is_written_is_read_again(full: dict[str, Any]) -> None:
    assert json.loads(json.dumps(to_json(results_from_json(full)))) == full


@pytest.mark.processes
def test_a_real_run_writes_the_same_keys(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One null case on this machine, from the plan to the file, nothing played back."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    board = Board(tmp_path)
    board.deploy()
    profile = MeasurementProfile(
        description="as short as can be",
        repetitions=1,
        warmup_min_s=0.0,
        warmup_max_s=0.01,
        min_iterations=700,  # p99 is withheld below 662
        min_time_s=0.0,
        median_ci_width=0.9,
        max_iterations=1000,
        max_time_s=5.0,
    )
    campaign = Campaign(
        CampaignSettings(RUN.id, profile, 5.0),
        store,
        Preparation(Workshop(tmp_path / "cache", tmp_path)),
        lambda _name: board.session(),
        Notes(),
    )
    assert campaign.run(cases(["local"], [], Selection(("null",), None, (1,), (1,))), frozenset())
    written = to_json(store.results(RUN.id))
    (record,) = written["records"]
    assert (record["status"], record["failure"]) == ("ok", None)
    # The null runtime has no model, so nothing of that is known.
    expected = json.loads(DOCUMENTED)
    for key in ("accuracy", "fidelity", "artifact"):
        assert record[key] is None
        del expected["records"][0][key]
    assert missing_keys(expected, json.loads(json.dumps(written))) == []


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_folder(tmp_path / "new" / "folder")
    with pytest.raises(UsageError, match=r"/file is not a folder"):
        check_folder(tmp_path / "file" / "out")
