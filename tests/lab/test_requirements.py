"""What is said where virtual boards cannot be had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import LabError
from harness.lab.kinds import chosen_kinds
from harness.lab.requirements import Machine, check, check_root

PI4, NANO = chosen_kinds(["pi4"]), chosen_kinds(["nano"])
WHOLE = Machine("linux", True, lambda name: f"/usr/bin/{name}", has_sshd=True, has_debian_keys=True)


def without(*names: str) -> Machine:
    return replace(WHOLE, which=lambda name: None if name in names else f"/usr/bin/{name}")


def test_a_machine_with_everything_will_do() -> None:
    check(PI4 + NANO, root_is_made=False, machine=WHOLE)


def test_all_that_is_missing_is_named_with_one_command() -> None:
    bare = without("ip", "mmdebstrap", "qemu-aarch64-static", "qemu-aarch64")
    with pytest.raises(LabError) as caught:
        check(PI4, root_is_made=False, machine=replace(bare, has_debian_keys=False))
    assert caught.value.message == (
        "virtual boards need what is not installed here: ip (package iproute2), "
        "mmdebstrap (package mmdebstrap), qemu-aarch64-static (package qemu-user-static), "
        "Debian's archive keys (package debian-archive-keyring)"
    )
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith(
        "apt-get install -y --no-install-recommends iproute2 mmdebstrap qemu-user-static "
        "debian-archive-keyring; without it: "
    )


def test_a_root_that_is_made_needs_no_tool_to_make_one() -> None:
    check(PI4, root_is_made=True, machine=replace(without("mmdebstrap"), has_debian_keys=False))


def test_a_board_on_the_hosts_own_system_needs_its_sshd_and_no_qemu() -> None:
    bare = without("qemu-aarch64-static", "qemu-aarch64", "mmdebstrap")
    check(NANO, root_is_made=False, machine=bare)
    with pytest.raises(LabError, match=r"sshd \(package openssh-server\)"):
        check(NANO, root_is_made=False, machine=replace(bare, has_sshd=False))


def test_who_is_not_root_is_told_how_to_be_and_what_goes_without() -> None:
    with pytest.raises(LabError, match="virtual boards need root") as caught:
        check(PI4, root_is_made=True, machine=replace(WHOLE, is_root=False))
    assert caught.value.remedy == (
        'sudo -E env "PATH=$PATH" bench lab ...; without it: `bench run` measures this machine, '
        "--device USER@HOST any machine with an sshd"
    )


def test_another_system_than_linux_is_told_before_anything_else() -> None:
    with pytest.raises(LabError, match="this machine is darwin"):
        check_root(Machine("darwin", False, lambda _: None, has_sshd=True, has_debian_keys=False))
