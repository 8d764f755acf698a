"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.workplace import Workplace
from tests.openssh import OpenSshServer, missing


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts made once for all tests, as one user's cache would hold them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workplace(tmp_path: Path, shared_cache: Path) -> Workplace:
    """A place to run `bench` in."""
    return Workplace(tmp_path, shared_cache)


@pytest.fixture(scope="session")
def ssh_server() -> Iterator[OpenSshServer]:
    """A real sshd with an ordinary user's account."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    with OpenSshServer() as server:
        yield server
