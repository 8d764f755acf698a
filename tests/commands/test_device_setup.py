"""`bench device setup`: what it says and refuses before it changes anything, and the sudoers file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from harness.commands import device_setup
from harness.errors import BenchError, BoardBusy, UsageError
from harness.farm.inventory_edit import set_python
from harness.farm.sudoers import sudoers_for
from tests.device_agents.board_trees import Tree, agent_python, stand_in
from tests.farm.doctor.patients import jetson, pi_4
from tests.interpreters import missing

Setup = Callable[..., Result]

NANO_SUDOERS = """\
# edgebench: what the agent runs as root on nano-01, and nothing else
bench ALL=(root) NOPASSWD: \\
    /usr/sbin/nvpmodel -m [0-9], \\
    /usr/sbin/nvpmodel -q, \\
    /usr/bin/jetson_clocks "", \\
    /usr/bin/jetson_clocks --show, \\
    /usr/bin/jetson_clocks --store /run/edgebench/clocks.conf, \\
    /usr/bin/jetson_clocks --restore /run/edgebench/clocks.conf, \\
    /bin/rm -f /run/edgebench/clocks.conf, \\
    /bin/cat /sys/kernel/debug/nvmap/iovmm/clients
"""


# --- sudoers ---------------------------------------------------------------------------------------


def test_a_jetson_is_allowed_its_modes_and_clocks_and_roots_own_folder_is_made() -> None:
    made = sudoers_for(jetson(4), "nano-01")
    assert made.text == NANO_SUDOERS
    assert made.tmpfiles == "d /run/edgebench 0755 root root -"
    assert made.install == (
        "visudo -cf edgebench.sudoers",
        "sudo install -o root -g root -m 0440 edgebench.sudoers /etc/sudoers.d/edgebench",
        "sudo visudo -c",
        "echo 'd /run/edgebench 0755 root root -' | sudo tee /etc/tmpfiles.d/edgebench.conf",
        "sudo systemd-tmpfiles --create /etc/tmpfiles.d/edgebench.conf",
    )


def test_a_board_with_governors_alone_is_allowed_each_of_its_files_and_no_pattern() -> None:
    policies = [f"/sys/devices/system/cpu/cpufreq/policy{number}/scaling_governor" for number in (0, 4)]
    made = sudoers_for(pi_4(governor_files=policies), "pi")
    assert made.text.splitlines()[1:] == [
        "bench ALL=(root) NOPASSWD: \\",
        f"    /usr/bin/tee {policies[0]}, \\",
        f"    /usr/bin/tee {policies[1]}",
    ]
    assert made.tmpfiles is None


def test_root_needs_none_and_a_virtual_machine_has_nothing_to_allow() -> None:
    with pytest.raises(UsageError, match="pi: the agent runs as root there"):
        sudoers_for(pi_4(is_root=True), "pi")
    with pytest.raises(UsageError, match="pi: there is nothing to allow"):
        sudoers_for(pi_4(governor_files=[]), "pi")


@pytest.mark.processes
def test_visudo_finds_no_fault_in_it(tmp_path: Path) -> None:
    visudo = shutil.which("visudo") or shutil.which("visudo", path="/usr/sbin:/sbin")
    if visudo is None:
        pytest.skip("no visudo is installed")
    for number, examined in enumerate((jetson(4), pi_4())):
        file = tmp_path / str(number)
        file.write_text(sudoers_for(examined, "board").text)
        file.chmod(0o440)
        done = subprocess.run([visudo, "-cf", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout


# --- the inventory ---------------------------------------------------------------------------------


def test_the_python_of_one_board_is_changed_and_everything_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    text = (
        '# mine\n[devices.a]  # first\nprofile = "jetson-nano"\nhost = "h"\nidentity = "keys/a"\n\n'
        '[devices.b]\nhost = "h"\npython = "python3"  # as it came\n'
    )
    path.write_text(text)
    set_python(path, "b", "/venv/bin/python")
    assert path.read_text() == text.replace('"python3"', '"/venv/bin/python"')
    set_python(path, "a", "/venv-a/bin/python")
    assert (
        '[devices.a]  # first\nprofile = "jetson-nano"\nhost = "h"\nidentity = "keys/a"\n' in path.read_text()
    )
    with pytest.raises(UsageError, match="there is no device 'c'"):
        set_python(path, "c", "python3")


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Runs the command on a tree that the inventory calls `board`; raises the BenchError it ends with."""
    inventory = tmp_path / "devices.toml"
    inventory.write_text('[devices.board]\nprofile = "generic-linux"\nhost = "192.0.2.1"\n')
    app = typer.Typer()
    app.command()(device_setup.setup)

    def run(tree: Tree | None, *options: str, python: str = sys.executable) -> Result:
        if tree is not None:
            monkeypatch.setattr(
                device_setup, "open_session", lambda _entry, lease: tree.session(python, lease)
            )
        done = CliRunner().invoke(app, [*options, "--inventory", str(inventory)])
        if isinstance(done.exception, BenchError):
            raise done.exception
        return done

    return run


@pytest.mark.processes
def test_the_plan_for_a_nano_names_every_package_what_is_left_out_and_how_to_do_it_offline(
    setup: Setup, tmp_path: Path
) -> None:
    python = agent_python("3.6")
    if python is None:
        pytest.skip(missing("3.6"))
    shown = setup(stand_in("jetson-nano", tmp_path), "board", "--dry-run", python=python)
    assert shown.exit_code == 0
    lines = [" ".join(line.split()) for line in shown.output.splitlines()]
    assert "system JetPack 4.6.1 (L4T 32.7.1), Python 3.6" in lines
    assert "packages numpy==1.19.4, onnxruntime==1.10.0 from this computer's package index" in lines
    assert "proves onnxruntime, tensorrt" in lines
    assert "left out tflite: there is no package for Python 3.6 on aarch64" in lines
    assert lines[-1].startswith("offline python3 -m pip download --no-deps")
    assert lines[-1].endswith("numpy==1.19.4 onnxruntime==1.10.0 pip==21.3.1, then --wheels DIR")
    assert "which sees the system's packages (TensorRT)" in shown.output


@pytest.mark.processes
def test_the_sudoers_file_alone_is_on_standard_output(setup: Setup, tmp_path: Path) -> None:
    shown = setup(stand_in("raspberry-pi-5", tmp_path), "board", "--sudoers")
    assert shown.stdout.startswith("# edgebench: what the agent runs as root on board")
    assert shown.stdout.endswith("/usr/bin/tee /sys/devices/system/cpu/cpufreq/policy0/scaling_governor\n")
    assert "visudo -cf edgebench.sudoers" in shown.stderr


@pytest.mark.processes
def test_a_board_that_measures_is_not_disturbed(setup: Setup, tmp_path: Path) -> None:
    tree = stand_in("raspberry-pi-5", tmp_path)
    tree.workspace.create()
    lock = tree.workspace.try_board("job-7")
    assert lock is not None
    with lock, pytest.raises(BoardBusy, match="board: held by job job-7"):
        setup(tree, "board", "--yes")


def test_our_own_machine_and_unknown_runtimes_are_refused_before_anything_is_asked(setup: Setup) -> None:
    with pytest.raises(UsageError, match="local runs in the Python that runs bench"):
        setup(None, "local")
    with pytest.raises(UsageError, match="there is no such runtime; did you mean 'tflite'"):
        setup(None, "board", "--runtime", "tflight")
