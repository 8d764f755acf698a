"""A board's network: a namespace of its own, and a cable to the lab's bridge."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

from harness.errors import LabError
from harness.lab.machine.programs import call
from harness.lab.names import LabNames

NAMESPACES = Path("/run/netns")

#: Where the lab looks for 254 addresses that nobody uses.
_SPACE = IPv4Network("10.77.0.0/16")
#: Numbers of boards, so the last byte of their addresses; 1 is this machine.
FIRST_NUMBER, LAST_NUMBER = 2, 254


def free_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first subnet of the lab's space that overlaps with none of `taken`."""
    occupied = list(taken)
    for subnet in _SPACE.subnets(new_prefix=24):
        if not any(subnet.overlaps(other) for other in occupied):
            return subnet
    raise LabError(f"this machine has addresses or routes in all of {_SPACE}", "take one of them away")


def taken_subnets() -> list[IPv4Network]:
    """The networks this machine has a way to, but for the default route."""
    routes = json.loads(call("ip", "-json", "-4", "route", "show", "table", "all"))
    words = {route["dst"] for route in routes if route.get("dst", "default") != "default"}
    networks = (ip_network(word, strict=False) for word in words)
    return [network for network in networks if isinstance(network, IPv4Network)]


def address(subnet: IPv4Network, number: int) -> IPv4Address:
    """The address of the board of that number; 1 is this machine."""
    return subnet.network_address + number


def hardware_address(number: int) -> str:
    """A board's; the next of that number has it too, so that no neighbour table is wrong for a while."""
    return f"02:eb:00:00:00:{number:02x}"


def make_bridge(names: LabNames, subnet: IPv4Network) -> None:
    """What the cables end at; nothing happens where it is there."""
    if names.bridge in lab_links(names):
        return
    _ip(
        f"link add {names.bridge} type bridge",
        f"address add {address(subnet, 1)}/{subnet.prefixlen} dev {names.bridge}",
        f"link set {names.bridge} up",
    )


def connect(names: LabNames, subnet: IPv4Network, board: str, number: int) -> None:
    """Make a board's namespace, with its address on a cable to the bridge."""
    namespace, link = names.namespace(board), names.link(number)
    _ip(
        f"netns add {namespace}",
        f"link add {link} type veth peer name eth0 address {hardware_address(number)} netns {namespace}",
        f"link set {link} master {names.bridge} up",
    )
    _ip(
        "link set lo up",
        f"address add {address(subnet, number)}/{subnet.prefixlen} dev eth0",
        "link set eth0 up",
        inside=namespace,
    )


def disconnect(names: LabNames, namespace: str) -> None:
    """Remove a namespace of the lab; its end of the cable goes with it, and so does the other."""
    assert names.owns_namespace(namespace)
    if (NAMESPACES / namespace).exists():
        call("ip", "netns", "delete", namespace)


def remove_links(names: LabNames) -> None:
    """Remove the bridge and every cable that is left."""
    for link in lab_links(names):
        remove_link(names, link)


def remove_link(names: LabNames, link: str) -> None:
    """Remove one link of the lab; it is gone, name and all, when this returns."""
    try:
        call("ip", "link", "delete", link)
    except LabError:
        # The kernel takes the cables of a namespace that is gone away in its own time: maybe just now.
        if link in lab_links(names):
            raise


def lab_links(names: LabNames) -> list[str]:
    """The lab's links on this machine, cables first."""
    links = [link["ifname"] for link in json.loads(call("ip", "-json", "link", "show"))]
    return sorted((link for link in links if names.owns_link(link)), reverse=True)


def lab_namespaces(names: LabNames) -> list[str]:
    """The lab's namespaces on this machine."""
    if not NAMESPACES.is_dir():
        return []
    return sorted(place.name for place in NAMESPACES.iterdir() if names.owns_namespace(place.name))


def _ip(*lines: str, inside: str | None = None) -> None:
    """Several steps by one process."""
    where = ("-netns", inside) if inside else ()
    call("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")
