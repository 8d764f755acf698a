from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes


def guarded(code: str) -> str:
    """What a guarded process prints."""
    script = f"from convert.processes.network_guard import refuse_network; refuse_network()\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "import urllib.request; urllib.request.urlopen('http://example.org/image.jpg')",
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    ],
)
def test_a_converter_that_wants_the_network_is_refused_and_named(call: str) -> None:
    assert "converting needs no network, but a converter tried to reach" in guarded(call)


def test_this_computer_itself_can_be_reached() -> None:
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
print("reached")
"""
    assert guarded(code) == "reached\n"
