"""Runs over several boards: what is measured when, and what fails alone. Boards play back their jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from device_agents.protocol import (
    Event,
    JobWaiting,
    RepetitionEnded,
    RuntimeStatus,
)
from harness.board_options import BoardOptions
from harness.errors import (
    ConversionFailed,
    ModelError,
    Unreachable,
    UsageError,
)
from harness.plan import PlannedCase
from harness.store import case_key
from profiles.devices import device_profile
from tests.harness.events import FACTS, beginning, well
from tests.harness.played_boards import (
    MS,
    RUN_ID,
    Lab,
    planned,
    reasons,
)

# --- boards ----------------------------------------------------------------------------------------


def test_a_case_that_goes_well_is_saved_with_its_samples(lab: Lab) -> None:
    session = lab.board("pi")
    item = planned()
    assert lab.run([item])
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("ok", ())
    assert record.job_id == session.submitted[0].job_id
    assert lab.store.samples(RUN_ID, item.case)["latency"][0].tolist() == [MS] * 20
    assert session.closed


def test_a_board_that_cannot_be_reached_fails_its_own_cases_only(lab: Lab) -> None:
    lab.board("dead", unreachable=Unreachable("dead: no connection", "switch it on"))
    lab.board("pi")
    cases = [planned("dead", batch_size=1), planned("dead", batch_size=2), planned("pi")]
    assert lab.run(cases)
    outcomes = {(case.device, case.batch_size): reasons(record) for case, record in lab.records().items()}
    assert outcomes == {("dead", 1): ["unreachable"], ("dead", 2): ["unreachable"], ("pi", 1): []}


def test_boards_are_measured_beside_each_other(lab: Lab) -> None:
    """Either job ends only once the other has begun."""
    both = threading.Barrier(2, timeout=10)

    def meet() -> Iterator[Event]:
        both.wait()
        yield from lab.good()

    lab.board("a", meet)
    lab.board("b", meet)
    assert lab.run([planned("a"), planned("b")])
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_the_cases_of_a_board_follow_each_other_in_the_plans_order(lab: Lab) -> None:
    session = lab.board("pi")
    lab.run([planned(batch_size=size) for size in (4, 1, 2)])
    assert [job.batch_size for job in session.submitted] == [4, 1, 2]


def test_what_is_finished_already_is_not_measured_again(lab: Lab) -> None:
    session = lab.board("pi")
    done, todo = planned(batch_size=1), planned(batch_size=2)
    assert lab.run([done, todo], frozenset({case_key(done.case)}))
    assert [job.batch_size for job in session.submitted] == [2]


def test_a_board_that_does_not_answer_yet_keeps_no_other_from_being_measured(lab: Lab) -> None:
    measured = threading.Event()

    def then_told() -> Iterator[Event]:
        yield from lab.good()
        measured.set()

    lab.board("pi", then_told)
    waited: list[bool] = []
    lab.board("slow", answers_after=lambda: waited.append(measured.wait(10)))
    assert lab.run([planned("slow"), planned("pi")])
    assert waited == [True]
    assert {case.device: record.status for case, record in lab.records().items()} == {
        "pi": "ok",
        "slow": "ok",
    }


def test_local_waits_until_everything_is_prepared_for_the_others(lab: Lab) -> None:
    """It would begin within the 50 ms for which the other board keeps silent."""
    begun = threading.Event()

    def beginning_told() -> Iterator[Event]:
        begun.set()
        yield from lab.good()

    lab.board("local", beginning_told)
    lab.board("slow", answers_after=lambda: begun.wait(0.05))
    assert lab.run([planned("local"), planned("slow", precision="fp16")])
    prepared = ("preparing", "net for null at fp16")
    assert lab.notes.told.index(prepared) < lab.notes.told.index(("case_started", planned("local").case))
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_a_mistake_in_the_data_ends_what_is_measured_already(lab: Lab) -> None:
    begun = threading.Event()

    def endless() -> Iterator[Event]:
        yield from beginning()
        begun.set()
        while True:
            time.sleep(0.01)
            yield beginning()[1]

    quick = lab.board("quick", endless)
    slow = lab.board("slow", answers_after=lambda: begun.wait(10))
    lab.failures["int8"] = UsageError("the dataset has no labels")
    with pytest.raises(UsageError, match="no labels"):
        lab.run([planned("quick"), planned("slow", precision="int8")])
    assert quick.cancelled == [quick.submitted[0].job_id]
    assert (quick.closed, slow.closed, slow.submitted) == (True, True, [])


# --- unsupported or failed -------------------------------------------------------------------------


MISSING = RuntimeStatus("null", False, None, None, "not installed", {})
NO_DATA = ConversionFailed("net: int8 needs calibration data", "give --calibration", "calibration_required")


@pytest.mark.parametrize(("asked", "status"), [(True, "failed"), (False, "unsupported")])
def test_a_runtime_that_does_not_work_is_a_failure_only_when_asked_for(
    lab: Lab, asked: bool, status: str
) -> None:
    session = lab.board("pi", runtimes=[MISSING])
    lab.run([planned(asked=asked)])
    (record,) = lab.records().values()
    assert (record.status, reasons(record)) == (status, ["runtime_unavailable"])
    assert record.failure is not None
    assert record.failure.message == "pi: null does not work there: not installed"
    assert session.submitted == []


@pytest.mark.parametrize(("asked", "status"), [(True, "failed"), (False, "unsupported")])
def test_a_precision_that_cannot_be_is_a_failure_only_when_asked_for(
    lab: Lab, asked: bool, status: str
) -> None:
    lab.board("pi")
    lab.failures["int8"] = NO_DATA
    lab.run([planned(asked=asked, precision="int8"), planned(asked=asked)])
    by_precision = {case.precision: record for case, record in lab.records().items()}
    assert (by_precision["int8"].status, reasons(by_precision["int8"])) == (status, ["calibration_required"])
    assert by_precision["fp32"].status == "ok"


def test_a_model_that_cannot_be_read_is_a_failure_asked_for_or_not(lab: Lab) -> None:
    session = lab.board("pi")
    lab.failures["fp32"] = ModelError("net.onnx is truncated")
    lab.run([planned()])
    (record,) = lab.records().values()
    assert (record.status, reasons(record)) == ("failed", ["invalid_model"])
    assert session.submitted == []


def test_what_was_guessed_is_said_once(lab: Lab) -> None:
    lab.board("pi")
    lab.run([planned(batch_size=size) for size in (1, 2, 3)])
    assert lab.notes.of("note") == [("shapes were guessed",)]


# --- what a person sees ----------------------------------------------------------------------------


def test_waiting_and_repetitions_are_told(lab: Lab) -> None:
    end = RepetitionEnded(2.0, 0, "ok", None, None)
    lab.board("pi", [JobWaiting(1.0, "nightly", 0.5), *lab.good()[:-2], end, *well()])
    lab.run([planned()])
    assert lab.notes.of("waiting") == [("pi", "job nightly", 0.5)]
    assert [what[1:] for what in lab.notes.of("repetition_ended")] == [(1, 2), (2, 2)]
    assert lab.notes.of("device_ready") == [
        ("pi", "Raspberry Pi 4 Model B Rev 1.4, Cortex-A72, 4 cores, Debian GNU/Linux 12 (bookworm)")
    ]


# --- what a board's runtime takes ------------------------------------------------------------------


NANO = RuntimeStatus(
    "tensorrt",
    True,
    "8.2.1.8",
    "tensorrt",
    None,
    {
        "gpu": "NVIDIA Tegra X1",
        "compute_capability": "5.3",
        "precision_by": "flag",
        "int8": "no",
        "max_opset": "13",
    },
)


def on_tensorrt(precision: str) -> PlannedCase:
    return planned("nano", asked=True, runtime="tensorrt", precision=precision)


def test_what_a_board_cannot_do_is_unsupported_even_if_it_was_asked_for(lab: Lab) -> None:
    session = lab.board("nano", runtimes=[NANO])
    assert lab.run([on_tensorrt("fp16"), on_tensorrt("int8")])
    statuses = {case.precision: record.status for case, record in lab.records().items()}
    assert statuses == {"fp16": "ok", "int8": "unsupported"}
    (record,) = [r for r in lab.records().values() if r.failure]
    assert record.failure is not None
    assert record.failure.reason == "precision_unsupported"
    assert "compute capability 5.3" in record.failure.message
    assert len(session.submitted) == 1


def test_a_job_carries_the_settings_of_its_run(lab: Lab) -> None:
    session = lab.board("nano", runtimes=[NANO], facts=FACTS._replace(family="jetson"))
    options = BoardOptions(performance_mode="max", via="trtexec", workspace_mib=64, cool_down_s=30.0)
    profiles = {"nano": device_profile("jetson-nano")}
    assert lab.run([on_tensorrt("fp16")], options=options, profiles=profiles, deadline_s=77.0)
    (job,) = session.submitted
    assert job.deadline_s == 77.0
    assert job.performance_mode == "max"
    assert job.options == {"workspace_mib": "64", "via": "trtexec"}
    assert (job.max_start_temperature_c, job.cool_down_s) == (50.0, 30.0)


def test_nothing_is_converted_for_a_board_that_does_not_answer(lab: Lab) -> None:
    lab.board("dead", unreachable=Unreachable("dead: no connection", "switch it on"))
    lab.run([planned("dead")])
    assert lab.notes.of("preparing") == []


def test_nothing_is_converted_for_a_runtime_that_does_not_work(lab: Lab) -> None:
    lab.board("pi", runtimes=[RuntimeStatus("null", False, None, None, "it died", {})])
    lab.run([planned("pi")])
    assert lab.notes.of("preparing") == []
