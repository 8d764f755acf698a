"""The files that make a virtual board a Jetson Nano."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.lab.boards import board_files
from harness.lab.boards.kinds import kinds
from harness.lab.jetson import files as jetson
from harness.lab.jetson.software import JetsonSoftware
from harness.lab.jetson.standins import JETSON
from harness.lab.values import jetson_settings
from harness.lab.values.board_values import BoardValues

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads this machine's cores in /sys")

NANO = kinds()["nano"]
REPOSITORY = Path(__file__).parents[2]
CAPTURED = REPOSITORY / "tests/captures/jetson-nano"
TREE = tomllib.loads((REPOSITORY / "harness/lab/jetson/jetson_nano.toml").read_text())

#: In its tree and not in the captured one; the file says so.
MADE_UP = {
    "sys/kernel/debug/clk/override.emc/clk_rate",
    "sys/kernel/debug/nvmap/iovmm/clients",
    "sys/kernel/nvpmodel_emc_cap/emc_iso_cap",
}
#: Elsewhere on a board of the lab, which has the cores of this machine.
NOT_TAKEN = r"proc/(?!swaps)|stand-in/|sys/devices/system/cpu/(online|cpu\d)"


def complete(folder: Path) -> JetsonSoftware:
    """Everything there is to have; of the library only that it is a file."""
    library = folder / "libcudart.so"
    library.write_text("a library")
    return JetsonSoftware(folder / "packages", library, has_sudo=True, lacks=())


def nothing() -> JetsonSoftware:
    return JetsonSoftware(None, None, has_sudo=False, lacks=("everything",))


def made(folder: Path, software: JetsonSoftware) -> Path:
    board = folder / "nano-3"
    board_files.write_tree(board / "stand-ins", board_files.stand_ins(NANO))
    jetson.write_jetson(board, "nano-3", NANO, software)
    return board


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies on top of its root where nothing is missing."""
    folder = tmp_path_factory.mktemp("whole")
    return made(folder, complete(folder)) / "files"


def values_of(board: Path) -> BoardValues:
    return BoardValues("nano-3", NANO, board / "stand-ins")


def test_its_tree_is_that_of_the_captured_board() -> None:
    ours = jetson._lines(TREE["files"] | TREE["stand_ins"])
    captured = {
        str(path.relative_to(CAPTURED)): path.read_text()
        for path in CAPTURED.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    shared = {path: text for path, text in captured.items() if not re.match(NOT_TAKEN, path)}
    assert {path: text for path, text in ours.items() if path not in MADE_UP} == shared


def test_a_board_gets_tensorrt_only_whole(tmp_path: Path) -> None:
    whole = complete(tmp_path)
    without_cuda = JetsonSoftware(whole.packages, None, has_sudo=True, lacks=())
    assert jetson.environment(NANO, whole)["STANDIN_TENSORRT"] == "8.2.1.8"
    assert set(jetson.environment(NANO, without_cuda)) == {"PYTHONPATH"}
    files = made(tmp_path, without_cuda) / "files"
    assert not (files / "usr/lib/python3.6").exists()
    assert not (files / "usr/local/cuda-10.2").exists()
    assert "libnvinfer" not in (files / "var/lib/dpkg/status").read_text()


def test_gpu_and_tensorrt_say_what_they_are(whole: Path, tmp_path: Path) -> None:
    assert jetson.environment(NANO, complete(tmp_path))["STANDIN_GPU_NAME"].endswith("(stand-in)")
    assert "Version: 8.2.1-1+cuda10.2+standin\n" in (whole / "var/lib/dpkg/status").read_text()


def test_tensorrt_and_cuda_lie_where_jetpack_has_them(whole: Path) -> None:
    packages = whole / "usr/lib/python3.6/dist-packages"
    assert (packages / "tensorrt/__init__.py").is_file()
    assert (packages / "tensorrt/_captures/8.6.1.json").is_file()
    assert (whole / "usr/local/cuda-10.2/lib64/libcudart.so.10.2").read_text() == "a library"
    assert "Package: libnvinfer8\n" in (whole / "var/lib/dpkg/status").read_text()


def test_it_comes_up_with_nothing_of_this_machine_at_all(tmp_path: Path) -> None:
    board = made(tmp_path, nothing())
    assert jetson.environment(NANO, nothing()) == {}
    assert not (board / "files/etc/sudoers").exists()
    targets = [line.split()[0] for line in (board / "binds").read_text().splitlines()]
    assert targets == ["sys", "var/lib/nvpmodel", "proc/swaps"]


def test_its_user_may_run_as_root_what_the_performance_mode_needs(whole: Path) -> None:
    rules = (whole / "etc/sudoers.d/edgebench").read_text()
    assert "bench ALL=(root) NOPASSWD: \\\n    /usr/sbin/nvpmodel -m [0-9], \\\n" in rules
    assert '/usr/bin/jetson_clocks ""' in rules
    # Else the scripts that run as root would run whatever the user has on PATH.
    assert (whole / "etc/sudoers").read_text().startswith('Defaults secure_path="/usr/local/sbin:')
    protected = (whole / "etc/sudoers", whole / "etc/sudoers.d/edgebench")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in protected}
    assert modes == {0o440}
    assert (whole / "etc/tmpfiles.d/edgebench.conf").read_text() == "d /run/edgebench 0755 root root -\n"


def test_a_start_begins_with_values_that_no_script_has_changed(tmp_path: Path) -> None:
    board = made(tmp_path, nothing())
    values_of(board).set("clock_limit_khz", 102_000)
    limit = "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"
    assert (board / "stand-ins" / limit).read_text() == "102000\n"
    assert (board / "power-on" / limit).read_text() == "1479000\n"
    assert stat.S_IMODE((board / "power-on/sys/kernel/debug").stat().st_mode) == 0o700


def test_what_debugfs_has_is_roots_alone(tmp_path: Path) -> None:
    board = made(tmp_path, nothing())
    assert stat.S_IMODE((board / "stand-ins/sys/kernel/debug").stat().st_mode) == 0o700


def test_heat_moves_every_zone_but_the_pmics(tmp_path: Path) -> None:
    board = made(tmp_path, nothing())
    values_of(board).set("temperature_c", 88.5)
    values_of(board).set("gpu_temperature_c", 91)
    zones = board / "stand-ins/sys/class/thermal"
    told = {(zone / "type").read_text(): (zone / "temp").read_text() for zone in zones.glob("thermal_zone*")}
    assert told.pop("PMIC-Die\n") == "100000\n"
    assert told.pop("GPU-therm\n") == "91000\n"
    assert set(told.values()) == {"88500\n"}


def test_power_modes_go_by_name_and_by_id() -> None:
    check = jetson_settings.SETTINGS["power_mode"].check
    assert [check("5W"), check("MAXN"), check(1)] == ["1", "0", "1"]
    with pytest.raises(Exception, match=r"is none of MAXN \(0\), 5W \(1\)"):
        check("15W")


@pytest.mark.processes
def test_a_power_mode_brings_its_limits_along(tmp_path: Path) -> None:
    board = made(tmp_path, nothing())
    values_of(board).set("power_mode", "5W")
    stand_ins = board / "stand-ins"
    assert (stand_ins / "var/lib/nvpmodel/status").read_text() == "pmode:0001\n"
    assert (stand_ins / "sys/class/devfreq/57000000.gpu/max_freq").read_text() == "640000000\n"
    core = stand_ins / "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"
    assert core.read_text() == "918000\n"
    assert list(stand_ins.rglob("*.new")) == []


@contextmanager
def tegrastats(values: BoardValues) -> Iterator[Callable[[], str]]:
    """The next line of one that runs; what it reads in /proc and /run is laid below the stand-ins."""
    (values.stand_ins / "proc/meminfo").write_text((values.stand_ins / "meminfo").read_text())
    (values.stand_ins / "run").mkdir()
    (values.stand_ins / "run/stand-ins").symlink_to("..")
    with subprocess.Popen(
        ["sh", JETSON / "usr/bin/tegrastats", "--interval", "20"],
        env={"PATH": "/usr/bin:/bin", "EDGEBENCH_BOARD_ROOT": str(values.stand_ins)},
        stdout=subprocess.PIPE,
        text=True,
    ) as printing:
        assert printing.stdout is not None
        yield printing.stdout.readline
        printing.kill()


@pytest.mark.processes
def test_tegrastats_prints_a_boards_line_from_its_present_values(tmp_path: Path) -> None:
    values = values_of(made(tmp_path, nothing()))
    values.set("gpu_temperature_c", -0.5)
    values.set("gpu_load", 0.73)
    values.set("power_w", 6.4)
    with tegrastats(values) as next_line:
        head, _, tail = next_line().partition(" CPU [")
    assert head == "RAM 792/3964MB (lfb 1x4MB) SWAP 0/0MB (cached 0MB)"
    assert tail.partition("] ")[2] == (
        "EMC_FREQ 0% GR3D_FREQ 73% AO@27C CPU@23C GPU@-0.5C PLL@20.5C PMIC@100C thermal@22.5C "
        "POM_5V_IN 6400/6400 POM_5V_GPU 0/0 POM_5V_CPU 84/84\n"
    )


@pytest.mark.processes
def test_tegrastats_follows_what_changes_and_averages_power(tmp_path: Path) -> None:
    values = values_of(made(tmp_path, nothing()))
    values.set("power_w", 1)
    with tegrastats(values) as next_line:
        assert "POM_5V_IN 1000/1000 " in next_line()
        values.set("power_w", 6)
        line = next_line()
        while "POM_5V_IN 6000/" not in line:
            line = next_line()
    average = int(line.partition("POM_5V_IN 6000/")[2].split()[0])
    assert 1000 < average <= 3500


@pytest.mark.processes
def test_a_scripted_line_is_printed_in_place_of_its_own_until_it_is_taken_back(tmp_path: Path) -> None:
    values = values_of(made(tmp_path, nothing()))
    values.set("tegrastats", "RAM 1/2MB CPU [off,100%@1479]")
    with tegrastats(values) as next_line:
        assert next_line() == "RAM 1/2MB CPU [off,100%@1479]\n"
        values.set("tegrastats", "")
        line = next_line()
        while not line.startswith("RAM 792/"):
            line = next_line()
