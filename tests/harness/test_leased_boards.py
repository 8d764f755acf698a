"""A run has its boards to itself, or waits, or is refused."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from device_agents.protocol import (
    LeaseReply,
)
from harness.board_cases import MAX_LEASES_LOST
from harness.errors import (
    ConversionFailed,
    LeaseLost,
    UsageError,
)
from tests.harness.played_boards import (
    Lab,
    planned,
    reasons,
)

ALICE = LeaseReply("waiting", "alice@laptop (run x)", 60.0)


def test_the_board_is_asked_for_once_and_given_back_after_the_last_case(lab: Lab) -> None:
    session = lab.board("pi")
    lab.run([planned(batch_size=size) for size in (1, 2)])
    assert (session.asked, session.released, session.closed) == ([0.0], 1, True)


def test_a_board_without_a_case_to_measure_is_not_asked_for(lab: Lab) -> None:
    lab.failures["fp32"] = ConversionFailed("no")
    session = lab.board("pi")
    lab.run([planned()])
    assert (session.asked, session.released) == ([], 0)


def test_who_has_the_board_is_told_by_the_clock_of_this_computer(lab: Lab) -> None:
    lab.board("pi", leases=[[None, ALICE, None, ALICE, LeaseReply("granted")]])
    begun = time.time()
    lab.run([planned()])
    told = lab.notes.of("waiting")
    assert [what[:2] for what in told] == [("pi", "alice@laptop (run x)")] * 2
    assert all(begun - 60.1 < since < time.time() - 59.9 for _, _, since in told)
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_a_board_that_is_not_given_fails_its_cases_and_is_waited_for_once(lab: Lab) -> None:
    refused = [ALICE._replace(state="refused")]
    session = lab.board("pi", leases=[refused, refused])
    lab.board("other")
    lab.run([planned(batch_size=1), planned(batch_size=2), planned("other")], wait_s=90.0)
    outcomes = {(case.device, case.batch_size): reasons(record) for case, record in lab.records().items()}
    assert outcomes == {("pi", 1): ["board_busy"], ("pi", 2): ["board_busy"], ("other", 1): []}
    assert session.asked == [90.0, 0.0]
    assert (session.submitted, session.released) == ([], 0)
    failure = lab.records()[planned(batch_size=1).case].failure
    assert failure is not None
    assert failure.message.startswith("pi: held by alice@laptop (run x) since 20")
    assert "bench device release pi" in (failure.remedy or "")


DEAD = ALICE._replace(lease="run-dead")


def test_a_dead_run_of_this_computer_is_not_waited_for(lab: Lab) -> None:
    session = lab.board("pi", leases=[[DEAD, LeaseReply("granted")]])
    lab.run([planned()], is_gone=lambda lease: lease == "run-dead")
    assert session.evicted == ["run-dead"]
    assert lab.notes.of("waiting") == []
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_who_does_not_wait_gets_the_board_of_a_dead_run_too(lab: Lab) -> None:
    session = lab.board("pi", leases=[[DEAD._replace(state="refused")]])
    lab.run([planned()], is_gone=lambda lease: lease == "run-dead")
    assert (session.evicted, session.asked) == (["run-dead"], [0.0, 0.0])
    assert {record.status for record in lab.records().values()} == {"ok"}


def test_the_job_of_a_dead_run_is_waited_for(lab: Lab) -> None:
    session = lab.board("pi", leases=[[DEAD, DEAD, LeaseReply("granted")]])
    session.eviction = LeaseReply("running")
    lab.run([planned()], is_gone=lambda lease: lease == "run-dead")
    assert session.evicted == ["run-dead", "run-dead"]
    assert len(lab.notes.of("waiting")) == 2


def test_a_run_that_lives_keeps_its_board(lab: Lab) -> None:
    session = lab.board("pi", leases=[[DEAD._replace(state="refused")]])
    lab.run([planned()])
    assert (session.evicted, reasons(lab.records()[planned().case])) == ([], ["board_busy"])


def test_a_board_that_went_to_another_run_meanwhile_is_waited_for_again(lab: Lab) -> None:
    session = lab.board("pi", leases=[[LeaseReply("granted")], [ALICE, LeaseReply("granted")]])
    session.refusals = [LeaseLost("pi: the lease is not the present one")]
    lab.run([planned()], wait_s=90.0)
    (record,) = lab.records().values()
    assert (record.status, record.attempts) == ("ok", ())
    assert session.asked == [90.0, 90.0]
    assert [job.job_id[-2:] for job in session.submitted] == ["-0", "-0"]


def test_a_board_that_gives_and_takes_back_without_end_is_given_up(lab: Lab) -> None:
    session = lab.board("pi")
    session.refusals = [LeaseLost("pi: the lease is not the present one")] * 100
    lab.run([planned()])
    assert reasons(lab.records()[planned().case]) == ["board_busy"]
    assert len(session.submitted) == MAX_LEASES_LOST + 1


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_wait_for_a_board(lab: Lab) -> None:
    def interrupt() -> Iterator[LeaseReply | None]:
        yield ALICE
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            time.sleep(0.01)
            yield None

    session = lab.board("pi", leases=[interrupt()])
    assert not lab.run([planned()])
    assert (session.submitted, session.released, session.closed) == ([], 0, True)
    assert lab.records() == {}


def test_a_board_that_was_claimed_when_it_was_chosen_is_not_asked_for_again(lab: Lab) -> None:
    session = lab.board("pi")
    lab.run([planned()], claimed=frozenset({"pi"}))
    assert (session.asked, session.released) == ([], 1)


def test_a_claimed_board_is_given_back_also_if_nothing_can_be_prepared(lab: Lab) -> None:
    session = lab.board("pi")
    lab.failures["fp32"] = UsageError("the dataset has no labels")
    with pytest.raises(UsageError):
        lab.run([planned()], claimed=frozenset({"pi"}))
    assert (session.released, session.closed) == (1, True)
