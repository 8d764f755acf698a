"""What is said where virtual boards cannot be had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import LabError
from harness.lab.boards.kinds import chosen_kinds
from harness.lab.machine.requirements import Machine, check, check_root
from harness.lab.systems.roots import must_unpack

PI4, NANO = chosen_kinds(["pi4"]), chosen_kinds(["nano"])
WHOLE = Machine("linux", True, lambda name: f"/usr/bin/{name}", has_sshd=True, has_debian_keys=True)


def without(*names: str) -> Machine:
    return replace(WHOLE, which=lambda name: None if name in names else f"/usr/bin/{name}")


def test_a_machine_with_everything_will_do() -> None:
    check(PI4 + NANO, unpacks=True, machine=WHOLE)


def test_all_that_is_missing_is_named_with_one_command() -> None:
    bare = without("ip", "mmdebstrap")
    with pytest.raises(LabError) as caught:
        check(PI4, unpacks=True, machine=replace(bare, has_debian_keys=False))
    assert caught.value.message == (
        "virtual boards need what is not installed here: ip (package iproute2), "
        "mmdebstrap (package mmdebstrap), Debian's archive keys (package debian-archive-keyring)"
    )
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith(
        "apt-get install -y --no-install-recommends iproute2 mmdebstrap debian-archive-keyring; without it: "
    )


def test_what_was_unpacked_before_needs_no_tool_to_unpack() -> None:
    check(PI4, unpacks=False, machine=replace(without("mmdebstrap"), has_debian_keys=False))


def test_a_board_on_the_hosts_own_system_needs_its_sshd_and_nothing_from_a_mirror(tmp_path: Path) -> None:
    bare = without("mmdebstrap")
    assert must_unpack(tmp_path, PI4) and not must_unpack(tmp_path, NANO)
    check(NANO, unpacks=False, machine=bare)
    with pytest.raises(LabError, match=r"sshd \(package openssh-server\)"):
        check(NANO, unpacks=False, machine=replace(bare, has_sshd=False))


def test_who_is_not_root_is_told_how_to_be_and_what_goes_without() -> None:
    with pytest.raises(LabError, match="virtual boards need root") as caught:
        check(PI4, unpacks=False, machine=replace(WHOLE, is_root=False))
    assert caught.value.remedy == (
        'sudo -E env "PATH=$PATH" bench lab ...; without it: `bench run` measures this machine, '
        "--device USER@HOST any machine with an sshd"
    )


def test_another_system_than_linux_is_told_before_anything_else() -> None:
    with pytest.raises(LabError, match="this machine is darwin"):
        check_root(Machine("darwin", False, lambda _: None, has_sshd=True, has_debian_keys=False))
