"""Which way to CUDA is taken, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from device_agents.cuda.base import Cuda, CudaMissing
from device_agents.cuda.table import WAYS, open_cuda


def _working(name: str) -> Callable[[], Cuda]:
    def open_it() -> Cuda:
        made = Cuda()
        made.package = name
        return made

    return open_it


def _missing(reason: str) -> Callable[[], Cuda]:
    def refuse() -> Cuda:
        raise CudaMissing(reason)

    return refuse


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEBENCH_CUDA", raising=False)
    for name in WAYS:
        monkeypatch.setitem(WAYS, name, _missing(f"{name} is away"))


@pytest.mark.usefixtures("nothing_works")
@pytest.mark.parametrize(
    "there", [["pycuda", "cuda-python", "libcudart"], ["cuda-python", "libcudart"], ["libcudart"]]
)
def test_the_first_that_works_is_taken(monkeypatch: pytest.MonkeyPatch, there: list[str]) -> None:
    for name in there:
        monkeypatch.setitem(WAYS, name, _working(name))
    assert open_cuda().package == there[0]


@pytest.mark.usefixtures("nothing_works")
def test_without_any_the_reason_of_each_is_told() -> None:
    with pytest.raises(CudaMissing) as missing:
        open_cuda()
    reasons = "; ".join(f"{name}: {name} is away" for name in ("pycuda", "cuda-python", "libcudart"))
    assert str(missing.value) == f"CUDA cannot be used: {reasons}"


@pytest.mark.usefixtures("nothing_works")
def test_a_way_named_is_the_only_one_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEBENCH_CUDA", "cuda-python")
    monkeypatch.setitem(WAYS, "libcudart", _working("libcudart"))
    with pytest.raises(CudaMissing, match=r"^CUDA cannot be used: cuda-python: cuda-python is away$"):
        open_cuda()


def test_a_way_there_is_not_is_named_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEBENCH_CUDA", "opencl")
    with pytest.raises(
        CudaMissing, match="EDGEBENCH_CUDA is 'opencl'; it may be pycuda, cuda-python, libcudart"
    ):
        open_cuda()
