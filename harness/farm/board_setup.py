"""Makes the agent's own Python environment on a board: wheels sent, installed beside the old one, proven.

An environment cannot be moved, so each lies in a folder named for what it holds, and is of use once it has
the file `complete`. The inventory is what switches from one to the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from device_agents.protocol import Examination, RuntimeStatus
from harness.errors import BoardFull, DeviceError, RuntimeUnavailable
from harness.farm.board_environment import Environments, Recipe
from harness.farm.board_packages import (
    INSTALLABLE,
    PACKAGES_OF,
    BoardPlatform,
    NoPackage,
    Pin,
    check_platform,
    packages_for,
    packages_from,
    pip_pin,
    platform_of,
    possible_runtimes,
)
from harness.farm.doctor.system import System, system_of
from harness.farm.wheelhouse import Wheel, chosen_from, digest, fetched, names_in
from harness.link.deployment import Blob
from harness.link.device_session import DeviceSession

#: Bytes on the board for each byte of wheel: the wheel, its files and their compiled form.
_SPACE_FACTOR = 5


@dataclass(frozen=True)
class SetupPlan:
    """What is going to be done; nothing is changed by making one."""

    system: System
    platform: BoardPlatform
    runtimes: tuple[str, ...]
    pins: tuple[Pin, ...]
    pip: Pin
    base_python: str
    #: Whether the environment sees what apt installed: JetPack's TensorRT lies there.
    system_site_packages: bool
    workspace: str
    free_bytes: int | None
    #: Somebody's own wheels in place of the package index.
    wheels: Path | None
    #: Runtimes that were asked for by name: all of them have to work.
    required: tuple[str, ...]
    #: Why runtimes are left out that nobody asked for.
    left_out: tuple[str, ...]

    @property
    def everything(self) -> tuple[Pin, ...]:
        """What has to be fetched, pip with it."""
        return (*self.pins, self.pip)

    def environment(self, wheels: Sequence[Wheel] | None) -> str:
        """The folder of the environment, named for its packages: pins, or the files where they were given."""
        packages = digest(wheels) if wheels is not None else " ".join(pin.exact for pin in self.everything)
        words = [packages, str(self.platform.python), self.base_python, str(self.system_site_packages)]
        return f"{self.workspace}/venv-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class SetupOutcome:
    """The environment that is there now."""

    python: str
    #: False where it was there already.
    built: bool
    runtimes: tuple[RuntimeStatus, ...]
    #: Environments of earlier setups, which nothing of this inventory entry needs any more.
    older: tuple[str, ...]


def plan_setup(
    examined: Examination, runtimes: Sequence[str] | None, wheels: Path | None, name: str
) -> SetupPlan:
    """What setting up that board would do; raises NoPackage or DeviceError where it cannot be done."""
    system = system_of(examined)
    platform = platform_of(examined, system.jetpack)
    check_platform(platform)
    if not examined.has_venv or examined.base_python is None:
        raise DeviceError(
            f"{name}: its Python {examined.facts.python} ({examined.python_executable}) cannot make virtual "
            "environments: it has no module venv",
            "install it on the board: sudo apt-get install -y python3-venv",
            "no_venv",
        )
    wanted, left_out = (tuple(runtimes), ()) if runtimes else _wanted(platform, system, wheels)
    if wheels is not None:
        pins = packages_from(platform, wanted, names_in(wheels))
    else:
        pins = packages_for(platform, wanted)
    return SetupPlan(
        system=system,
        platform=platform,
        runtimes=wanted,
        pins=pins,
        pip=pip_pin(platform),
        base_python=examined.base_python,
        system_site_packages=system.jetpack is not None,
        workspace=examined.workspace,
        free_bytes=examined.free_bytes,
        wheels=wheels,
        required=tuple(runtimes or ()),
        left_out=left_out,
    )


def set_up(
    plan: SetupPlan,
    session: DeviceSession,
    session_with: Callable[[str], DeviceSession],
    home: Path,
    tell: Callable[[str], None],
) -> SetupOutcome:
    """Make what is planned unless it is there, and prove it; `session_with` opens one with another Python.

    `home` is where wheels are kept on this host. Raises WheelsMissing, BoardBusy, BoardFull, DeviceError or
    RuntimeUnavailable; what was there before stays as it was.
    """
    environments = Environments(session, plan.workspace)
    # From the index the pins say it all: nothing has to be fetched to see that it is there.
    folder = plan.environment(None) if plan.wheels is None else None
    built = False
    if folder is None or not environments.is_complete(folder):
        with _wheels(plan, home, tell) as wheels:
            folder = folder or plan.environment(wheels)
            if not environments.is_complete(folder):
                _build(plan, folder, wheels, session, tell)
                built = True
                tell("proving the runtimes in it")
    try:
        found = _proven(plan, f"{folder}/bin/python", session_with)
    except (DeviceError, RuntimeUnavailable):
        if built:
            with suppress(DeviceError):  # a lost link: what is not complete is made anew anyway
                environments.remove(folder)
        raise
    if built:
        environments.mark_complete(folder)
    older = tuple(path for path in environments.all() if path != folder)
    return SetupOutcome(f"{folder}/bin/python", built, found, older)


def _wanted(
    platform: BoardPlatform, system: System, wheels: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The runtimes to set up where nobody names any, and why others are left out."""
    python = ".".join(map(str, platform.python))
    possible, where = possible_runtimes(platform), f"for Python {python} on {platform.machine}"
    if wheels is not None:
        names, where = names_in(wheels), f"in {wheels}"
        possible = tuple(runtime for runtime in INSTALLABLE if names.intersection(PACKAGES_OF[runtime]))
    if system.jetpack is not None:
        possible = (*possible, "tensorrt")
    if not possible:
        raise NoPackage(
            f"there is no package of any runtime {where}",
            "name another Python of the board as `python` in the inventory, or give --wheels DIR with others",
        )
    left_out = tuple(
        f"{runtime}: there is no package {where}" for runtime in INSTALLABLE if runtime not in possible
    )
    return possible, left_out


def _wheels(
    plan: SetupPlan, home: Path, tell: Callable[[str], None]
) -> AbstractContextManager[tuple[Wheel, ...]]:
    if plan.wheels is not None:
        return chosen_from(plan.wheels, plan.platform, plan.everything)
    return nullcontext(fetched(plan.platform, plan.everything, home, tell))


def _build(
    plan: SetupPlan,
    folder: str,
    wheels: Sequence[Wheel],
    session: DeviceSession,
    tell: Callable[[str], None],
) -> None:
    _check_space(plan, sum(wheel.bytes for wheel in wheels), session.device)
    for wheel in wheels:
        tell(f"sending {wheel.name} ({wheel.bytes / 1e6:.1f} MB)")
        session.send(Blob(wheel.sha256, wheel.bytes, wheel.path, wheel.name))
    tell(f"installing into {folder}, which takes minutes on a slow board")
    pip = next(wheel for wheel in wheels if wheel.name.startswith("pip-"))
    recipe = Recipe(
        base_python=plan.base_python,
        system_site_packages=plan.system_site_packages,
        pip=(pip.sha256, pip.name),
        wheels=tuple((wheel.sha256, wheel.name) for wheel in wheels if wheel is not pip),
    )
    Environments(session, plan.workspace).build(folder, recipe)


def _check_space(plan: SetupPlan, wheel_bytes: int, name: str) -> None:
    needed = wheel_bytes * _SPACE_FACTOR
    if plan.free_bytes is not None and plan.free_bytes < needed:
        raise BoardFull(
            f"{name}: {plan.free_bytes / 1e6:.0f} MB are free in {plan.workspace}, "
            f"the environment takes about {needed / 1e6:.0f} MB",
            f"free some space, for example with `bench device clean {name}`, or name another folder as "
            "`workspace` in the inventory",
        )


def _proven(
    plan: SetupPlan, python: str, session_with: Callable[[str], DeviceSession]
) -> tuple[RuntimeStatus, ...]:
    """How the runtimes do in the environment: all that were asked for have to work, or any where none was."""
    inside = session_with(python)
    try:
        found = inside.open(plan.runtimes).runtimes
    finally:
        inside.close()
    broken = [status for status in found if not status.available]
    fatal = [status for status in broken if status.name in plan.required]
    if fatal or len(broken) == len(found):
        words = "; ".join(f"{status.name}: {status.reason}" for status in fatal or broken)
        raise RuntimeUnavailable(
            f"the packages were installed and do not work ({words}); nothing was switched",
            f"`bench device check {inside.device}` says what is missing; --wheels DIR takes other packages",
        )
    return tuple(found)
