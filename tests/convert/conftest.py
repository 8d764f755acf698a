from __future__ import annotations

from pathlib import Path

import pytest

from convert.inspection import ModelInfo, inspect
from tests.convert.models import DIGITS


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kept for the session: entries are named by content, so tests cannot disturb each other."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits_onnx(shared_cache: Path) -> ModelInfo:
    return inspect(DIGITS / "digits.onnx", shared_cache)


@pytest.fixture(scope="session")
def digits_tflite(shared_cache: Path) -> ModelInfo:
    return inspect(DIGITS / "digits.tflite", shared_cache)
