"""Power rails by the files of every kernel generation, and which of them are the whole board's."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.boards.linux_files import LinuxFiles
from device_agents.boards.power_rails import PowerRails, total

CAPTURES = Path(__file__).parents[2] / "captures"


def rails_of(tree: Path) -> dict[str, float]:
    return PowerRails(LinuxFiles(str(tree))).watts()


def board(folder: Path, **files: object) -> Path:
    """hwmon1 with these files, `ina3221` by name unless they say otherwise."""
    monitor = folder / "sys/class/hwmon/hwmon1"
    monitor.mkdir(parents=True)
    for name, content in {"name": "ina3221", **files}.items():
        (monitor / name).write_text(f"{content}\n")
    return folder


def test_jetpack_4_has_milliwatts_in_iio() -> None:
    assert rails_of(CAPTURES / "jetson-tx2") == {
        "VDD_SYS_GPU": 0.182,
        "VDD_SYS_SOC": 0.73,
        "VDD_4V0_WIFI": 0.0,
        "VDD_IN": 5.297,
        "VDD_SYS_CPU": 1.917,
        "VDD_SYS_DDR": 1.241,
    }


def test_jetpack_5_and_later_have_millivolts_and_milliamperes_in_hwmon() -> None:
    assert rails_of(CAPTURES / "jetson-orin-nano") == {
        "VDD_IN": 4.824,
        "VDD_CPU_GPU_CV": 0.5184,
        "VDD_SOC": 1.4736,
    }


def test_channels_that_are_not_connected_are_no_rails() -> None:
    assert rails_of(CAPTURES / "jetson-agx-orin") == {
        "VDD_GPU_SOC": 5.14,
        "VDD_CPU_CV": 3.26,
        "VIN_SYS_5V0": 5.5,
        "VDDQ_VDD2_1V8AO": 0.6,
    }


def test_thors_ina238_has_microwatts_and_is_vin() -> None:
    assert rails_of(CAPTURES / "jetson-thor") == {
        "VDD_GPU": 1.96252,
        "VDD_CPU_SOC_MSS": 5.88756,
        "VIN_SYS_5V0": 5.632416,
        "VIN": 19.78,
    }


def test_links_of_the_iio_bus_are_not_counted_again(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    device.mkdir(parents=True)
    for name, content in {"name": "ina3221x", "rail_name_0": "POM_5V_IN", "in_power0_input": "933"}.items():
        (device / name).write_text(content)
    link = tmp_path / "sys/bus/iio/devices/iio:device0"
    link.parent.mkdir(parents=True)
    link.symlink_to(device)
    assert rails_of(tmp_path) == {"POM_5V_IN": 0.933}


def test_another_makers_monitor_is_not_read(tmp_path: Path) -> None:
    files = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1000}
    assert rails_of(board(tmp_path, name="tmp451", **files)) == {}


@pytest.mark.parametrize("missing", ["in1_input", "curr1_input", "in1_label"])
def test_a_rail_without_one_of_its_files_is_absent(tmp_path: Path, missing: str) -> None:
    files = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1000}
    files.pop(missing)
    assert rails_of(board(tmp_path, **files)) == {}


@pytest.mark.parametrize("odd", ["", "4.8", "off", "5000 mV"])
def test_what_is_no_number_is_absent(tmp_path: Path, odd: str) -> None:
    files = {"in1_label": "VDD_IN", "in1_input": odd, "curr1_input": 1000}
    assert rails_of(board(tmp_path, **files)) == {}


def test_a_current_below_zero_stays_what_was_measured(tmp_path: Path) -> None:
    files = {"in1_label": "VDD_GPU", "in1_input": 12000, "curr1_input": -33}
    assert rails_of(board(tmp_path, **files)) == {"VDD_GPU": -0.396}


def test_a_rail_that_comes_and_goes_is_read_each_time(tmp_path: Path) -> None:
    board(tmp_path, in1_label="VDD_IN", in1_input=5000, curr1_input=1000)
    rails = PowerRails(LinuxFiles(str(tmp_path)))
    assert rails.watts() == {"VDD_IN": 5.0}
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
    assert rails.watts() == {}


@pytest.mark.parametrize(
    ("tree", "watts", "rail"),
    [
        ("jetson-nano", 0.933, "POM_5V_IN"),
        ("jetson-tx2", 5.297, "VDD_IN"),
        ("jetson-xavier-nx", 2.765, "VDD_IN"),
        ("jetson-agx-xavier", 6.928, "GPU + CPU + SOC + CV + VDDRQ + SYS5V"),
        ("jetson-orin-nano", 4.824, "VDD_IN"),
        ("jetson-orin-nano-super", 12.48, "VDD_IN"),
        ("jetson-orin-nx", 7.9576, "VDD_IN"),
        ("jetson-agx-orin", 13.9, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"),
        ("jetson-thor", 19.78, "VIN"),
    ],
)
def test_the_boards_own_power_has_the_name_of_its_rail(tree: str, watts: float, rail: str) -> None:
    assert total(rails_of(CAPTURES / tree)) == (watts, rail)


@pytest.mark.parametrize(
    "rails",
    [
        {},
        {"VDD_CPU_GPU_CV": 1.0, "VDD_SOC": 2.0},
        {"VDD_GPU_SOC": 1.0, "VDD_CPU_CV": 2.0},
        {"GPU": 1.0, "CPU": 1.0, "SOC": 1.0, "CV": 1.0, "VDDRQ": 1.0},
    ],
)
def test_a_part_of_the_board_is_not_passed_off_as_the_whole(rails: dict[str, float]) -> None:
    assert total(rails) == (None, None)
