"""Reading devices.toml: where it is found, what it means, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.farm.inventory import DeviceEntry, known_hosts_beside, load_inventory, name_fault


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_table_becomes_an_entry(tmp_path: Path) -> None:
    path = _written(
        tmp_path / "devices.toml",
        """
[devices.nano-01]
profile = "jetson-nano"
host = "10.0.0.21"
user = "bench"
port = 2222
identity = "keys/nano"
python = "/usr/bin/python3.8"
workspace = "/data/edgebench"
proxy_jump = "gate"

[devices.pi]
host = "pi.local"
""",
    )
    assert dict(load_inventory(path).devices) == {
        "nano-01": DeviceEntry(
            "nano-01",
            "jetson-nano",
            "10.0.0.21",
            "bench",
            2222,
            tmp_path / "keys" / "nano",
            "/usr/bin/python3.8",
            "/data/edgebench",
            "gate",
            path,
        ),
        "pi": DeviceEntry("pi", host="pi.local", inventory=path),
    }


def test_all_faults_are_found_at_once_and_named_by_file_and_field(tmp_path: Path) -> None:
    path = _written(
        tmp_path / "devices.toml",
        """
[device]
[devices.nano-01]
host = "10.0.0.21"
port = "ssh"
profil = "jetson-nano"
user = 7
[devices.local]
host = "x"
[devices."bad name"]
host = "user@host"
port = 70000
profile = "jetson-nanno"
[devices.empty]
""",
    )
    with pytest.raises(ConfigurationError) as raised:
        load_inventory(path)
    assert raised.value.faults == [
        f"{path}: device: unknown key; did you mean 'devices'?",
        f"{path}: devices.nano-01.profil: unknown key; did you mean 'profile'?",
        f"{path}: devices.nano-01.user: 7 is not a string",
        f"{path}: devices.nano-01.port: 'ssh' is not an integer",
        f"{path}: devices.local: 'local' is reserved for this machine",
        f"{path}: devices.bad name: 'bad name' is not a device name "
        "(1 to 64 of A-Z a-z 0-9 . _ -, not starting with -)",
        f"{path}: devices.bad name.profile: 'jetson-nanno' is not a device profile; "
        "did you mean 'jetson-nano'?",
        f"{path}: devices.bad name.host: 'user@host' is not a host name; "
        "the user and the port have fields of their own",
        f"{path}: devices.bad name.port: 70000 is not a port (1 to 65535)",
        f"{path}: devices.empty.host: is missing; give a host name, an address or an alias of ssh_config",
    ]


def test_a_boolean_is_no_port(tmp_path: Path) -> None:
    path = _written(tmp_path / "d.toml", '[devices.a]\nhost = "h"\nport = true\n')
    with pytest.raises(ConfigurationError, match=r"devices\.a\.port: True is not an integer"):
        load_inventory(path)


@pytest.mark.parametrize(
    ("text", "place"), [('[devices.a]\nhost = "h"\nport =\n', ":3:7: "), ('[devices.a]\nhost = "h', ":? ")]
)
def test_a_syntax_error_is_named_by_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    path = _written(tmp_path / "devices.toml", text)
    with pytest.raises(ConfigurationError, match=f"devices.toml{place}"):
        load_inventory(path)


@pytest.mark.parametrize("text", ["devices = 3", "[devices]\nnano = 3", "\xff"])
def test_other_shapes_are_faults_too(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"devices\.toml"):
        load_inventory(path)


def test_a_given_file_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such inventory file") as raised:
        load_inventory(tmp_path / "none.toml")
    assert raised.value.remedy is not None


def test_the_file_in_this_folder_comes_before_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEBENCH_CONFIG_DIR", str(tmp_path / "config"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert load_inventory().path is None
    assert not load_inventory().devices
    _written(tmp_path / "config" / "devices.toml", '[devices.users]\nhost = "h"\n')
    assert list(load_inventory().devices) == ["users"]
    _written(here / "devices.toml", '[devices.here]\nhost = "h"\n')
    assert list(load_inventory().devices) == ["here"]
    other = _written(tmp_path / "other.toml", "")
    assert load_inventory(other).path == other


LAB = '[devices.pi4]\nprofile = "raspberry-pi-4"\nhost = "10.77.0.2"\n[devices.pi5]\nhost = "10.77.0.3"\n'


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The inventory of virtual boards that are up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEBENCH_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return _written(tmp_path / "cache/lab/devices.toml", LAB)


def test_the_labs_boards_are_there_without_an_inventory(lab: Path) -> None:
    found = load_inventory()
    assert found.path is None
    assert {name: entry.inventory for name, entry in found.devices.items()} == {"pi4": lab, "pi5": lab}


def test_the_labs_boards_follow_after_the_inventorys_own_and_do_not_replace_them(lab: Path) -> None:
    _written(Path("devices.toml"), '[devices.mine]\nhost = "a"\n[devices.pi5]\nhost = "b"\n')
    found = load_inventory()
    assert [(entry.name, entry.host) for entry in found.devices.values()] == [
        ("mine", "a"),
        ("pi5", "b"),
        ("pi4", "10.77.0.2"),
    ]


def test_a_given_inventory_is_all_there_is(lab: Path, tmp_path: Path) -> None:
    assert list(load_inventory(_written(tmp_path / "other.toml", '[devices.a]\nhost = "a"\n')).devices) == [
        "a"
    ]


def test_host_keys_lie_beside_their_inventory() -> None:
    assert known_hosts_beside(Path("/farm/lab.toml")) == Path("/farm/lab.known_hosts")


@pytest.mark.parametrize("name", ["local", "", "-x", "a b", "a/b", "x" * 65, "ä", "a\n"])
def test_names_that_cannot_be_used(name: str) -> None:
    assert name_fault(name) is not None


@pytest.mark.parametrize("name", ["nano-01", "A.b_c", "x" * 64, "7"])
def test_names_that_can(name: str) -> None:
    assert name_fault(name) is None
