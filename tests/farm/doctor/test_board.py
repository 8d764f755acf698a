"""Storage, memory, rights, supply, heat, clocks: what is told of a board that has them wrong."""

from __future__ import annotations

from typing import Any

import pytest

from harness.farm.doctor.system import system_of
from tests.farm.doctor.patients import broken, finding, jetson, nano_profile, patient, pi_4, topics


def test_a_board_that_is_well_set_up_has_nothing_but_good_findings() -> None:
    assert set(topics(pi_4(), clock_ahead_s=0.3).values()) == {"good"}


def test_where_a_board_is_not_of_its_kind_each_difference_is_told() -> None:
    found = finding(pi_4(), "kind of board", differences=("2 of the 4 cores are online",))
    assert (found.state, found.found) == ("advice", "2 of the 4 cores are online")


def test_what_blocks_is_first_then_problems_then_advice() -> None:
    examined = pi_4(mount_options="ro", throttle_flags=0x10000, display_manager="lightdm.service",
                    default_target="graphical.target")  # fmt: skip
    found = topics(examined, broken("onnxruntime", "gone"))
    assert list(found)[:4] == ["onnxruntime", "storage", "voltage", "desktop"]


@pytest.mark.parametrize(
    ("release", "family", "details", "expected"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "trixie"}, "raspberry-pi", {}, ("raspberry-pi-os", None)),
        ({"ID": "debian", "VERSION_CODENAME": "trixie"}, "generic-linux", {}, ("debian", None)),
        ({"ID": "raspbian", "ID_LIKE": "debian"}, "raspberry-pi", {}, ("raspberry-pi-os", None)),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "raspberry-pi", {}, ("ubuntu", None)),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "jetson", {"jetpack": "5.x"}, ("jetpack", 5)),
        ({"ID": "alpine"}, "generic-linux", {}, ("other", None)),
    ],
)
def test_the_system_is_told_by_its_release_and_board(
    release: dict[str, str], family: str, details: dict[str, str], expected: tuple[str, int | None]
) -> None:
    system = system_of(pi_4(os_release=release, facts={"family": family, "details": details}))
    assert (system.family, system.jetpack) == expected


# --- storage


def test_an_overlay_root_on_raspberry_pi_os_is_switched_off_by_its_own_tool() -> None:
    found = finding(pi_4(overlay_root="overlayroot=tmpfs", filesystem="overlay"), "storage")
    assert found.state == "problem"
    assert found.commands == ("sudo raspi-config nonint disable_overlayfs && sudo reboot",)


def test_an_overlay_root_does_not_matter_to_a_workspace_on_another_disk() -> None:
    assert "storage" not in topics(pi_4(overlay_root="overlayroot=tmpfs", filesystem="ext4"))


@pytest.mark.parametrize(
    ("changes", "topic", "state", "words"),
    [
        ({"storage_kind": "memory", "filesystem": "tmpfs"}, "storage", "problem", "is in memory (tmpfs)"),
        ({"storage_kind": "network", "filesystem": "nfs4"}, "storage", "advice", "is on a network (nfs4)"),
        ({"free_bytes": 400_000_000}, "space", "problem", "0.4 GB free in"),
        ({"free_bytes": 1_500_000_000}, "space", "advice", "1.5 GB free in"),
        ({"read_mb_per_s": 9.5}, "storage speed", "advice", "SD card reads 9.5 MB/s, writes 21 MB/s"),
        ({"write_mb_per_s": 4.0}, "storage speed", "advice", "SD card reads 44 MB/s, writes 4 MB/s"),
        ({"facts": {"details": {"supply_max_ma": "3000"}}}, "power supply", "advice", "3000 mA"),
        ({"facts": {"details": {"supply_max_ma": "5000"}}}, "power supply", "good", "5000 mA"),
        ({"throttle_flags": 0x50000}, "voltage", "problem", "since the board was started (throttled=0x50"),
        ({"throttle_flags": 0x1}, "voltage", "problem", "too low now (throttled=0x1)"),
        ({"throttle_flags": None, "under_voltage": True}, "voltage", "problem", "too low now"),
        ({"throttle_flags": 0x80000}, "throttling", "advice", "throttled=0x80000"),
        ({"load_1m": 2.5}, "load", "advice", "2.5 on 4 cores"),
        ({"clock_synchronized": False}, "clock", "advice", "not synchronised, no real-time clock"),
        ({"clock_synchronized": True, "rtc": "rpi-rtc"}, "clock", "good", "right, real-time clock rpi-rtc"),
        ({"commands": {}}, "vcgencmd", "advice", "not found"),
    ],
)  # fmt: skip
def test_what_was_found_is_told_in_its_own_figures(
    changes: dict[str, Any], topic: str, state: str, words: str
) -> None:
    found = finding(pi_4(**changes), topic)
    assert found.state == state
    assert words in found.found


@pytest.mark.parametrize(
    ("ahead_s", "state", "words"),
    [
        (-86400.0, "problem", "86400 s behind this host's, no real-time clock"),
        (30.0, "advice", "30 s ahead of this host's, no real-time clock"),
        (4.9, "good", "right, no real-time clock"),
    ],
)
def test_a_wrong_clock_is_told_by_how_much(ahead_s: float, state: str, words: str) -> None:
    found = finding(pi_4(), "clock", clock_ahead_s=ahead_s)
    assert (found.state, found.found) == (state, words)


# --- memory


def test_a_nano_without_a_swap_file_is_told_why_builds_are_killed_and_zram_does_not_count() -> None:
    found = finding(jetson(4, swaps={"/dev/zram0": 2 << 30}), "memory")
    assert found.found == "4.0 GiB memory, 0 MiB swap and 2.0 GiB in compressed memory (zram)"
    assert found.commands == (
        "sudo fallocate -l 4G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile",
        "sudo swapon /swapfile && echo '/swapfile none swap sw 0 0' | sudo tee -a /etc/fstab",
    )
    assert finding(jetson(4), "memory").state == "good"


@pytest.mark.parametrize(
    ("codename", "command"),
    [
        ("bookworm", "sudo sed -i 's/^#*CONF_SWAPSIZE=.*/CONF_SWAPSIZE=1024/' /etc/dphys-swapfile"),
        ("trixie", "sudo fallocate -l 1G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile"),
    ],
)
def test_a_zero_2_w_gets_swap_the_way_its_system_keeps_it(codename: str, command: str) -> None:
    examined = pi_4(
        swaps={"/var/swap": 100 << 20},
        facts={"memory_bytes": 450 << 20},
        os_release={"ID": "debian", "VERSION_CODENAME": codename},
    )
    assert finding(examined, "memory").commands[0] == command


def test_a_desktop_is_named_with_what_takes_most_memory() -> None:
    examined = pi_4(
        default_target="graphical.target",
        display_manager="lightdm.service",
        largest_processes={"chromium": 700 << 20},
    )
    found = finding(examined, "desktop")
    assert found.found == "lightdm.service is started with the system; most memory: chromium 700 MiB"
    assert found.commands[0] == "sudo systemctl set-default multi-user.target"
    assert "desktop" not in topics(examined._replace(default_target="multi-user.target"))


# --- rights and settings


def test_who_is_not_in_the_group_video_cannot_see_throttling() -> None:
    found = finding(pi_4(groups=["bench"]), "group video")
    assert (found.state, found.commands) == ("problem", ("sudo usermod -aG video bench",))
    assert "group video" not in topics(pi_4(groups=[], is_root=True))


def test_the_performance_mode_needs_every_one_of_its_commands() -> None:
    sudo = {"/usr/sbin/nvpmodel -m 0": "allowed", "/usr/bin/jetson_clocks": "password required"}
    found = finding(jetson(6, sudo=sudo), "performance mode")
    assert found.found == "password required: sudo /usr/bin/jetson_clocks"
    assert found.commands == ("bench device setup board-1 --sudoers",)
    assert finding(pi_4(), "performance mode").found == "bench may set it"


def test_a_governor_that_follows_the_load_is_advice_with_the_mode_that_is_put_back() -> None:
    found = finding(pi_4(facts={"governor": "ondemand"}), "governor")
    assert found.commands == ("bench run --device board-1 --performance-mode max ...",)
    fixed = finding(pi_4(facts={"governor": "ondemand"}, governors=["ondemand", "powersave"]), "governor")
    assert fixed.commands == ()
    assert fixed.why == "The clock follows the load; this kernel offers ondemand, powersave."


def test_a_board_that_is_hotter_than_its_profile_starts_at_is_told_the_limit() -> None:
    found = finding(jetson(4, temperature_c=61.0), "temperature", profile=nano_profile())
    assert (found.state, found.found) == ("advice", "61 C")
    assert "50 C" in found.why


def test_a_system_without_apt_gets_names_and_no_command_of_debian() -> None:
    examined = pi_4(os_release={"ID": "alpine", "PRETTY_NAME": "Alpine"}, commands={})
    found = finding(examined, "vcgencmd")
    assert found.commands == ("# with the package manager of Alpine: raspi-utils",)


def test_no_prescription_upgrades_a_system() -> None:
    from harness.farm.doctor.diagnosis import diagnose

    empty = ("swaps", "packages", "system_packages", "system_package_folders", "commands")
    worst: dict[str, Any] = {name: {} for name in empty}
    worst |= {
        "throttle_flags": 0x50005,
        "groups": [],
        "free_bytes": 1,
        "read_mb_per_s": 1.0,
        "in_venv": False,
    }
    worst |= {"clock_synchronized": False, "display_manager": "gdm3", "default_target": "graphical.target"}
    sick = [jetson(number, **worst) for number in (4, 5, 6, 7)] + [pi_4(**worst)]
    gone = (broken("onnxruntime", "gone"), broken("tensorrt", "gone"))
    commands = [
        command for each in sick for found in diagnose(patient(each, *gone)) for command in found.commands
    ]
    assert len(commands) > 40
    assert [command for command in commands if "upgrade" in command or "do-release" in command] == []
