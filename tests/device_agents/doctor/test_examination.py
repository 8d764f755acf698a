"""What `examine` finds: stand-in boards through the real archive on Python 3.6, and the machine we run on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agents.boards.host import host_at
from device_agents.boards.linux_files import LinuxFiles
from device_agents.doctor import examination, rights, storage
from device_agents.protocol import Examination
from tests.device_agents.board import Board
from tests.device_agents.board_trees import Tree, agent_python, stand_in
from tests.interpreters import missing

CARD = "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n"

#: A user who may everything with a password, and one command without.
SUDO = """#!/bin/sh
[ "$1 $2" = "-n -l" ] || exit 99
case "$3" in
  "") printf 'Matching Defaults entries for bench on pi:\\n    env_reset\\n\\n'
      printf 'User bench may run the following commands on pi:\\n'
      printf '    (ALL : ALL) ALL\\n    (root) NOPASSWD: %s\\n' "$ALLOWED" ;;
  *) echo "$3" ;;
esac
"""


def examined(tree: Tree, version: str = "3.6", **environment: str) -> Examination:
    """What the real agent says of the tree."""
    python = agent_python(version)
    if python is None:
        pytest.skip(missing(version))
    session = tree.session(python, **environment)
    session.open(["null"])
    return session.examine()


def files_below(board: Board) -> set[Path]:
    """Everything in its workspace."""
    return set(Path(board.workspace.root).rglob("*"))


@pytest.mark.processes
def test_a_raspberry_pi_is_examined_on_python_3_6(tmp_path: Path) -> None:
    tree = stand_in("raspberry-pi-5", tmp_path)
    governor = "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    tree.write("/proc/mounts", CARD)
    tree.write("/sys/block/mmcblk0/device/type", "SD\n")
    tree.write("/proc/cmdline", "console=tty1 root=PARTUUID=1-02 overlayroot=tmpfs:recurse=0 quiet\n")
    tree.write("/proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 2097136 0 100\n")
    tree.write("/sys/class/rtc/rtc0/name", "rpi-rtc\n")
    tree.write("/run/systemd/timesync/synchronized", "")
    tree.write("/usr/lib/python3.13/EXTERNALLY-MANAGED", "[externally-managed]\n")
    tree.write("/usr/lib/python3/dist-packages/numpy-2.2.4.dist-info/METADATA", "")
    for name, target in (
        ("default.target", "graphical.target"),
        ("display-manager.service", "lightdm.service"),
    ):
        tree.path("/etc/systemd/system").mkdir(parents=True, exist_ok=True)
        tree.path(f"/etc/systemd/system/{name}").symlink_to(f"/usr/lib/systemd/system/{target}")
    for name, words in (
        ("id", 'case "$1" in -un) echo bench;; *) echo "bench video";; esac'),
        ("sudo", SUDO),
    ):
        tree.write(f"/usr/bin/{name}", words if words.startswith("#!") else f"#!/bin/sh\n{words}\n")
        tree.path(f"/usr/bin/{name}").chmod(0o755)

    found = examined(tree, ALLOWED=f"/usr/bin/tee {governor}")

    assert found.facts.python.startswith("3.6.")
    assert (found.user, found.groups, found.is_root) == ("bench", ["bench", "video"], False)
    assert found.sudo == {f"/usr/bin/tee {governor}": "allowed"}
    assert found.commands["vcgencmd"] == "/usr/bin/vcgencmd"
    assert (found.filesystem, found.mount_options) == ("ext4", "rw,noatime")
    assert (found.storage_device, found.storage_kind) == ("mmcblk0p2", "SD card")
    assert found.overlay_root == "overlayroot=tmpfs:recurse=0"
    assert found.swaps == {"/dev/zram0": 2097136 * 1024}
    assert (found.rtc, found.clock_synchronized) == ("rpi-rtc", True)
    assert found.externally_managed
    assert (found.default_target, found.display_manager) == ("graphical.target", "lightdm.service")
    assert found.system_packages == {"numpy": "2.2.4"}
    assert (found.throttle_flags, found.facts.details["supply_max_ma"]) == (0x50000, "5000")
    assert "performance" in found.governors
    assert found.governor_files == [governor]
    assert found.python_bits == 64


@pytest.mark.processes
def test_a_jetson_nano_has_tensorrt_where_a_plain_environment_does_not_look(tmp_path: Path) -> None:
    tree = stand_in("jetson-nano", tmp_path)
    folder = "/usr/lib/python3.6/dist-packages"
    tree.write(f"{folder}/tensorrt/__init__.py", "")
    tree.write(f"{folder}/numpy-1.13.3.egg-info", "")
    found = examined(tree)
    assert found.system_packages == {"numpy": "1.13.3", "tensorrt": "unknown"}
    assert found.system_package_folders["tensorrt"] == folder
    assert "tensorrt" not in found.packages
    assert found.in_venv
    assert (found.facts.details["l4t_release"], found.facts.details["jetpack"]) == ("32.7.1", "4.6.1")
    assert found.commands["trtexec"] == "/usr/src/tensorrt/bin/trtexec"
    assert list(found.sudo) == [
        "/usr/bin/jetson_clocks",
        "/usr/bin/jetson_clocks --restore /run/edgebench/clocks.conf",
        "/usr/bin/jetson_clocks --store /run/edgebench/clocks.conf",
        "/usr/sbin/nvpmodel -m 0",
    ]
    assert sum(found.swaps.values()) == 4 * 507392 * 1024


def test_the_python_to_make_an_environment_with_is_the_same_seen_from_inside_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on Debian: python3 is a link, and an environment made with it knows the folder it lies in.
    system = tmp_path / "usr/bin"
    system.mkdir(parents=True)
    program = system / "python{}.{}".format(*sys.version_info[:2])
    program.touch(mode=0o755)
    (system / "python3").symlink_to(program.name)
    environment = tmp_path / "venv"
    environment.mkdir()
    (environment / "pyvenv.cfg").write_text(f"home = {system}\n")
    monkeypatch.setattr(sys, "executable", str(system / "python3"))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    outside = examination._base_python()
    monkeypatch.setattr(sys, "prefix", str(environment))
    assert (outside, examination._base_python()) == (str(program), str(program))


@pytest.mark.processes
def test_our_own_machine_is_examined_and_nothing_is_left_behind(board: Board) -> None:
    session = board.opened()
    session.examine()
    before = files_below(board)
    found = session.examine()
    assert found.python_executable == sys.executable
    assert (found.in_venv, found.has_venv) == (sys.prefix != sys.base_prefix, True)
    assert found.base_python is not None
    assert Path(found.base_python).resolve() != Path(sys.executable)
    assert {"numpy", "onnxruntime"} <= set(found.packages)
    assert found.write_mb_per_s is not None
    assert found.read_mb_per_s is not None
    assert files_below(board) == before
    lock = board.workspace.try_board("job-9")
    assert lock is not None
    with lock:
        busy = session.examine()
    assert (busy.write_mb_per_s, busy.read_mb_per_s) == (None, None), (
        "a measurement would have been disturbed"
    )


# --- storage ---------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> LinuxFiles:
    """An empty tree."""
    (tmp_path / "proc").mkdir()
    return LinuxFiles(str(tmp_path))


def write(files: LinuxFiles, path: str, text: str) -> None:
    target = Path(files.path(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_a_folder_is_on_the_longest_mount_point_above_it_and_the_last_of_equal_ones(
    files: LinuxFiles,
) -> None:
    write(
        files,
        "/proc/mounts",
        "overlay / overlay rw 0 0\n/dev/sda1 /media/my\\040disk ext4 rw 0 0\n"
        "/dev/sdb1 /media/my\\040disk xfs ro 0 0\n/dev/sdc1 /media/my ext2 rw 0 0\nbroken line\n",
    )
    found = storage.mount_of(files, "/media/my disk/edgebench")
    assert found == storage.Mount("/dev/sdb1", "/media/my disk", "xfs", "ro")
    outside = storage.mount_of(files, "/media/mydisk")
    assert outside is not None
    assert outside.point == "/"


def test_the_device_behind_dev_root_is_told_by_the_kernels_command_line(files: LinuxFiles) -> None:
    root = storage.Mount("/dev/root", "/", "ext4", "rw")
    assert storage.device_of(files, root) is None
    write(files, "/proc/cmdline", "quiet root=/dev/mmcblk0p1 rw\n")
    assert storage.device_of(files, root) == "mmcblk0p1"
    assert storage.device_of(files, storage.Mount("tmpfs", "/tmp", "tmpfs", "rw")) is None


@pytest.mark.parametrize(
    ("device", "filesystem", "kind"),
    [
        ("mmcblk0p2", "ext4", "SD card"),
        ("mmcblk1p1", "ext4", "eMMC"),
        ("nvme0n1p1", "ext4", "NVMe"),
        ("sda1", "ext4", "USB"),
        ("vda", "ext4", "disk"),
        ("zram0", "ext4", "memory"),
        (None, "tmpfs", "memory"),
        (None, "nfs4", "network"),
        (None, "overlay", None),
    ],
)
def test_the_kind_of_device_is_told_by_its_name_and_bus(
    files: LinuxFiles, device: str | None, filesystem: str, kind: str | None
) -> None:
    write(files, "/sys/block/mmcblk0/device/type", "SD\n")
    write(files, "/sys/block/mmcblk1/device/type", "MMC\n")
    Path(files.path("/sys/block/sda")).symlink_to("../devices/platform/scb/usb2/2-1/host0/block/sda")
    assert storage.kind_of(files, device, filesystem) == kind


@pytest.fixture
def slow_clock() -> Iterator[object]:
    """Each look at it takes a second."""
    times = iter(range(1000))
    yield lambda: float(next(times))


def test_a_slow_card_is_given_up_after_the_limit_and_judged_by_what_it_did(
    tmp_path: Path, slow_clock: object
) -> None:
    found = storage.measure(str(tmp_path), None, slow_clock)  # type: ignore[arg-type]
    # 4 MiB in 6 s: the limit of 4.5 s is seen at 5.
    assert (found.write_mb_per_s, found.read_mb_per_s) == (0.7, 0.7)
    assert list(tmp_path.iterdir()) == []


def test_without_room_or_rights_there_is_no_speed(tmp_path: Path) -> None:
    assert storage.measure(str(tmp_path), 1 << 20) == storage.Speed(None, None)
    assert storage.measure(str(tmp_path / "absent"), None) == storage.Speed(None, None)


# --- rights ----------------------------------------------------------------------------------------

NVPMODEL = ["/usr/sbin/nvpmodel", "-m", "0"]


@pytest.mark.parametrize(
    ("rules", "free"),
    [
        ("(ALL : ALL) ALL", False),
        ("(ALL) NOPASSWD: ALL", True),
        ("(root) NOPASSWD: /usr/sbin/nvpmodel -m [0-9]", True),
        ("(root) NOPASSWD: /usr/sbin/nvpmodel -m [1-9]", False),
        ("(root) NOPASSWD: /usr/sbin/nvpmodel", True),
        ('(root) NOPASSWD: /usr/sbin/nvpmodel ""', False),
        ("(root) NOPASSWD: /usr/bin/tee, /usr/sbin/nvpmodel -q,\n        /usr/sbin/nvpmodel -m [0-9]", True),
        ("(root) NOPASSWD: /usr/bin/tee, PASSWD: /usr/sbin/nvpmodel -m 0", False),
        ("(root) NOPASSWD: SETENV: /usr/sbin/nvpmodel -m 0", True),
        ("(root) NOPASSWD: /usr/sbin/nvpmodel -m 0\n    (ALL : ALL) ALL", False),
        ("(ALL : ALL) ALL\n    (root) NOPASSWD: /usr/sbin/nvpmodel -m 0", True),
    ],
)
def test_the_last_rule_that_fits_decides_whether_a_password_is_asked(rules: str, free: bool) -> None:
    listing = f"User bench may run the following commands on pi:\n    {rules}\n"
    assert rights.without_password(listing, NVPMODEL) is free


def test_a_board_without_sudo_says_so(tmp_path: Path) -> None:
    assert rights.sudo_answers(host_at(str(tmp_path)), [NVPMODEL]) == {"/usr/sbin/nvpmodel -m 0": "no sudo"}


#: What sudo 1.9.13p3 (Debian 12) printed for a member of the group sudo who has the file of
#: `bench device setup --sudoers`. `sudo -n -l COMMAND` ended with status 0 for every one of these.
RECORDED = """\
Matching Defaults entries for bench on vm:
    env_reset

User bench may run the following commands on vm:
    (ALL : ALL) ALL
    (root) NOPASSWD: /usr/sbin/nvpmodel -m [0-9], /usr/sbin/nvpmodel -q,
        /usr/bin/jetson_clocks "", /usr/bin/jetson_clocks --show,
        /usr/bin/jetson_clocks --store /run/edgebench/clocks.conf,
        /usr/bin/jetson_clocks --restore /run/edgebench/clocks.conf, /bin/rm -f
        /run/edgebench/clocks.conf, /bin/cat
        /sys/kernel/debug/nvmap/iovmm/clients
"""


@pytest.mark.parametrize(
    ("command", "free"),
    [
        ("/usr/sbin/nvpmodel -m 0", True),
        ("/usr/sbin/nvpmodel -m 12", False),
        ("/usr/bin/jetson_clocks", True),
        ("/usr/bin/jetson_clocks --fan", False),
        ("/usr/bin/jetson_clocks --store /run/edgebench/clocks.conf", True),
        ("/bin/rm -f /run/edgebench/clocks.conf", True),
        ("/usr/bin/tee /x", False),
    ],
)
def test_a_recorded_listing_tells_what_goes_without_a_password(command: str, free: bool) -> None:
    assert rights.without_password(RECORDED, command.split()) is free
