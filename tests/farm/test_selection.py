"""What the word after --device means."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DeviceError, UsageError
from harness.farm.connecting import inventory_trust, open_transport, ssh_address
from harness.farm.inventory import DeviceEntry, Inventory, load_inventory
from harness.farm.selection import candidates, resolve
from harness.link.local import LocalTransport
from harness.link.ssh import SshTransport
from profiles.devices import UnknownProfile, device_profile, device_profile_names
from profiles.strict_toml import InvalidFile


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEBENCH_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "devices.toml"
    path.write_text(
        '[devices.nano-02]\nprofile = "jetson-nano"\nhost = "b"\n'
        '[devices.nano-01]\nprofile = "jetson-nano"\nhost = "a"\nuser = "bench"\nport = 2222\n'
        '[devices.pi]\nhost = "p"\n'
    )
    return load_inventory(path)


def test_a_name_means_that_board(inventory: Inventory) -> None:
    assert resolve("nano-01", inventory).host == "a"


def test_a_profile_means_every_board_of_that_kind_in_order(inventory: Inventory) -> None:
    assert [entry.name for entry in candidates("jetson-nano", inventory)] == ["nano-02", "nano-01"]
    assert resolve("jetson-nano", inventory).name == "nano-02"


def test_a_virtual_board_stands_for_its_profile_only_where_no_real_one_is(tmp_path: Path) -> None:
    mine, lab = tmp_path / "devices.toml", tmp_path / "lab/devices.toml"
    real = DeviceEntry("real", profile="raspberry-pi-4", host="a", inventory=mine)
    virtual = DeviceEntry("pi4", profile="raspberry-pi-4", host="b", inventory=lab)
    both = Inventory(mine, {"real": real, "pi4": virtual})
    assert candidates("raspberry-pi-4", both) == (real,)
    assert candidates("pi4", both) == (virtual,)
    assert candidates("raspberry-pi-4", Inventory(mine, {"pi4": virtual})) == (virtual,)


def test_user_at_host_needs_no_inventory() -> None:
    entry = resolve("bench@10.0.0.5:2200", Inventory(None, {}))
    assert entry == DeviceEntry("bench@10.0.0.5:2200", host="10.0.0.5", user="bench", port=2200)


def test_local_is_always_there(inventory: Inventory) -> None:
    assert resolve("local", inventory).is_local
    assert isinstance(open_transport(resolve("local", inventory)), LocalTransport)


def test_an_unknown_word_is_a_usage_error_with_near_matches(inventory: Inventory) -> None:
    with pytest.raises(UsageError, match="no device 'nano-03'") as raised:
        resolve("nano-03", inventory)
    assert raised.value.exit_code == 2
    assert raised.value.remedy is not None
    assert "nano-02 or nano-01" in raised.value.remedy
    assert "user@host" in raised.value.remedy


def test_a_profile_without_a_board_says_how_to_add_one(inventory: Inventory) -> None:
    with pytest.raises(UsageError, match="no device of profile 'raspberry-pi-5'") as raised:
        resolve("raspberry-pi-5", inventory)
    assert raised.value.remedy == "add one: bench device add NAME USER@HOST --profile raspberry-pi-5"


def test_a_board_of_the_inventory_is_trusted_by_its_name(inventory: Inventory, tmp_path: Path) -> None:
    entry = resolve("nano-01", inventory)
    address = ssh_address(entry)
    assert str(address) == "bench@[a]:2222"
    assert address.trust == inventory_trust(entry)
    assert (address.trust.name, address.trust.files) == ("nano-01", (tmp_path / "devices.known_hosts",))
    assert "bench device add nano-01 bench@a:2222" in address.trust.pin_command


def test_an_ad_hoc_board_is_trusted_by_its_address(tmp_path: Path) -> None:
    trust = ssh_address(resolve("u@h:23", Inventory(None, {}))).trust
    assert trust.name == "[h]:23"
    assert trust.files[:2] == (
        tmp_path / "config" / "known_hosts",
        tmp_path / "home" / ".ssh" / "known_hosts",
    )


def test_opening_a_transport_connects_to_nothing(inventory: Inventory) -> None:
    transport = open_transport(resolve("pi", inventory))
    assert isinstance(transport, SshTransport)
    assert transport.name == "pi"
    transport.close()


def test_this_machine_has_no_ssh_address() -> None:
    with pytest.raises(DeviceError):
        ssh_address(DeviceEntry("local"))


def test_every_device_profile_that_comes_along_is_valid() -> None:
    profiles = {name: device_profile(name) for name in device_profile_names()}
    assert {"generic-linux", "jetson-nano", "jetson-orin-nano", "raspberry-pi-4", "raspberry-pi-5"} <= set(
        profiles
    )
    assert all(profile.name == name for name, profile in profiles.items())
    assert "int8" not in profiles["jetson-nano"].native_precisions


def test_a_wrong_profile_is_named_with_all_its_faults(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(
        'description = 3\nboard_family = "toaster"\nnative_precisions = []\ncpus = 4\n'
    )
    with pytest.raises(InvalidFile) as raised:
        device_profile("odd", tmp_path)
    assert len(raised.value.faults) == 3
    with pytest.raises(UnknownProfile, match="known: odd"):
        device_profile("other", tmp_path)
