"""Power modes of Jetsons: out of the board's own configuration, never by heart, whatever else is in there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.boards import nvpmodel
from device_agents.boards.host import host_at
from device_agents.boards.nvpmodel import PowerMode
from tests.device_agents.performance.boards import CONF

CAPTURES = Path(__file__).parents[2] / "captures"


def names(*modes: tuple[int, str]) -> list[PowerMode]:
    return [PowerMode(number, name, {}) for number, name in modes]


def best(*modes: tuple[int, str]) -> str:
    found = nvpmodel.best_mode(names(*modes))
    assert found is not None
    return found.label


def test_a_configuration_gives_its_modes_and_what_they_set() -> None:
    modes = nvpmodel.parse_conf(CONF)
    assert [mode.label for mode in modes] == ["MAXN (0)", "MODE_10W (1)", "MODE_5W_GATED (2)"]
    assert modes[1].settings["CPU_A MAX_FREQ"] == "1200000"
    assert [mode.gating for mode in modes] == [{"TPC_POWER_GATING TPC_PG_MASK": mask} for mask in "001"]


def test_definitions_of_parameters_are_no_settings_of_a_mode() -> None:
    assert not any("/sys" in value for mode in nvpmodel.parse_conf(CONF) for value in mode.settings.values())


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ([(0, "15W"), (1, "25W"), (2, "MAXN_SUPER"), (3, "7W")], "MAXN_SUPER (2)"),  # Orin Nano Super
        ([(0, "MAXN_SUPER"), (1, "10W"), (4, "40W")], "MAXN_SUPER (0)"),  # Orin NX 16 Super
        ([(0, "MAXN"), (1, "MODE_15W"), (3, "MODE_50W")], "MAXN (0)"),  # AGX Orin
        ([(0, "MAXN"), (1, "MAXQ"), (2, "MAXP_CORE_ALL")], "MAXN (0)"),  # TX2
        ([(0, "15W"), (1, "7W")], "15W (0)"),  # Orin Nano
        ([(1, "120W"), (2, "90W")], "120W (1)"),
        ([(5, "MODE_MAXN"), (0, "MODE_99W")], "MODE_MAXN (5)"),
        ([(4, "ECO"), (2, "TURBO")], "TURBO (2)"),  # nothing to tell them apart
    ],
)
def test_the_best_mode_goes_by_its_name_and_then_by_watts(
    modes: list[tuple[int, str]], expected: str
) -> None:
    assert best(*modes) == expected


def test_of_equal_watts_more_cores_are_better() -> None:
    cores = {"CPU_ONLINE CORE_0": "1", "CPU_ONLINE CORE_1": "1"}
    two, one = PowerMode(6, "20W_2CORE", cores), PowerMode(1, "20W", {"CPU_ONLINE CORE_0": "1"})
    assert nvpmodel.best_mode([one, two]) == two


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("NV Power Mode: MAXN\n0\n", (0, "MAXN")),
        ("NV Fan Mode:quiet\nNV Power Mode: 25W\n1\n", (1, "25W")),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n", (0, "MAXN")),
        (
            "NV Power Mode: MAXN_SUPER\n0\nNVPM ERROR: Error opening /sys/kernel/nvpmodel_emc_cap/x: 13\n",
            (0, "MAXN_SUPER"),
        ),
        ("NV Power Mode: MODE_15W_6CORE\r\n2\r\n", (2, "MODE_15W_6CORE")),
        ("NV Power Mode: MAXN\nNVPM ERROR: between\n7\n", (7, "MAXN")),
        ("NV Power Mode: MAXN\n", None),
        ("NVPM ERROR: Error opening /etc/nvpmodel.conf: 2\n", None),
        ("", None),
    ],
)
def test_the_answer_to_a_query_is_found_between_warnings(said: str, expected: tuple[int, str] | None) -> None:
    assert nvpmodel.parse_query(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("pmode:0002 fmode:fan_mode_quiet", 2), ("pmode:0000", 0), ("fmode:quiet", None), ("pmode:\xb2", None)],
)
def test_the_status_file_holds_the_id(said: str, expected: int | None) -> None:
    assert nvpmodel.parse_status(said) == expected


_HEADERS = ["<", ">", "POWER_MODEL", "PARAM", "ID=0", "ID=99999", "ID=\xb2", "NAME=MAXN", "NAME="]
_BODIES = ["CPU_ONLINE", "CORE_1", "-1", "0", "\n", "\x00", "\u0661", "9" * 5000, "NV Power Mode:", "pmode:"]
_WORDS = st.sampled_from([*_HEADERS, *_BODIES])


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(_WORDS, max_size=20).map(" ".join)))
def test_no_text_breaks_the_parsers(text: str) -> None:
    modes = nvpmodel.parse_conf(text)
    assert nvpmodel.best_mode(modes) in [*modes, None]
    query, status = nvpmodel.parse_query(text), nvpmodel.parse_status(text)
    assert query is None or query[0] <= 9999
    assert status is None or status <= 999999


def test_a_link_to_the_configuration_is_followed_inside_the_board(tmp_path: Path) -> None:
    (tmp_path / "etc/nvpmodel").mkdir(parents=True)
    (tmp_path / "etc/nvpmodel/nvpmodel_p3767.conf").write_text("< POWER_MODEL ID=4 NAME=40W >\n")
    (tmp_path / "etc/nvpmodel.conf").symlink_to("/etc/nvpmodel/nvpmodel_p3767.conf")
    assert [mode.label for mode in nvpmodel.modes(host_at(str(tmp_path)).files)] == ["40W (4)"]


def test_a_link_in_a_ring_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nvpmodel.conf").symlink_to("/etc/nvpmodel.conf")
    assert nvpmodel.modes(host_at(str(tmp_path)).files) == []


def board(root: Path, status: str | None, conf: str | None = CONF) -> str | None:
    for path, text in (("etc/nvpmodel.conf", conf), ("var/lib/nvpmodel/status", status)):
        if text is not None:
            (root / path).parent.mkdir(parents=True)
            (root / path).write_text(text)
    return nvpmodel.current_mode(host_at(str(root)))


def test_the_present_mode_needs_no_command_where_the_files_tell_it(tmp_path: Path) -> None:
    assert board(tmp_path, "pmode:0001 fmode:quiet") == "MODE_10W (1)"


def test_a_mode_that_the_configuration_does_not_know_has_an_id_only(tmp_path: Path) -> None:
    assert board(tmp_path, "pmode:0007") == "a mode without a name (7)"


def test_a_board_without_the_tool_has_no_mode(tmp_path: Path) -> None:
    assert board(tmp_path, None, conf=None) is None


#: What facts/devices.md says of NVIDIA's own files.
BEST = {
    "jetson-nano": "MAXN (0)",
    "jetson-tx2": "MAXN (0)",
    "jetson-xavier-nx": "MODE_20W_6CORE (8)",
    "jetson-agx-xavier": "MAXN (0)",
    "jetson-orin-nano": "15W (0)",
    "jetson-orin-nano-super": "MAXN_SUPER (2)",
    "jetson-orin-nx": "MAXN (0)",
    "jetson-agx-orin": "MAXN (0)",
    "jetson-thor": "MAXN (0)",
}


@pytest.mark.parametrize("tree", BEST)
def test_the_best_mode_of_each_board(tree: str) -> None:
    found = nvpmodel.best_mode(nvpmodel.modes(host_at(str(CAPTURES / tree)).files))
    assert found is not None
    assert found.label == BEST[tree]
