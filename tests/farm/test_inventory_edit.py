"""Editing devices.toml: what a person wrote there stays, and the file is never half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, UsageError
from harness.farm.inventory import DeviceEntry, load_inventory
from harness.farm.inventory_edit import add_device, remove_device

BY_HAND = """# our farm, ask Ann

[devices.nano-01]  # on the shelf
profile = "jetson-nano"
host = "10.0.0.21"  # static
# user is the one of the image
user = "bench"

# the second board
[devices.pi]
host = "pi.local"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "devices.toml").write_text(BY_HAND)
    return tmp_path / "devices.toml"


def test_adding_leaves_all_that_was_there(path: Path) -> None:
    add_device(
        path,
        DeviceEntry("orin", profile="jetson-orin-nano", host="o", user="u", port=23, identity=Path("/k")),
    )
    assert path.read_text() == BY_HAND + (
        '\n[devices.orin]\nprofile = "jetson-orin-nano"\nhost = "o"\nuser = "u"\nport = 23\nidentity = "/k"\n'
    )
    assert list(load_inventory(path).devices) == ["nano-01", "pi", "orin"]


def test_replacing_keeps_the_comments(path: Path) -> None:
    add_device(path, DeviceEntry("nano-01", host="10.0.0.99"), replace=True)
    text = path.read_text()
    for comment in ("# our farm", "# on the shelf", "# static", "# user is", "# the second"):
        assert comment in text
    assert load_inventory(path).devices["nano-01"] == DeviceEntry("nano-01", host="10.0.0.99", inventory=path)


def test_removing_leaves_the_rest(path: Path) -> None:
    remove_device(path, "nano-01")
    assert list(load_inventory(path).devices) == ["pi"]
    assert "# our farm, ask Ann" in path.read_text()


def test_a_new_file_is_private_and_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lab.toml"
    add_device(path, DeviceEntry("a", host="h"))
    add_device(path, DeviceEntry("b", host="h"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(load_inventory(path).devices) == ["a", "b"]
    remove_device(path, "a")
    remove_device(path, "b")
    assert not load_inventory(path).devices


@pytest.mark.parametrize(
    "text", ['devices = {a = {host = "h"}}\n', '[devices]\na = {host = "h"}\n', 'devices.a.host = "h"\n']
)
def test_other_layouts_can_be_edited(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    add_device(path, DeviceEntry("b", host="h"))
    assert set(load_inventory(path).devices) == {"a", "b"}
    remove_device(path, "a")
    assert set(load_inventory(path).devices) == {"b"}


def test_a_name_that_is_taken_or_missing_is_said_so(path: Path) -> None:
    with pytest.raises(UsageError, match="there is a device 'pi' already"):
        add_device(path, DeviceEntry("pi", host="h"))
    with pytest.raises(UsageError, match="there is no device 'pj'"):
        remove_device(path, "pj")
    assert path.read_text() == BY_HAND


def test_an_entry_that_could_not_be_read_again_is_not_written(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"devices\.x\.profile"):
        add_device(path, DeviceEntry("x", profile="no-such", host="h"))
    assert path.read_text() == BY_HAND


def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"cannot be written: No space left"):
        add_device(path, DeviceEntry("x", host="h"))
    assert path.read_text() == BY_HAND
    assert [entry.name for entry in path.parent.iterdir()] == ["devices.toml"]


def test_a_link_to_a_shared_inventory_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    remove_device(link, "pi")
    assert link.is_symlink()
    assert list(load_inventory(path).devices) == ["nano-01"]
