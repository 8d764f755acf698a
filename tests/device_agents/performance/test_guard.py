"""Performance mode through the real agent archive: jobs that end, are killed, and whose guards are killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.device_agents.board import wait_until
from tests.device_agents.board_trees import agent_python
from tests.device_agents.performance import boards
from tests.device_agents.performance.archive import Victim, kill
from tests.device_agents.performance.boards import STATUS, STORE

pytestmark = pytest.mark.processes

GOVERNOR = f"{boards.POLICIES}/policy0/scaling_governor"

#: The lines of docs/devices.md, by pattern as sudoers has them.
NARROW = f"""\
/usr/sbin/nvpmodel -m [0-9]
/usr/bin/jetson_clocks
/usr/bin/jetson_clocks --store {STORE}
/usr/bin/jetson_clocks --restore {STORE}
/usr/bin/rm -f {STORE}
/usr/bin/tee {boards.POLICIES}/policy[0-9]/scaling_governor
/usr/bin/tee {boards.POLICIES}/policy[0-9]/scaling_max_freq"""


#: An nvpmodel that takes its time to raise, and none to put back.
_SLOW_RAISE = """\
#!/bin/sh
cd "$EDGEBENCH_BOARD_ROOT"
[ "$*" = "-m 0" ] || exec usr/sbin/nvpmodel-at-once "$@"
: >stand-in-begun
sleep 1
usr/sbin/nvpmodel-at-once "$@"
: >stand-in-ended
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Callable[[str], Victim]]:
    """Call it with a kind of board: a job can be submitted there. On the oldest Python that is here."""
    made: list[Victim] = []

    def make(name: str) -> Victim:
        made.append(Victim(tmp_path, name, agent_python("3.6") or sys.executable))
        return made[-1]

    yield make
    for one in made:
        one.kill_all()


def of(journal: str, kind: str) -> list[dict[str, Any]]:
    """The journal's events of a kind."""
    return [event for event in map(json.loads, journal.splitlines()) if event["type"] == kind]


def raised(victim: Victim) -> None:
    victim.submit()
    assert wait_until(victim.is_raised, 30.0)
    assert victim.changed() != {}


def test_a_job_that_ends_well_raises_and_puts_back_with_a_narrow_sudoers_file(
    victim: Callable[[str], Victim],
) -> None:
    jetson = victim("jetson")
    boards.write(jetson.root, "/stand-in/sudoers", NARROW)
    jetson.submit(seconds=0.3)
    assert jetson.wait()
    (was_set,) = of(jetson.told(), "performance_mode")
    assert (was_set["reached"], was_set["problems"]) == (True, [])
    assert was_set["after"]["power mode"] == "MAXN (0)"
    (restored,) = of(jetson.told(), "performance_mode_restored")
    assert (restored["restored"], restored["problems"]) == (True, [])
    assert of(jetson.told(), "ended")[0]["outcome"] == "ok"
    assert jetson.changed() == {}


def test_a_cancelled_job_puts_back(victim: Callable[[str], Victim]) -> None:
    pi = victim("raspberry-pi")
    raised(pi)
    pi.session().cancel("job-1")
    assert pi.changed() == {}
    assert pi.wait()


def test_when_the_supervisors_whole_group_is_killed_its_guard_puts_back(
    victim: Callable[[str], Victim],
) -> None:
    jetson = victim("jetson")
    raised(jetson)
    os.killpg(jetson.supervisor, signal.SIGKILL)
    assert jetson.wait()
    assert jetson.changed() == {}
    assert not jetson.lease_is_open()
    log = (Path(jetson.workspace) / "jobs/job-1/supervisor.log").read_text()
    assert '"restored":true' in log


def test_a_guard_that_is_asked_to_end_stays(victim: Callable[[str], Victim]) -> None:
    pi = victim("raspberry-pi")
    raised(pi)
    (guard,) = pi.guards()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(guard, number)
    kill(pi.supervisor)
    assert pi.wait()
    assert pi.changed() == {}


@pytest.mark.parametrize("contact", ["probe", "restore", "submit"])
def test_when_both_are_killed_the_next_contact_puts_back(
    victim: Callable[[str], Victim], contact: str
) -> None:
    pi = victim("raspberry-pi")
    raised(pi)
    assert pi.restore().problems == ["a running job has raised them and will put them back at its end"]
    assert boards.read(pi.root, GOVERNOR) == "performance"
    for pid in (*pi.guards(), pi.supervisor):
        kill(pid)
    assert pi.wait()
    assert boards.read(pi.root, GOVERNOR) == "performance"  # nobody was left
    if contact == "probe":
        assert pi.session().open(("null",)).facts.governor == "ondemand"
    elif contact == "restore":
        assert pi.restore().settings["governor"] == "ondemand"
    else:
        pi.submit("job-2", seconds=0.1)
        assert pi.wait()
        assert of(pi.told("job-2"), "performance_mode")[0]["before"]["governor"] == "ondemand"
    assert pi.changed() == {}
    assert not pi.lease_is_open()


def test_a_command_that_outlives_its_agent_is_waited_for(victim: Callable[[str], Victim]) -> None:
    jetson = victim("jetson")
    tool = jetson.root / "usr/sbin/nvpmodel"
    tool.rename(tool.with_name("nvpmodel-at-once"))
    tool.write_text(_SLOW_RAISE)
    tool.chmod(0o755)
    jetson.submit()
    assert wait_until((jetson.root / "stand-in-begun").exists, 30.0)
    for pid in (jetson.supervisor, *jetson.guards()):
        kill(pid)
    assert boards.read(jetson.root, STATUS).startswith("pmode:0001")  # it is still at work
    assert jetson.restore().restored is True
    assert wait_until((jetson.root / "stand-in-ended").exists)
    assert jetson.changed() == {}


def test_without_sudo_the_job_runs_all_the_same_and_says_why_nothing_was_raised(
    victim: Callable[[str], Victim],
) -> None:
    jetson = victim("jetson")
    boards.write(jetson.root, "/stand-in/sudo-refuses", "")
    jetson.submit(seconds=0.1)
    assert jetson.wait()
    (was_set,) = of(jetson.told(), "performance_mode")
    assert was_set["reached"] is False
    assert [problem.partition(": ")[0] for problem in was_set["problems"]] == [
        "clocks",
        "power mode MAXN (0)",
    ]
    assert all("a password is required; docs/devices.md" in problem for problem in was_set["problems"])
    assert of(jetson.told(), "ended")[0]["outcome"] == "ok"
    assert jetson.changed() == {}
