from __future__ import annotations

import os
from pathlib import Path

import pytest

from convert.processes.toolchain import TOOLCHAINS, find_toolchain
from convert.sources.inspection import ModelInfo, inspect
from convert.workshop import Workshop
from tests.convert.models import DIGITS


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept for the session: entries are named by content, so tests cannot disturb each other."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def workshop(shared_cache: Path) -> Workshop:
    """With the toolchains that tests/toolchains.sh made; tests of one say so by `needs_toolchain`."""
    return Workshop(shared_cache, toolchains_home())


@pytest.fixture(scope="session")
def toolchains() -> Path:
    """The home of the toolchains for tests; skips where one of the usual ones is missing."""
    home = toolchains_home()
    missing = [name for name in TOOLCHAINS if find_toolchain(name, home) is None]
    if missing:
        pytest.skip(f"not made by tests/toolchains.sh: {', '.join(missing)}")
    return home


def toolchains_home() -> Path:
    own = os.environ.get("EDGEBENCH_TEST_TOOLCHAINS")
    return Path(own) if own else Path(f"/var/tmp/edgebench-test-toolchains-{os.getuid()}")


@pytest.fixture(scope="session")
def digits_onnx(shared_cache: Path) -> ModelInfo:
    return inspect(DIGITS / "digits.onnx", shared_cache)


@pytest.fixture(scope="session")
def digits_tflite(shared_cache: Path) -> ModelInfo:
    return inspect(DIGITS / "digits.tflite", shared_cache)
