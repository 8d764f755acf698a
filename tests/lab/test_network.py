"""Which addresses the boards have."""

from __future__ import annotations

import json
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv4Network

import pytest

from harness.errors import LabError
from harness.lab.machine import network
from harness.lab.names import LabNames


def test_a_machine_without_such_addresses_gives_the_first_subnet() -> None:
    assert network.free_subnet([IPv4Network("192.168.0.0/16")]) == IPv4Network("10.77.0.0/24")


def test_a_subnet_that_overlaps_with_a_route_is_left_out() -> None:
    taken = [IPv4Network("10.77.0.0/23"), IPv4Network("10.77.2.7/32")]
    assert network.free_subnet(taken) == IPv4Network("10.77.3.0/24")


def test_a_vpn_over_all_of_it_is_told() -> None:
    with pytest.raises(LabError, match=r"addresses or routes in all of 10\.77\.0\.0/16"):
        network.free_subnet([IPv4Network("10.0.0.0/8")])


def test_a_boards_number_is_the_end_of_its_address() -> None:
    assert network.address(IPv4Network("10.77.4.0/24"), 254) == IPv4Address("10.77.4.254")


def test_boards_have_hardware_addresses_of_their_own_that_nobody_else_uses() -> None:
    addresses = {network.hardware_address(number) for number in range(2, 255)}
    assert len(addresses) == 253
    # Bit 1 of the first byte: given locally, by no maker; bit 0 would be a group's.
    assert {int(address[:2], 16) & 3 for address in addresses} == {2}


@pytest.mark.parametrize(("links", "raised"), [(["eblv2"], True), ([], False)])
def test_a_cable_that_went_by_itself_meanwhile_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, links: list[str], raised: bool
) -> None:
    listed = iter([["eblv2"], links])

    def call(*command: str) -> str:
        if "delete" in command:
            raise LabError("Cannot find device")
        return json.dumps([{"ifname": name} for name in next(listed)])

    monkeypatch.setattr(network, "call", call)
    with pytest.raises(LabError) if raised else nullcontext():
        network.remove_links(LabNames("ebl"))


def test_all_routes_but_the_default_one_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = (
        '[{"dst": "default"}, {"dst": "10.8.0.0/16"}, {"type": "local", "dst": "10.8.0.1"}, {"type": "x"}]'
    )
    monkeypatch.setattr(network, "call", lambda *_: routes)
    assert sorted(network.taken_subnets()) == [IPv4Network("10.8.0.0/16"), IPv4Network("10.8.0.1/32")]
