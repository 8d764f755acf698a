"""Generations of systems: which one a board runs, and that ceilings fit the Python they are for."""

from __future__ import annotations

import pytest

from profiles.devices import device_profile, device_profile_names
from profiles.systems import generation_of, system_generations


def running(l4t: str | None, os: str | None = None) -> str | None:
    found = generation_of(system_generations().values(), l4t, os)
    return found.name if found else None


@pytest.mark.parametrize(("release", "name"), [
    ("32.5.2", "JetPack 4.4.1 to 4.5.1"),
    ("32.6.1", "JetPack 4.6"),
    ("32.7.6", "JetPack 4.6.1 to 4.6.6"),
    ("35.1.0", "JetPack 5.0.2"),
    ("35.6.4", "JetPack 5.1 to 5.1.6"),
    ("36.3.0", "JetPack 6.0"),
    ("36.4.7", "JetPack 6.1 to 6.2.2"),
    ("36.5.0", "JetPack 6.1 to 6.2.2"),
    ("38.4.0", "JetPack 7.0 and 7.1"),
    ("39.2.0", "JetPack 7.2"),
    ("34.1.1", None),
    ("36.40", None),
    ("380.1", None),
])  # fmt: skip
def test_a_jetson_runs_the_generation_of_its_l4t_release(release: str, name: str | None) -> None:
    # The distribution says less, and is not asked.
    assert running(release, "Ubuntu 18.04.6 LTS") == name


@pytest.mark.parametrize(("os", "name"), [
    ("Debian GNU/Linux 11 (bullseye)", "Raspberry Pi OS bullseye"),
    ("Debian GNU/Linux 12 (bookworm)", "Raspberry Pi OS bookworm"),
    ("Debian GNU/Linux 13 (trixie)", "Raspberry Pi OS trixie"),
    ("Debian GNU/Linux 120", None),
    ("Arch Linux ARM", None),
    (None, None),
])  # fmt: skip
def test_other_boards_run_the_generation_of_their_distribution(os: str | None, name: str | None) -> None:
    assert running(None, os) == name


@pytest.mark.parametrize(("name", "python", "tensorrt", "onnxruntime_max", "numpy_max", "tflite"), [
    ("jetpack-4-6-1", "3.6", "8.2.1", "1.10.0", "1.19.4", ()),
    ("jetpack-5-1", "3.8", "8.5.2", "1.19.2", "1.23.5", ("tflite-runtime==2.13.0",)),
    ("jetpack-6-1", "3.10", "10.3.0", "1.23.2", None, ("ai-edge-litert==2.3.0", "tflite-runtime==2.14.0")),
    ("jetpack-7-2", "3.12", "10.16.2", None, None, ("ai-edge-litert==2.3.0",)),
    ("raspios-bullseye", "3.9", None, "1.19.2", None, ("ai-edge-litert==2.1.0", "tflite-runtime==2.13.0")),
    ("raspios-trixie", "3.13", None, None, None, ("ai-edge-litert==2.3.0",)),
])  # fmt: skip
def test_a_generation_knows_its_ceilings(
    name: str,
    python: str,
    tensorrt: str | None,
    onnxruntime_max: str | None,
    numpy_max: str | None,
    tflite: tuple[str, ...],
) -> None:
    system = system_generations()[name]
    assert (system.python, system.tensorrt) == (python, tensorrt)
    assert (system.onnxruntime_max, system.numpy_max, system.tflite) == (onnxruntime_max, numpy_max, tflite)


def test_np_bool_is_still_there_wherever_tensorrt_uses_it() -> None:
    for system in system_generations().values():
        version = tuple(map(int, (system.tensorrt or "99").split(".")))
        if version <= (8, 5, 2):
            assert system.numpy_max is not None, system.name
            assert tuple(map(int, system.numpy_max.split("."))) < (1, 24), system.name


def test_tflite_runtime_2_14_is_only_offered_where_its_glibc_is() -> None:
    for system in system_generations().values():
        if "tflite-runtime==2.14.0" in system.tflite:
            assert tuple(map(int, system.glibc.split("."))) >= (2, 34), system.name


def test_every_generation_is_some_boards() -> None:
    used = {name for profile in device_profile_names() for name in device_profile(profile).systems}
    assert used == set(system_generations())
