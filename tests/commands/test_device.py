"""`bench device`: adding, listing and removing boards, over a real sshd."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.commands.device import device_app
from harness.errors import (
    AccessDenied,
    BenchError,
    ConfigurationError,
    DeviceError,
    HostKeyMismatch,
    Unreachable,
    UsageError,
)
from harness.farm.connecting import open_transport
from harness.farm.inventory import load_inventory
from harness.farm.selection import resolve
from harness.link.transport import run_command
from tests import openssh
from tests.device_agents.board_trees import stand_in
from tests.openssh import OpenSshServer, free_port, generate_key


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without keys, agent or inventory, in an empty folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEBENCH_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "config"


@pytest.fixture(scope="module")
def sshd() -> Iterator[OpenSshServer]:
    reason = openssh.missing()
    if reason:
        pytest.skip(reason)
    with OpenSshServer() as server:
        yield server


def _bench_device(*arguments: str | Path) -> str:
    """What the command printed; raises the BenchError it ended with."""
    result = CliRunner().invoke(device_app, [str(word) for word in arguments])
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def _add(sshd: OpenSshServer, name: str, *options: str | Path) -> str:
    return _bench_device("add", name, sshd.destination, "--identity", sshd.identity, *options)


@pytest.mark.e2e
def test_a_board_is_added_listed_used_and_removed(sshd: OpenSshServer, config: Path) -> None:
    said = _add(sshd, "nano-01", "--profile", "jetson-nano", "--host-key", sshd.fingerprint())
    assert f"Added nano-01 ({sshd.destination})" in said

    listing = json.loads(_bench_device("list", "--json"))
    assert listing == {
        "inventory": str(config / "devices.toml"),
        "devices": [
            {
                "name": "nano-01",
                "profile": "jetson-nano",
                "host": sshd.host,
                "user": sshd.user,
                "port": sshd.port,
                "identity": str(sshd.identity),
                "python": "python3",
                "workspace": "~/.cache/edgebench",
                "proxy_jump": None,
                "host_keys": [{"type": "ssh-ed25519", "fingerprint": sshd.fingerprint()}],
            }
        ],
    }
    assert sshd.fingerprint() in _bench_device("list")

    transport = open_transport(resolve("jetson-nano", load_inventory()))
    assert run_command(transport, ["id", "-un"]).stdout.decode().strip() == sshd.user
    transport.close()

    assert "Removed nano-01" in _bench_device("remove", "nano-01")
    assert json.loads(_bench_device("list", "--json"))["devices"] == []
    assert "nano-01 " not in (config / "devices.known_hosts").read_text()


@pytest.mark.e2e
def test_a_wrong_fingerprint_is_refused_and_nothing_written(sshd: OpenSshServer, config: Path) -> None:
    logins = sshd.log().count("Accepted")
    with pytest.raises(HostKeyMismatch) as raised:
        _add(sshd, "nano", "--host-key", "SHA256:" + "A" * 43)
    assert raised.value.exit_code == 3
    assert all(sshd.fingerprint(key_type) in raised.value.message for key_type in openssh.KEY_TYPES)
    assert not config.exists()
    assert sshd.log().count("Accepted") == logins


@pytest.mark.e2e
@pytest.mark.parametrize("key_type", openssh.KEY_TYPES)
def test_the_fingerprint_of_any_of_its_keys_will_do(sshd: OpenSshServer, config: Path, key_type: str) -> None:
    # ssh-keygen of some systems prints base64's padding.
    _add(sshd, "nano", "--host-key", sshd.fingerprint(key_type) + "=")
    assert sshd.host_key_line("nano", key_type) in (config / "devices.known_hosts").read_text()


@pytest.mark.e2e
def test_without_a_terminal_the_host_key_has_to_be_given(sshd: OpenSshServer, config: Path) -> None:
    with pytest.raises(UsageError, match="nobody is there to confirm") as raised:
        _add(sshd, "nano")
    assert raised.value.exit_code == 2
    assert raised.value.remedy is not None
    assert f"--host-key {sshd.fingerprint()}" in raised.value.remedy
    assert not config.exists()


@pytest.mark.e2e
def test_yes_pins_what_is_seen_and_shows_it(sshd: OpenSshServer) -> None:
    assert f"nano shows the host key ssh-ed25519 {sshd.fingerprint()}" in _add(sshd, "nano", "--yes")


@pytest.mark.e2e
def test_a_name_is_taken_once_unless_replaced(sshd: OpenSshServer) -> None:
    _add(sshd, "nano", "--yes")
    with pytest.raises(UsageError, match="there is a device 'nano' already"):
        _add(sshd, "nano", "--yes")
    _add(sshd, "nano", "--yes", "--replace", "--profile", "raspberry-pi-5")
    assert load_inventory().devices["nano"].profile == "raspberry-pi-5"


@pytest.mark.e2e
def test_two_boards_with_one_host_key_are_warned_about(sshd: OpenSshServer) -> None:
    assert "Warning" not in _add(sshd, "a", "--yes")
    assert "Warning: a has the same host key" in _add(sshd, "b", "--yes")


@pytest.mark.e2e
def test_a_board_that_takes_no_key_is_a_denial_with_the_remedy(
    sshd: OpenSshServer, config: Path, tmp_path: Path
) -> None:
    generate_key(tmp_path / "other")
    with pytest.raises(AccessDenied) as raised:
        _bench_device("add", "nano", sshd.destination, "--identity", tmp_path / "other", "--yes")
    assert raised.value.remedy is not None
    assert f"ssh-copy-id -p {sshd.port} {sshd.user}@{sshd.host}" in raised.value.remedy
    assert not config.exists()


@pytest.mark.e2e
def test_a_board_without_that_python_is_refused(sshd: OpenSshServer, config: Path) -> None:
    with pytest.raises(DeviceError, match="'/no/python' does not run there") as raised:
        _add(sshd, "nano", "--yes", "--python", "/no/python")
    assert raised.value.reason == "no_python"
    assert not config.exists()


@pytest.mark.e2e
def test_an_alias_of_ssh_config_is_kept_as_it_is(sshd: OpenSshServer, tmp_path: Path) -> None:
    (tmp_path / "home" / ".ssh" / "config").write_text(sshd.ssh_config("shelf"))
    _bench_device("add", "nano", "shelf", "--yes")
    entry = load_inventory().devices["nano"]
    assert (entry.host, entry.user, entry.port, entry.identity) == ("shelf", None, None, None)


@pytest.mark.e2e
def test_an_inventory_of_ones_own_has_its_own_host_keys(
    sshd: OpenSshServer, tmp_path: Path, config: Path
) -> None:
    farm = tmp_path / "farm.toml"
    _add(sshd, "nano", "--yes", "--inventory", farm)
    assert (tmp_path / "farm.known_hosts").stat().st_mode & 0o777 == 0o600
    assert not config.exists()
    assert json.loads(_bench_device("list", "--json", "--inventory", farm))["inventory"] == str(farm)
    _bench_device("remove", "nano", "--inventory", farm)
    assert not load_inventory(farm).devices


def test_a_board_that_is_not_there_is_unreachable(config: Path) -> None:
    with pytest.raises(Unreachable):
        _bench_device("add", "nano", f"bench@127.0.0.1:{free_port()}", "--yes")
    assert not config.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["local", "u@h", "--yes"], "reserved"),
        (["a b", "u@h", "--yes"], "not a device name"),
        (["nano", "u@", "--yes"], r"not \[user@\]host"),
        (["nano", "u@h", "--yes", "--profile", "jetson-nanno"], "did you mean 'jetson-nano'"),
        (["nano", "u@h", "--host-key", "SHA256:short"], "not a fingerprint"),
        (["nano", "u@h", "--host-key", "SHA256:" + "A" * 43, "--yes"], "contradict"),
    ],
)
def test_wrong_words_are_usage_errors_before_anything_is_connected(
    arguments: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        _bench_device("add", *arguments)


def test_removing_what_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no inventory"):
        _bench_device("remove", "nano")
    Path("devices.toml").write_text("")
    with pytest.raises(UsageError, match="there is no device 'nano'"):
        _bench_device("remove", "nano")


def test_a_broken_inventory_is_not_added_to(tmp_path: Path) -> None:
    Path("devices.toml").write_text("[devices.a]\nport = 1\n")
    with pytest.raises(ConfigurationError, match=r"devices\.a\.host"):
        _bench_device("add", "nano", "u@h", "--yes")


def test_an_empty_list_says_how_to_begin() -> None:
    said = _bench_device("list")
    assert "this machine" in said
    assert "bench device add NAME USER@HOST" in said


@pytest.mark.parametrize("command", ["list", "add", "remove"])
def test_every_command_has_an_example(command: str) -> None:
    assert f"bench device {command}" in _bench_device(command, "--help").replace("\n ", "")


# --- what kind of board it is ---------------------------------------------------------------------


def python_on(folder: Path, tree: str) -> Path:
    """A Python that believes to be on the board of that tree."""
    root = stand_in(tree, folder / "tree").root
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nEDGEBENCH_BOARD_ROOT={root} exec python3 "$@"\n')
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o055)
    return python


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the account of the server may read."""
    with tempfile.TemporaryDirectory(prefix="edgebench-tree-") as folder:
        yield Path(folder)


@pytest.mark.e2e
def test_a_board_is_of_the_kind_that_its_device_tree_names(
    sshd: OpenSshServer, config: Path, open_folder: Path
) -> None:
    python = str(python_on(open_folder, "raspberry-pi-5"))
    said = _add(sshd, "pi", "--yes", "--python", python)
    assert "its device tree says that it is a raspberry-pi-5" in said
    assert load_inventory(config / "devices.toml").devices["pi"].profile == "raspberry-pi-5"


@pytest.mark.e2e
def test_a_kind_that_was_typed_stays_and_the_difference_is_told(
    sshd: OpenSshServer, config: Path, open_folder: Path
) -> None:
    python = str(python_on(open_folder, "jetson-tx2"))
    said = _add(sshd, "tx", "--yes", "--python", python, "--profile", "jetson-nano")
    assert "its device tree says that it is a jetson-tx2, not a jetson-nano; its own word counts" in said
    assert load_inventory(config / "devices.toml").devices["tx"].profile == "jetson-nano"
