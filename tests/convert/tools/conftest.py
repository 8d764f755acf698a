from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from convert.processes.toolchain import find_toolchain
from convert.workshop import Workshop
from tests.convert.tools.tool_runs import Arrays, tensorflow_answers

_SCRIPT = Path(__file__).resolve().parents[1] / "networks" / "keras_networks.py"


@pytest.fixture(scope="session")
def keras_folder(toolchains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of keras_networks.py."""
    python = find_toolchain("tensorflow", toolchains)
    assert python is not None
    folder = tmp_path_factory.mktemp("keras")
    command = [str(python), str(_SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def photos() -> Arrays:
    """Three examples for keras_networks.small: not square, not symmetric."""
    random = np.random.RandomState(7)
    return {"image": random.standard_normal((3, 1, 48, 80, 3)).astype(np.float32)}


@pytest.fixture(scope="session")
def keras_answers(
    workshop: Workshop, keras_folder: Path, photos: Arrays, tmp_path_factory: pytest.TempPathFactory
) -> Arrays:
    """What Keras itself answers for the photos."""
    return tensorflow_answers(
        workshop, keras_folder / "small.keras", photos, tmp_path_factory.mktemp("answers")
    )
