"""Performance mode: what is raised, what is left alone, and that all of it comes back."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from device_agents.performance import lease
from tests.device_agents.performance.boards import BOOT_ID, EMC, GPU, POLICIES, STATUS, STORE
from tests.device_agents.performance.conftest import Stage

GOVERNOR = f"{POLICIES}/policy0/scaling_governor"
MINIMUM = f"{POLICIES}/policy0/scaling_min_freq"
MAXIMUM = f"{POLICIES}/policy0/scaling_max_freq"

# --- a governor -----------------------------------------------------------------------------------


def test_the_governor_is_raised_for_the_job_and_put_back(pi: Stage) -> None:
    mode = pi.mode()
    entered = mode.enter()
    assert (entered.reached, entered.problems) == (True, [])
    assert (entered.before["governor"], entered.after["governor"]) == ("ondemand", "performance")
    assert pi.read(GOVERNOR) == "performance"
    left = mode.leave()
    assert (left.restored, left.problems, left.settings["governor"]) == (True, [], "ondemand")
    assert pi.changed() == {}
    assert pi.files() == [
        "performance.owner",
        "performance.restoring",
        "performance.running",
    ]  # the lease is gone


def test_what_is_as_wanted_is_neither_touched_nor_put_back(pi: Stage) -> None:
    pi.write(GOVERNOR, "performance")
    mode = pi.mode()
    assert mode.enter().reached is True
    assert mode.leave().restored is True
    assert (pi.commands.asked, pi.guards) == ([], [])
    assert pi.read(GOVERNOR) == "performance"


def test_a_governor_that_the_kernel_does_not_offer_is_told(pi: Stage) -> None:
    pi.write(f"{POLICIES}/policy0/scaling_available_governors", "ondemand powersave")
    entered = pi.mode().enter()
    assert (entered.reached, entered.problems) == (
        False,
        ["governor of policy0: the kernel offers no performance"],
    )
    assert pi.commands.asked == []


def test_a_governor_that_cannot_be_read_is_left_alone(pi: Stage) -> None:
    pi.write(GOVERNOR, "")
    entered = pi.mode().enter()
    assert entered.problems == [f"governor of policy0: {GOVERNOR} cannot be read, so it stays"]
    assert pi.commands.asked == []


def test_without_sudo_nothing_changes_and_the_remedy_is_told(pi: Stage) -> None:
    pi.commands.refuses = ("tee",)
    mode = pi.mode()
    entered = mode.enter()
    assert entered.reached is False
    assert entered.problems == [
        "governor of policy0: sudo: a password is required; "
        "docs/devices.md has the sudoers file that allows it"
    ]
    assert not pi.workspace.is_raised()
    assert mode.leave().restored is True
    assert pi.changed() == {}


def test_leaving_twice_is_leaving_once(pi: Stage) -> None:
    mode = pi.mode()
    mode.enter()
    first = mode.leave()
    pi.write(GOVERNOR, "performance")  # that of somebody else, later
    assert mode.leave() == first
    assert pi.read(GOVERNOR) == "performance"


def test_leaving_without_having_entered_changes_nothing(pi: Stage) -> None:
    assert pi.mode().leave().restored is True
    assert pi.commands.asked == []


def test_nothing_is_changed_without_a_guard(pi: Stage) -> None:
    pi.guard_says = b""
    entered = pi.mode().enter()
    assert entered.problems == ["the guard that would put all back did not start; nothing was changed"]
    assert pi.commands.asked == []


def test_nothing_is_changed_where_the_lease_cannot_be_written(
    pi: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "performance.json.part")

    monkeypatch.setattr(lease, "write", full)
    mode = pi.mode()
    assert mode.enter().problems == [
        "performance.json.part: No space left on device; nothing more was changed"
    ]
    assert pi.commands.asked == []
    assert mode.leave().restored is True


def test_a_disk_that_filled_meanwhile_keeps_no_board_raised(
    pi: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "performance.json.part")

    mode = pi.mode()
    mode.enter()
    monkeypatch.setattr(lease, "write", full)
    left = mode.leave()
    assert (left.restored, left.problems) == (True, [])
    assert pi.changed() == {}
    assert "performance.json" not in pi.files()


def test_a_guard_that_died_is_told_of(pi: Stage) -> None:
    mode = pi.mode()
    mode.enter()
    pi.guards[0].status = -9
    left = mode.leave()
    assert left.restored is True
    assert left.problems == ["the guard had died of signal 9; the supervisor put all back itself"]
    assert pi.changed() == {}


# --- the lease ------------------------------------------------------------------------------------


def test_the_lease_names_a_change_before_it_is_made(pi: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, list[Any]]] = []
    original = lease.write
    monkeypatch.setattr(
        lease,
        "write",
        lambda workspace, body: (
            written.append((pi.read(GOVERNOR), body.changes)),
            original(workspace, body),
        ),
    )
    pi.mode().enter()
    before, changes = written[0]
    assert before == "ondemand"
    assert [(change.before, change.after) for change in changes] == [
        ({GOVERNOR: "ondemand"}, {GOVERNOR: "performance"})
    ]


def test_while_its_owner_lives_nobody_else_touches_the_board(pi: Stage) -> None:
    mode = pi.mode()
    mode.enter()
    assert pi.contact() is None
    assert pi.read(GOVERNOR) == "performance"
    mode.leave()


def test_the_next_contact_puts_back_what_a_dead_agent_left(pi: Stage) -> None:
    mode = pi.mode()
    mode.enter()
    pi.abandon(mode)
    restored = pi.contact()
    assert restored is not None
    assert (restored.restored, restored.settings["governor"]) == (True, "ondemand")
    assert pi.changed() == {}
    assert pi.contact() is None


def test_the_next_job_puts_back_first_and_so_knows_the_true_state(pi: Stage) -> None:
    dead = pi.mode()
    dead.enter()
    pi.abandon(dead)
    mode = pi.mode()
    assert mode.enter().reached is True
    mode.leave()
    assert pi.changed() == {}


def test_what_cannot_be_put_back_now_is_put_back_later(pi: Stage) -> None:
    mode = pi.mode()
    mode.enter()
    pi.commands.refuses = ("tee",)
    left = mode.leave()
    assert left.restored is False
    assert left.problems[0].startswith("governor of policy0 is still performance, was ondemand: sudo: a pass")
    blocked = pi.mode().enter()
    assert blocked.problems[0] == "what an earlier job raised is not put back yet; nothing was changed"
    pi.commands.refuses = ()
    restored = pi.contact()
    assert restored is not None
    assert restored.restored is True
    assert pi.changed() == {}


def test_a_lease_that_cannot_be_read_is_told_and_kept(pi: Stage) -> None:
    path = pi.workspace.performance_lease
    for content in ("", "[]", '{"version": 99}', '{"version": 1, "changes": 3}'):
        with open(path, "w") as file:  # noqa: PTH123
            file.write(content)
        restored = pi.contact()
        assert restored is not None
        assert restored.restored is False
        assert path in restored.problems[0]
        assert restored.problems[0].endswith("set governor and power mode by hand, then remove that file")
    assert pi.mode().enter().reached is False
    assert pi.commands.asked == []


def test_what_somebody_else_changed_meanwhile_stays_and_is_told(pi: Stage) -> None:
    mode = pi.mode()
    mode.enter()
    pi.write(GOVERNOR, "conservative")
    left = mode.leave()
    assert left.restored is False
    assert left.problems == [
        "governor of policy0 is conservative, neither what it was (ondemand) nor what the job made of it "
        "(performance): somebody else changed it, it stays"
    ]
    assert pi.read(GOVERNOR) == "conservative"
    assert not pi.workspace.is_raised()


def test_after_a_restart_the_governor_is_not_ours_any_more(pi: Stage) -> None:
    mode = pi.mode()
    mode.enter()
    pi.abandon(mode)
    pi.write(BOOT_ID, "33333333-3333-3333-3333-333333333333")
    asked = len(pi.commands.asked)
    restored = pi.contact()  # the governor reads performance: who configured that?
    assert restored is not None
    assert restored.restored is True
    assert len(pi.commands.asked) == asked
    assert not pi.workspace.is_raised()


# --- a Jetson -------------------------------------------------------------------------------------


def test_a_jetson_gets_its_best_mode_and_locked_clocks_and_all_back(jetson: Stage) -> None:
    mode = jetson.mode()
    entered = mode.enter()
    assert (entered.reached, entered.problems) == (True, [])
    assert entered.before["power mode"] == "MODE_10W (1)"
    assert entered.before["policy0"] == "499.2 to 1113.6 MHz"
    assert entered.after["power mode"] == "MAXN (0)"
    assert entered.after["policy0"] == "2035.2 to 2035.2 MHz"
    assert entered.after["gpu 17000000.gp10b"] == "1300.5 to 1300.5 MHz"
    assert jetson.read(f"{EMC}/mrq_rate_locked") == "1"
    assert mode.leave().restored is True
    assert jetson.changed() == {}


def test_the_order_of_steps_is_store_mode_lock_and_backwards(jetson: Stage) -> None:
    mode = jetson.mode()
    mode.enter()
    mode.leave()
    assert jetson.commands.asked == [
        f"jetson_clocks --store {STORE}",
        "nvpmodel -m 0",
        "jetson_clocks",
        f"jetson_clocks --restore {STORE}",
        "nvpmodel -m 1",
        f"jetson_clocks --restore {STORE}",  # somebody's own lower limit, which the mode has overwritten
        f"tee {MAXIMUM}",  # and upper one
        f"rm -f {STORE}",
    ]


def test_a_file_left_from_before_is_removed_before_the_tool_would_ask(jetson: Stage) -> None:
    jetson.write(STORE, f"{MINIMUM}:1")
    mode = jetson.mode()
    assert mode.enter().problems == []
    assert jetson.commands.asked[0] == f"rm -f {STORE}"
    mode.leave()
    assert jetson.changed() == {}


def test_a_mode_with_other_parts_of_the_gpu_is_not_tried(jetson: Stage) -> None:
    jetson.write(STATUS, "pmode:0002 fmode:fan_mode_quiet")
    mode = jetson.mode()
    entered = mode.enter()
    assert entered.problems == [
        "power mode MAXN (0): reboot needed, it uses other parts of the GPU than MODE_5W_GATED (2); "
        "set it by hand: sudo nvpmodel -m 0, and confirm the reboot"
    ]
    assert "nvpmodel -m 0" not in jetson.commands.asked
    assert entered.after["policy0"] == "1113.6 to 1113.6 MHz"  # locked in the mode it is in
    mode.leave()
    assert jetson.changed() == {"var/lib/nvpmodel/status": "pmode:0002 fmode:fan_mode_quiet\n"}


def test_a_mode_change_that_did_nothing_is_said_to_need_a_reboot(jetson: Stage) -> None:
    jetson.commands.idle = ("nvpmodel -m",)
    mode = jetson.mode()
    entered = mode.enter()
    assert entered.reached is False
    assert entered.problems == ["power mode MAXN (0): reboot needed, set it by hand: sudo nvpmodel -m 0"]
    assert mode.leave().restored is True
    assert jetson.changed() == {}


def test_a_mode_that_does_not_come_back_is_kept_in_the_lease(jetson: Stage) -> None:
    mode = jetson.mode()
    mode.enter()
    jetson.commands.idle = ("nvpmodel -m",)
    left = mode.leave()
    assert left.restored is False
    assert "power mode MODE_10W (1): reboot needed, set it by hand: sudo nvpmodel -m 1" in left.problems
    jetson.commands.idle = ()
    jetson.contact()
    assert jetson.changed() == {}


@pytest.mark.parametrize("fault", ["missing", "of others", "a file"])
def test_clocks_stay_where_their_undoing_would_not_be_safe(jetson: Stage, fault: str) -> None:
    folder = jetson.root / "run/edgebench"
    if fault == "of others":
        folder.chmod(0o777)
    else:
        folder.rmdir()
    if fault == "a file":
        folder.write_text("")
    mode = jetson.mode()
    entered = mode.enter()
    assert entered.reached is False
    assert entered.problems[0].startswith("clocks: ")
    assert entered.problems[0].endswith(
        "so they stay; docs/devices.md says how to have it made at each start"
    )
    assert [line for line in jetson.commands.asked if line.startswith("jetson_clocks")] == []
    assert entered.after["power mode"] == "MAXN (0)"
    assert mode.leave().restored is True
    left = jetson.changed()
    assert set(left) <= {"run/edgebench"}


def test_clocks_stay_where_sudo_allows_the_mode_only(jetson: Stage) -> None:
    jetson.commands.refuses = ("jetson_clocks", "tee", "rm")
    jetson.write(MAXIMUM, "1200000")
    jetson.write(MINIMUM, "345600")  # nothing set by hand
    before = jetson.read(MAXIMUM), jetson.read(MINIMUM), jetson.read(f"{GPU}/max_freq")
    mode = jetson.mode()
    assert mode.enter().problems == [
        "clocks: sudo: a password is required; docs/devices.md has the sudoers file that allows it"
    ]
    assert mode.leave().restored is True
    assert (jetson.read(MAXIMUM), jetson.read(MINIMUM), jetson.read(f"{GPU}/max_freq")) == before


def test_an_upper_limit_that_cannot_be_put_back_is_told_and_blocks_no_later_job(jetson: Stage) -> None:
    jetson.commands.refuses = ("tee",)
    mode = jetson.mode()
    mode.enter()
    left = mode.leave()
    assert left.problems == [
        f"{MAXIMUM} is 1200000, was 1113600: sudo: a password is required; "
        "docs/devices.md has the sudoers file that allows it"
    ]
    assert not jetson.workspace.is_raised()


def test_locked_clocks_come_back_even_if_the_tools_file_is_lost(jetson: Stage) -> None:
    mode = jetson.mode()
    mode.enter()
    (jetson.root / STORE.lstrip("/")).unlink()
    mode.leave()
    for path in (MINIMUM, MAXIMUM, f"{GPU}/min_freq", f"{GPU}/max_freq", STATUS):
        assert path.lstrip("/") not in jetson.changed()


def test_after_a_restart_only_the_power_mode_is_put_back(jetson: Stage) -> None:
    mode = jetson.mode()
    mode.enter()
    jetson.abandon(mode)
    jetson.write(BOOT_ID, "33333333-3333-3333-3333-333333333333")
    asked = len(jetson.commands.asked)
    restored = jetson.contact()
    assert restored is not None
    assert (restored.restored, restored.settings["power mode"]) == (True, "MODE_10W (1)")
    assert jetson.commands.asked[asked:] == ["nvpmodel -m 1"]


def test_a_third_power_mode_stays(jetson: Stage) -> None:
    mode = jetson.mode()
    mode.enter()
    jetson.write(STATUS, "pmode:0002 fmode:fan_mode_quiet")
    left = mode.leave()
    assert left.problems[0] == (
        "power mode is MODE_5W_GATED (2), neither what it was (MODE_10W (1)) nor what the job made of it "
        "(MAXN (0)): somebody else changed it, it stays"
    )
    assert jetson.read(STATUS).startswith("pmode:0002")


def test_lower_limits_that_somebody_else_set_stay(jetson: Stage) -> None:
    mode = jetson.mode()
    mode.enter()
    jetson.write(MINIMUM, "1036800")
    left = mode.leave()
    assert left.problems[0] == (
        f"{MINIMUM} is 1036800, neither what it was (499200) nor what the job made of it (2035200): "
        "somebody else changed it, it stays"
    )
    assert f"jetson_clocks --restore {STORE}" not in jetson.commands.asked


def test_a_lower_limit_that_the_kernel_lowered_to_cool_the_board_is_put_back(jetson: Stage) -> None:
    mode = jetson.mode()
    mode.enter()
    jetson.write(MINIMUM, "1036800")
    jetson.write(MAXIMUM, "1036800")
    jetson.write("/sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0")
    jetson.write("/sys/class/thermal/cooling_device0/cur_state", "3")
    assert mode.leave().problems == []
    assert jetson.read(MINIMUM) == "499200"


def test_clocks_that_are_locked_in_the_best_mode_are_as_wanted(jetson: Stage) -> None:
    jetson.commands.run("sudo", "-n", "/usr/sbin/nvpmodel", "-m", "0")
    jetson.commands.run("sudo", "-n", "/usr/bin/jetson_clocks")
    jetson.commands.asked.clear()
    assert jetson.mode().enter().reached is True
    assert jetson.commands.asked == []


def test_a_jetson_whose_configuration_is_missing_keeps_its_mode(jetson: Stage) -> None:
    (jetson.root / "etc/nvpmodel.conf").unlink()
    (jetson.root / STATUS.lstrip("/")).unlink()
    entered = jetson.mode().enter()
    assert entered.problems == ["power mode: /etc/nvpmodel.conf names no mode, so it stays"]
    assert entered.after["policy0"] == "1113.6 to 1113.6 MHz"
