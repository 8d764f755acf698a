"""What a board is asked to do."""

from __future__ import annotations

from device_agents.protocol import BlobRef, Dataset
from harness.benchmark import CaseRequest, job_of
from harness.board_options import BoardOptions
from harness.preparation import Workload
from profiles.measurement import measurement_profile
from reports.record import Case


def deadline_s(examples: int) -> float:
    labelled = Dataset(BlobRef("0" * 64, 1, "evaluation.npz"), examples, True) if examples else None
    case = Case("pi3", "mobilenet", "tflite", "fp32", 1, 1)
    quick = measurement_profile("quick")
    workload, options = Workload(evaluation=labelled), BoardOptions(cool_down_s=0.0)
    return job_of(CaseRequest(case, workload, quick, "job-1", 0.0, options)).deadline_s


def test_a_job_may_take_longer_the_more_labelled_examples_its_board_has_to_go_through() -> None:
    assert deadline_s(0) == 2 * (1.0 + 2.0 + 180.0) + 600.0
    # 10 000 photos of 200 ms on a Pi 3 take 33 minutes; without, such a job ended after 16.
    assert deadline_s(10_000) == deadline_s(0) + 20_000.0
