"""Values of a virtual board that change over time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, LabError, UsageError
from harness.lab.boards import board_files
from harness.lab.boards.kinds import kinds
from harness.lab.values.board_values import BoardValues, settings_of
from harness.lab.values.playing import Player
from harness.lab.values.value_script import Step, read_script


def values_of(kind: str, folder: Path) -> BoardValues:
    board_files.write_tree(folder, board_files.stand_ins(kinds()[kind]))
    return BoardValues(kind, kinds()[kind], folder)


@pytest.fixture
def pi4(tmp_path: Path) -> BoardValues:
    return values_of("pi4", tmp_path / "stand-ins")


def says(values: BoardValues, path: str) -> str:
    return (values.stand_ins / path).read_text()


class Waiting:
    """A clock that goes on by being waited for."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_firmware_and_linux_tell_one_temperature(pi4: BoardValues) -> None:
    pi4.set("temperature_c", 82.4)
    assert says(pi4, "thermal/thermal_zone0/temp") == "82400\n"
    assert says(pi4, "vcgencmd/measure_temp") == "temp=82.4'C\n"


def test_throttling_that_ends_stays_among_what_was_since_boot(pi4: BoardValues) -> None:
    pi4.set("throttled", True)
    assert says(pi4, "vcgencmd/get_throttled") == "throttled=0x40004\n"
    pi4.set("under_voltage", True)
    assert says(pi4, "vcgencmd/get_throttled") == "throttled=0x50005\n"
    pi4.set("throttled", False)
    assert says(pi4, "vcgencmd/get_throttled") == "throttled=0x50001\n"


def test_a_clock_keeps_the_number_its_firmware_gives_it(pi4: BoardValues) -> None:
    pi4.set("clock_khz", 600_000)
    assert says(pi4, "vcgencmd/measure_clock-arm") == "frequency(48)=600000000\n"
    assert says(pi4, "cpu/cpufreq/policy0/scaling_cur_freq") == "600000\n"


def test_a_file_can_be_named_by_its_path(pi4: BoardValues) -> None:
    pi4.set("vcgencmd/get_throttled", "throttled=0x0")
    assert says(pi4, "vcgencmd/get_throttled") == "throttled=0x0\n"


@pytest.mark.parametrize("path", ["../outside/file", "thermal/thermal_zone9/temp", "thermal/thermal_zone0"])
def test_only_files_that_the_board_reads_can_be_changed(path: str, pi4: BoardValues) -> None:
    outside = pi4.stand_ins.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    with pytest.raises(UsageError, match="there is no file"):
        pi4.set(path, "1")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("temperature_c", 400, "temperature_c = 400 is not from -40 to 125"),
        ("temperature_c", "hot", "temperature_c = 'hot' is no number"),
        ("temperature_c", True, "temperature_c = True is no number"),
        ("throttled", 1, "throttled = 1 is neither true nor false"),
        ("clock_khz", 0, "clock_khz = 0 is not from 1 to 10000000"),
        ("governor", "fast", "governor = 'fast' is none of conservative, ondemand"),
        ("temprature_c", 50, "a pi4 has no value 'temprature_c'; did you mean 'temperature_c'?"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_and_changes_nothing(
    name: str, value: object, fault: str, pi4: BoardValues
) -> None:
    before = says(pi4, "thermal/thermal_zone0/temp")
    with pytest.raises(UsageError) as caught:
        pi4.set(name, value)
    assert fault in caught.value.message
    assert says(pi4, "thermal/thermal_zone0/temp") == before


def test_an_unknown_name_is_answered_with_all_there_are(pi4: BoardValues) -> None:
    with pytest.raises(UsageError) as caught:
        pi4.checked("power_mode", 1)
    assert caught.value.remedy is not None
    for name in settings_of(pi4.kind):
        assert f"{name}: " in caught.value.remedy


def test_who_reads_meanwhile_sees_the_old_value_or_the_new_one(pi4: BoardValues) -> None:
    def change() -> None:
        for number in range(40):
            pi4.set("temperature_c", 50 if number % 2 else 100)

    changing = threading.Thread(target=change)
    pi4.set("temperature_c", 50)
    changing.start()
    seen = set()
    while changing.is_alive():
        seen.add(says(pi4, "thermal/thermal_zone0/temp"))
    changing.join()
    assert seen <= {"50000\n", "100000\n"}


def test_a_script_is_played_in_its_time(pi4: BoardValues, tmp_path: Path) -> None:
    script = tmp_path / "heat.toml"
    script.write_text(
        "[[step]]\nat = 0\ntemperature_c = 50\n[[step]]\nat = 7.5\ntemperature_c = 84.5\nthrottled = true\n"
    )
    clock, told = Waiting(), []

    def tell(line: str) -> None:
        told.append((clock.now, line, says(pi4, "thermal/thermal_zone0/temp")))

    Player(pi4, tell, clock=clock, sleep=clock.sleep).play(read_script(script, pi4))
    assert told == [
        (100.0, "0 s: temperature_c = 50.0", "50000\n"),
        (107.5, "7.5 s: temperature_c = 84.5, throttled = true", "84500\n"),
    ]


def test_a_loop_begins_anew_after_its_last_step(pi4: BoardValues) -> None:
    clock, told = Waiting(), []

    def tell(line: str) -> None:
        told.append(clock.now)
        if len(told) == 4:
            raise KeyboardInterrupt

    steps = (Step(0.0, {"throttled": True}), Step(3.0, {"throttled": False}))
    with pytest.raises(KeyboardInterrupt):
        Player(pi4, tell, clock=clock, sleep=clock.sleep).play(steps, loop=True)
    assert told == [100.0, 103.0, 103.0, 106.0]


def test_a_board_that_is_gone_is_not_waited_for(pi4: BoardValues) -> None:
    clock = Waiting()
    player = Player(pi4, lambda line: None, is_there=lambda: clock.now < 103, clock=clock, sleep=clock.sleep)
    with pytest.raises(LabError, match="pi4 runs no more"):
        player.play((Step(60.0, {"throttled": True}),))
    assert clock.now == 103.0


def test_a_script_is_refused_with_all_its_faults(pi4: BoardValues, tmp_path: Path) -> None:
    script = tmp_path / "faulty.toml"
    script.write_text(
        "speed = 2\n[[step]]\nat = 5\ntemperature_c = 900\n[[step]]\nat = 4\nnoise = 1\n[[step]]\nat = 6\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        read_script(script, pi4)
    assert [fault.removeprefix(f"{script}: ").partition(" (")[0] for fault in caught.value.faults] == [
        "speed: unknown key; a script has [[step]] only",
        "step 1: pi4: temperature_c = 900 is not from -40 to 125",
        "step 2: pi4: a pi4 has no value 'noise'; known: " + ", ".join(settings_of(pi4.kind)),
        "step 3: changes nothing",
    ]


@pytest.mark.parametrize("at", ["-1", "'soon'", "true", "90000"])
def test_a_step_needs_a_time(at: str, pi4: BoardValues, tmp_path: Path) -> None:
    script = tmp_path / "when.toml"
    script.write_text(f"[[step]]\nat = {at}\nthrottled = true\n")
    with pytest.raises(ConfigurationError, match=r"step 1: at = .* is no time"):
        read_script(script, pi4)


def test_steps_come_in_their_order(pi4: BoardValues, tmp_path: Path) -> None:
    script = tmp_path / "order.toml"
    script.write_text("[[step]]\nat = 5\nthrottled = true\n[[step]]\nat = 4\nthrottled = false\n")
    with pytest.raises(ConfigurationError, match="step 2: at = 4 is no time"):
        read_script(script, pi4)


@pytest.mark.parametrize("content", ["", "step = 5\n", "step = []\n", "[[step]\n"])
def test_a_file_without_steps_is_no_script(content: str, pi4: BoardValues, tmp_path: Path) -> None:
    script = tmp_path / "no.toml"
    script.write_text(content)
    with pytest.raises(ConfigurationError, match=r"no\.toml"):
        read_script(script, pi4)
